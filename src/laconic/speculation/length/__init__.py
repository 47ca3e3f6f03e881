"""How many tokens to draft: fixed, adapted to acceptance, or read off the draft distribution."""
