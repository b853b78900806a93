"""Workflows that touch several documents, money or the outside world."""
