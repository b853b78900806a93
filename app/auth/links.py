"""Secrets of links that are mailed: 256 random bits, of which only a hash is kept."""

from __future__ import annotations

import hashlib
import secrets


def new_secret() -> str:
    """The secret of one link, safe in a URL."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is stored of a secret: SHA-256 in hex. It needs no salt, as nobody can guess 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
