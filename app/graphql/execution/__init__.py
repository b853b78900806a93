"""How operations are executed: compiled to a plan once, or by graphql-core, with the same answers."""
