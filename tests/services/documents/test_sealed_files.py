"""Kept files: whatever the sizes in which they come and go, they are the same; whatever is done to them shows."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.services.documents.sealed_files import CHUNK, MARK, TAG, FileBroken, opened, sealed

KEY = bytes(range(32))


async def pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


async def all_of(parts: AsyncIterator[bytes]) -> bytes:
    return b"".join([part async for part in parts])


async def kept(content: bytes, size: int = 1_000, name: str = "a") -> bytes:
    return await all_of(sealed(pieces(content, size), KEY, name))


async def read(content: bytes, size: int = 1_000, name: str = "a", key: bytes = KEY) -> bytes:
    return await all_of(opened(pieces(content, size), key, name))


@given(st.integers(0, 3 * CHUNK + 1), st.integers(1, CHUNK * 2), st.integers(1, CHUNK * 2))
@example(0, 1, 1)
@example(CHUNK, CHUNK, CHUNK + TAG)
@example(2 * CHUNK, 7, 3)
async def test_what_is_kept_comes_back(length: int, written: int, fetched: int) -> None:
    content = (b"0123456789" * (length // 10 + 1))[:length]
    stored = await kept(content, max(written, length // 500 + 1))
    assert len(stored) == len(MARK) + length + TAG * max(1, -(-length // CHUNK))
    assert await read(stored, max(fetched, length // 500 + 1)) == content


CONTENT = bytes(CHUNK) + b"x" * CHUNK + b"the end"


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored[:-1],
        lambda stored: stored[: len(MARK) + CHUNK + TAG],
        lambda stored: stored[: len(MARK) + 2 * (CHUNK + TAG)],
        lambda stored: stored + b"more",
        lambda stored: stored[:50] + bytes([stored[50] ^ 1]) + stored[51:],
        lambda stored: b"PCF2" + stored[4:],
        lambda stored: b"",
        lambda stored: MARK,
        lambda stored: (
            MARK
            + stored[len(MARK) + CHUNK + TAG : len(MARK) + 2 * (CHUNK + TAG)]
            + stored[len(MARK) : len(MARK) + CHUNK + TAG]
            + stored[len(MARK) + 2 * (CHUNK + TAG) :]
        ),
    ],
    ids=["cut", "one chunk", "two chunks", "longer", "a bit", "another mark", "empty", "mark alone", "swapped"],
)
async def test_whatever_is_changed_does_not_open(change: object) -> None:
    assert callable(change)
    with pytest.raises(FileBroken):
        await read(change(await kept(CONTENT)))


async def test_a_file_opens_under_its_own_name_and_key_alone() -> None:
    stored = await kept(CONTENT)
    for name, key in (("b", KEY), ("a", bytes(32))):
        with pytest.raises(FileBroken):
            await read(stored, name=name, key=key)
