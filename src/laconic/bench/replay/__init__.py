"""Replay: from recorded outputs alone, with no model, what speculation and an early exit could save."""
