"""Where logits come from: Transformers checkpoints, their slot KV cache, and the bundled reasoner."""
