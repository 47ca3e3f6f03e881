"""Controllers that bound the length of the thought, or move its end."""
