"""Reasoning over several calls, with a bounded text between them; and what is kept from one problem to the next."""
