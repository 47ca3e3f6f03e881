"""Recorded reasoning traces as data that teaches a model to think less: ``laconic traces``, docs/traces.md."""
