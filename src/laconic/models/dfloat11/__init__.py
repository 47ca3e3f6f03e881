"""DFloat11: checkpoints whose bfloat16 weights are stored in about 11 bits each, and are the same weights."""
