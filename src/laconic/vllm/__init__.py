"""laconic's decisions inside vLLM: thinking control under any drafter, and a drafter of our own (docs/vllm.md)."""
