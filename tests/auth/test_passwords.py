"""Passwords: argon2id, refused when weak, and no quicker for people who do not exist."""

from __future__ import annotations

import pytest

from app.auth.passwords import hash_password, outdated, verify_password, weakness


async def test_the_hash_is_argon2id_and_verifies_its_password_alone() -> None:
    stored = await hash_password("correct horse 42")

    assert stored.startswith("$argon2id$")
    assert await verify_password(stored, "correct horse 42")
    assert not await verify_password(stored, "correct horse 43")
    assert not outdated(stored)


@pytest.mark.parametrize("stored", [None, "", "not a hash", "$argon2id$v=19$broken"])
async def test_nothing_verifies_against_no_hash(stored: str | None) -> None:
    assert not await verify_password(stored, "the password of nobody")


async def test_an_overlong_password_is_not_hashed_but_wrong() -> None:
    stored = await hash_password("x" * 256)

    assert await verify_password(stored, "x" * 256)
    assert not await verify_password(stored, "x" * 257)


@pytest.mark.parametrize(
    ("password", "weak"),
    [
        ("short7!", True),
        ("Password123", True),
        ("aaaaaaaaaaaa", True),
        ("ababababab", True),
        ("x" * 257, True),
        ("correct horse 42", False),
        ("пароль-надёжный", False),
        ("8 chars!", False),
    ],
)
def test_weak_passwords_are_refused_with_a_reason(password: str, *, weak: bool) -> None:
    problem = weakness(password, "input.password")

    assert (problem is not None) == weak
    assert problem is None or (problem.path == "input.password" and password not in problem.message)
