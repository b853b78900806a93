"""Who is asking: passwords, sessions, tokens."""
