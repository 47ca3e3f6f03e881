"""Controllers that end the thought once its answer is settled."""
