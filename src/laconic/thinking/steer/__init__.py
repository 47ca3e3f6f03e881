"""Directions in the residual stream: pushed while the model writes, or taken out of its weights."""
