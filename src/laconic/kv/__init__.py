"""How much of the past to keep: policies that say what of a request's text stays in the target's cache."""
