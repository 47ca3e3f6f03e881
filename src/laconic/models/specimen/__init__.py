"""A small model that was trained on real text, for measurements that the bundled pair cannot carry.

``laconic specimen smollm2`` makes it once; ``--model smollm2`` loads it from then on.
"""

from laconic.models.specimen.place import NAMES, folder, located, made

__all__ = ["NAMES", "folder", "located", "made"]
