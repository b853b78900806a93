"""The database client, the schema applier and transactions."""
