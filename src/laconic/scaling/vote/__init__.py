"""Votes among attempts: who votes, with what weight, and when enough have voted."""
