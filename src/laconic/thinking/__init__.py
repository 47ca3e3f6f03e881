"""How long to reason before answering: budgets and exits, told to the loop as actions."""
