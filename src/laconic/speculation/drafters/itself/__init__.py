"""The target drafts for itself, with a part of its layers."""
