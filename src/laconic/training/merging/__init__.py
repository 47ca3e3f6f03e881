"""Merging models of one architecture into a checkpoint of theirs: ``laconic merge``, docs/merging.md."""

from laconic.training.merging.aim import Aim
from laconic.training.merging.plan import METHODS, Plan, read_models, read_sweep
from laconic.training.merging.write import Merged, check_place, merge

__all__ = ["METHODS", "Aim", "Merged", "Plan", "check_place", "merge", "read_models", "read_sweep"]
