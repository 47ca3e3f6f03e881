"""A small random model of every causal decoder that Transformers has, and whether laconic decodes it exactly."""
