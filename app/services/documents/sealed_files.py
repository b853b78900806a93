"""Files as they are kept: encrypted in chunks, so that neither writing nor reading needs the whole of one in memory.

The format: 4 bytes `PCF1`, then chunks of 64 KiB, each sealed by AES-256-GCM (16 bytes more) under a key that no other
file has. The nonce is the chunk's number (11 bytes) and whether it is the last (1 byte), so chunks can be neither
changed, swapped, repeated nor cut off unseen; what the file is named is bound to it as associated data.

Source: the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its
Nonce-Reuse Misuse-Resistance", 2015).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MARK = b"PCF1"
CHUNK = 65_536
TAG = 16
KEY_BYTES = 32


class FileBroken(Exception):
    """A kept file does not open: it was changed, cut off, or lies under another's name. A bug or a breach."""


async def sealed(parts: AsyncIterator[bytes], key: bytes, name: str) -> AsyncIterator[bytes]:
    """The file to keep, from its plain parts, whatever their sizes."""
    cipher, number, bound = AESGCM(key), 0, name.encode()
    yield MARK
    async for chunk, last in _chunks(parts, CHUNK):
        yield cipher.encrypt(_nonce(number, last), chunk, bound)
        number += 1


async def opened(parts: AsyncIterator[bytes], key: bytes, name: str) -> AsyncIterator[bytes]:
    """The plain parts of a kept file. Raises `FileBroken`, at the latest before what would be its last part."""
    cipher, number, bound = AESGCM(key), 0, name.encode()
    async for chunk, last in _chunks(_behind_mark(parts, name), CHUNK + TAG):
        try:
            yield cipher.decrypt(_nonce(number, last), chunk, bound)
        except InvalidTag:
            raise FileBroken(f"{name} does not open at chunk {number}") from None
        number += 1


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


async def _behind_mark(parts: AsyncIterator[bytes], name: str) -> AsyncIterator[bytes]:
    head = b""
    async for part in parts:
        if len(head) >= len(MARK):
            yield part
            continue
        head += part
        if len(head) < len(MARK):
            continue
        if not head.startswith(MARK):
            break
        yield head[len(MARK) :]
    if not head.startswith(MARK):
        raise FileBroken(f"{name} is no file of ours")


async def _chunks(parts: AsyncIterator[bytes], size: int) -> AsyncIterator[tuple[bytes, bool]]:
    """The same bytes in chunks of that size, each with whether it is the last; one empty chunk for no bytes at all."""
    waiting = bytearray()
    async for part in parts:
        waiting += part
        while len(waiting) > size:
            yield bytes(waiting[:size]), False
            del waiting[:size]
    yield bytes(waiting), True
