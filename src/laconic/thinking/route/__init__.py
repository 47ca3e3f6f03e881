"""Whether to think and how hard, decided per question before its first token; and the modes to choose from."""
