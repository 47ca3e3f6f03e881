"""Which entries stay: a score for each of them, a file a method."""
