"""How many attempts at a question to start, when to stop each, and which of their answers stands."""
