"""The short way to the database: the driver's connections, without its ceremony."""
