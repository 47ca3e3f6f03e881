"""Fitting directions: pairs of concise and verbose texts, what parts them in a model, and what a push along it does."""

from laconic.bench.steer.pairs import Pair, given, own
from laconic.bench.steer.run import Recipe, fit

__all__ = ["Pair", "Recipe", "fit", "given", "own"]
