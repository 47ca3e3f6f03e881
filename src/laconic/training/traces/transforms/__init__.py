"""What recorded thoughts become, a file each."""
