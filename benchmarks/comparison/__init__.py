"""Compares the server with the bare driver, with itself without its executor, and with servers of other makes."""
