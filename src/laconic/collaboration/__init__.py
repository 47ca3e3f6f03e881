"""Which of two models writes the next step of a thought."""

from laconic.collaboration.together import Pair

__all__ = ["Pair"]
