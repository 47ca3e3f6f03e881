"""What may stand although an exact verifier refused it."""
