"""Which clinic a request belongs to, and the guard that keeps it there."""
