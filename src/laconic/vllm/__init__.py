"""laconic's decisions inside an engine that accepts drafts by itself, as vLLM does."""
