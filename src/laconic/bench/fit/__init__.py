"""Training the heads of learned length rules on what a pair of models does along texts."""

from laconic.bench.fit.run import METHODS, Recipe, fit

__all__ = ["METHODS", "Recipe", "fit"]
