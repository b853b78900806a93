"""A clinic on its way: written into a folder, read back from one; and what is remembered of those that are gone."""
