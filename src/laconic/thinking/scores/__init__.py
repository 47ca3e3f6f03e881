"""Scores of a finished thought, read off its text and, where there are any, its tokens' probabilities."""
