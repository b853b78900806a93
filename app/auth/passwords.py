"""Passwords: argon2id in a small thread pool, so that hashing never blocks the loop nor takes all cores."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.errors import FieldError

MIN_LENGTH = 8
MAX_LENGTH = 256
_COMMON = frozenset(
    {
        "password",
        "passw0rd",
        "password1",
        "password12",
        "password123",
        "password1234",
        "12345678",
        "123456789",
        "1234567890",
        "87654321",
        "qwertyui",
        "qwertyuiop",
        "qwerty123",
        "abcd1234",
        "abcdefgh",
        "iloveyou",
        "letmein1",
        "welcome1",
        "admin123",
        "administrator",
        "changeme",
        "sunshine",
        "football",
        "baseball",
        "princess",
        "trustno1",
        "superman",
        "starwars",
        "whatever",
    }
)

# OWASP's password storage cheat sheet, second argon2id profile: 19 MiB, two passes, one lane.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="argon2")


def weakness(password: str, path: str) -> FieldError | None:
    """Why a new password is refused, or None. Lengths are in characters."""
    if len(password) < MIN_LENGTH:
        return FieldError(path, f"must have at least {MIN_LENGTH} characters")
    if len(password) > MAX_LENGTH:
        return FieldError(path, f"must have at most {MAX_LENGTH} characters")
    if password.casefold() in _COMMON or len(set(password)) < 4:
        return FieldError(path, "is too easy to guess")
    return None


async def hash_password(password: str) -> str:
    """The argon2id hash in PHC string format."""
    return await asyncio.get_running_loop().run_in_executor(_pool, _hasher.hash, password)


@cache
def _nobodys_hash() -> str:
    return _hasher.hash("the password of nobody")


def _matches(stored: str | None, password: str) -> bool:
    try:
        _hasher.verify(stored or _nobodys_hash(), password)
    except (VerificationError, InvalidHashError):
        return False
    return bool(stored)


async def verify_password(stored: str | None, password: str) -> bool:
    """Whether the password is right. With no stored hash it takes as long and says no."""
    if len(password) > MAX_LENGTH:
        password = ""
    return await asyncio.get_running_loop().run_in_executor(_pool, _matches, stored, password)


def outdated(stored: str) -> bool:
    """Whether the hash was made with weaker parameters than today's."""
    return _hasher.check_needs_rehash(stored)
