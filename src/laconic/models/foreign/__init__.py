"""A model whose tokenizer differs, behind the contract of models that share the target's vocabulary."""

from laconic.models.foreign.model import ForeignModel
from laconic.models.foreign.shared import Shared, shared
from laconic.models.foreign.spelling import Spelling

__all__ = ["ForeignModel", "Shared", "Spelling", "shared"]
