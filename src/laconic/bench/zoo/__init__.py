"""Every causal architecture of the installed Transformers, built small with random weights, and laconic tried on it."""
