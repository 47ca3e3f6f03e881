"""Merging models of one architecture into a checkpoint of theirs: ``laconic merge``, docs/merging.md."""

from laconic.training.merging.plan import METHODS, Plan, read_models
from laconic.training.merging.write import Merged, merge

__all__ = ["METHODS", "Merged", "Plan", "merge", "read_models"]
