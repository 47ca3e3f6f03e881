"""Trained heads that draft from what the target's own layers put out, and the drafter that runs them."""
