"""Controllers that bound the length of the thought."""
