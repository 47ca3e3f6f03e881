"""Which drafted tokens stand, and what follows them."""
