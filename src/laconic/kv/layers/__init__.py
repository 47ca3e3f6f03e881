"""How the layers of a model share what all of them may keep."""
