"""A specimen taught to think: SmolLM2 with an adapter that writes a derivation, a first result, and second thoughts.

``problems`` and ``stories`` say what it was taught on, ``thoughts`` how its thoughts look, ``train`` is the recipe,
``evaluate`` measures it. The adapter ships in ``adapter/``; ``MODEL_CARD.md`` says what it is, and what it is not.
"""

from pathlib import Path

__all__ = ["adapter_path"]


def adapter_path() -> Path:
    """The folder of the adapter that ships with the package; its base is the specimen ``smollm2``."""
    return Path(__file__).parent / "adapter"
