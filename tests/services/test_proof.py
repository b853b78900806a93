"""Proving a password: guesses are few, and guessers elsewhere lock nobody out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from app.auth.passwords import hash_password
from app.errors import RateLimited
from app.services.proof import ACCOUNT, ACCOUNT_FROM_NETWORK, proves
from app.tenancy.scope import Scope, open_scope
from tests.fixtures.clinics import Server


@contextmanager
def from_address(address: str) -> Iterator[None]:
    with open_scope(Scope(request_id="test", address=address)):
        yield


@pytest.fixture
def account() -> str:
    return f"{uuid4().hex}@example.com"


async def test_guessing_from_one_network_ends_soon_even_with_the_right_password(server: Server, account: str) -> None:
    stored = await hash_password("correct horse 42")
    with from_address("2001:db8::1"):
        for _ in range(ACCOUNT_FROM_NETWORK.tries):
            assert not await proves(account, stored, "a wrong guess")
    with from_address("2001:db8::2"), pytest.raises(RateLimited):  # the same network
        await proves(account, stored, "correct horse 42")


async def test_a_guesser_elsewhere_does_not_lock_the_person_out(server: Server, account: str) -> None:
    stored = await hash_password("correct horse 42")
    with from_address("198.51.100.7"):
        for _ in range(ACCOUNT_FROM_NETWORK.tries):
            await proves(account, stored, "a wrong guess")
    with from_address("203.0.113.5"):
        assert await proves(account, stored, "correct horse 42")


async def test_guessing_from_many_networks_ends_too(server: Server, account: str) -> None:
    for place in range(ACCOUNT.tries // 10):
        with from_address(f"198.51.100.{place}"):
            for _ in range(10):
                await proves(account, None, "x" * 300)
    with from_address("203.0.113.5"), pytest.raises(RateLimited):
        await proves(account, None, "one more")


async def test_right_passwords_use_nothing_up(server: Server, account: str) -> None:
    stored = await hash_password("correct horse 42")
    with from_address("203.0.113.5"):
        for _ in range(ACCOUNT_FROM_NETWORK.tries + 5):
            assert await proves(account, stored, "correct horse 42")


async def test_a_command_on_the_server_itself_is_not_throttled(server: Server, account: str) -> None:
    with from_address(""):
        for _ in range(ACCOUNT_FROM_NETWORK.tries + 5):
            assert not await proves(account, None, "a wrong guess")
