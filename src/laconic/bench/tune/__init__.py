"""Choosing a configuration by measuring: first what changes no answer, then how much thought to spare."""
