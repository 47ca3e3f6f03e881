"""The bundled reasoner: a tiny target and draft pair, so that everything runs at once and offline.

The weights lie beside this file as ordinary Transformers checkpoints. `train` is the recipe that made them,
`evaluate` measures them and `MODEL_CARD.md` says what they are, and what they are not.
"""

from pathlib import Path

__all__ = ["draft_path", "target_path"]


def target_path() -> Path:
    """The checkpoint folder of the bundled target model."""
    return Path(__file__).parent / "target"


def draft_path() -> Path:
    """The checkpoint folder of the bundled draft model: same tokenizer, about a tenth of the parameters."""
    return Path(__file__).parent / "draft"
