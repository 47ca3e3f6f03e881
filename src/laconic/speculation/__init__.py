"""How far to guess before the target model checks: drafters, draft lengths, tree shapes, verification."""
