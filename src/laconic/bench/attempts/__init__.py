"""Attempts at questions, recorded once with all that probes found, and scaling policies played over them."""
