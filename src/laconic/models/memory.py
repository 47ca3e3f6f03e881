"""Giving memory back."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Return what the allocator holds and nobody uses to the system, where that is glibc's.

    Loading and trying a model frees many tensors of a layer's size; glibc keeps them, which is most of a small model's
    weights once more. Elsewhere this does nothing.
    """
    if sys.platform != "linux":
        return
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # another C library
        return
