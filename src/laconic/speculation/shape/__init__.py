"""Which nodes a drafter grows: a chain, or a tree of the likeliest continuations."""
