"""What becomes of entries that a cache gives up."""
