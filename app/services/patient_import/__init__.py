"""Many patients at once, from a file."""
