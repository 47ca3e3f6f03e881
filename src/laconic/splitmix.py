"""SplitMix64: the mixing that every random number of laconic's own goes through."""

from __future__ import annotations

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
"""2**64 over the golden ratio, the step between the generator's states."""
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""Factors of the finaliser."""


def mix(z: int) -> int:
    """Finaliser of SplitMix64 (Steele, Lea and Flood 2014), a bijection of 64-bit integers."""
    z = ((z ^ (z >> 30)) * FIRST) & MASK
    z = ((z ^ (z >> 27)) * SECOND) & MASK
    return z ^ (z >> 31)
