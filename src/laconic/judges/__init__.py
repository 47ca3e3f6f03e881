"""Judges: how good the steps of an attempt are, from 0 to 1."""
