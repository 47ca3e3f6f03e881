"""Measuring: tasks, interleaved runs of several variants, the record they give, and the report made of it."""
