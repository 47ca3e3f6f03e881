"""Choosing a configuration by measuring: first what changes no answer, then how much thought to spare."""

TOLERANCE = 0.01
"""Accuracy that a shorter thought may cost, as a share of the problems."""
