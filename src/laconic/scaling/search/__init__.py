"""Search for a thought: attempts that wait at the end of each step, are copied where they do well, and dropped."""
