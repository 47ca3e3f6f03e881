"""The rewards, and :func:`score`, which tells what one of them makes of a recorded group."""

from laconic.training.rewards.scoring import Score, score

__all__ = ["Score", "score"]
