"""Middleware and the few routes that are not GraphQL."""
