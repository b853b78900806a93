"""People who talk: conversations, tickets, and what they are told."""
