"""Ways to tell after which step of a thought its answer is right."""
