"""Taking a file in while it streams: typed, counted, hashed and encrypted on its way to where it is kept."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TypeVar

from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_turn
from app.errors import ValidationFailed
from app.integrations.blobs import blobs
from app.services.documents import quota
from app.services.documents.kinds import HEAD, kind_of
from app.services.documents.limits import Limits
from app.services.documents.places import path_of, thumbnail_of
from app.services.documents.sealed_files import KEY_BYTES, sealed
from app.services.documents.thumbnails import MOST_BYTES, thumbnail, wants_thumbnail
from app.tenancy.keyring import derived
from app.tenancy.scope import current_scope
from models.document import Reservation, StorageKind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file that is coming in. `size` is what its sender says of it in bytes; 0 where nothing is said."""

    name: str
    size: int
    parts: AsyncIterator[bytes]


@dataclass(slots=True)
class Received:
    """A file that is kept: where, under which key, and what it is."""

    file_name: str
    blob: str
    key: bytes = field(repr=False)
    content_type: str = ""
    size: int = 0
    sha256: str = ""
    has_thumbnail: bool = False


Store = Callable[[Received, AsyncClientSession], Awaitable[T]]
"""Stores what is known of a file, in the transaction in which its room is settled."""


async def receive(incoming: Incoming, limits: Limits, kind: StorageKind, store: Store[T]) -> T:
    """Takes a file in and answers with what `store` gives. When anything fails, or the sender goes away, nothing stays.
    `kind` is what its room is counted as.

    Raises VALIDATION_FAILED at `file` for one that is too large, empty, of no kind that is kept, or a picture that
    would unfold into too much; QUOTA_EXCEEDED; UNAVAILABLE; and what `store` raises.
    """
    if incoming.size > limits.file:
        raise _too_large(limits.file)
    taken = await quota.reserve(incoming.size, limits.clinic)
    path = path_of(current_scope().tenant_id, taken.id)
    try:
        async with asyncio.timeout(quota.LASTS.total_seconds() * 2 / 3):
            made = Received(incoming.name, path, secrets.token_bytes(KEY_BYTES))
            received = await _keep(_Reader(incoming.parts, made, limits, taken), made)

        async def work(session: AsyncClientSession) -> T:
            await quota.settle(taken, received.size, kind, session)
            return await store(received, session)

        return await in_turn(quota.TURN, work)
    except TimeoutError:
        await _drop(taken, path)
        raise ValidationFailed.at("file", "took too long to come") from None
    except BaseException:
        await asyncio.shield(_drop(taken, path))
        raise


async def _drop(taken: Reservation, path: str) -> None:
    """Gives the room back and deletes the file; neither when the reservation was settled after all."""
    paths = [path, thumbnail_of(path)]
    if await quota.release(taken, paths):
        await blobs().delete(paths)
        await quota.gone(paths)


async def _keep(reader: _Reader, made: Received) -> Received:
    await keep_file(reader.read(), made.key, made.blob)
    if reader.picture is not None:
        made.has_thumbnail = await keep_thumbnail(bytes(reader.picture), made.key, made.blob)
    return made


async def keep_file(parts: AsyncIterator[bytes], key: bytes, path: str) -> None:
    """Keeps a file, sealed, from its plain parts."""
    await blobs().put(path, sealed(parts, key, path))


async def keep_thumbnail(picture: bytes, key: bytes, path: str) -> bool:
    """Keeps the thumbnail of a picture that lies at `path`; False for one that cannot be read."""
    small = await thumbnail(picture)
    if small is None:
        return False
    where = thumbnail_of(path)
    await blobs().put(where, sealed(_once(small), thumbnail_key(key), where))
    return True


def thumbnail_key(key: bytes) -> bytes:
    """The key of a file's thumbnail."""
    return derived(key, "thumbnail")


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _too_large(limit: int) -> ValidationFailed:
    return ValidationFailed.at("file", f"must have at most {limit} bytes")


class _Reader:
    """Reads a file once, and writes down what it is."""

    def __init__(self, parts: AsyncIterator[bytes], made: Received, limits: Limits, taken: Reservation) -> None:
        self._parts = parts
        self._made = made
        self._limits = limits
        self._taken = taken
        self.picture: bytearray | None = None
        """The whole file, where it is a picture that gets a thumbnail."""

    async def read(self) -> AsyncIterator[bytes]:
        """The parts of the file. Raises VALIDATION_FAILED at `file`."""
        digest, head = sha256(), b""
        async for part in self._parts:
            await self._count(part)
            digest.update(part)
            if self._made.content_type:
                self._remember(part)
                yield part
                continue
            head += part
            if len(head) >= HEAD:
                yield self._typed(head)
        if not self._made.content_type:
            yield self._typed(head)
        self._made.sha256 = digest.hexdigest()

    async def _count(self, part: bytes) -> None:
        self._made.size += len(part)
        if self._made.size > self._limits.file:
            raise _too_large(self._limits.file)
        if self._made.size > self._taken.size:
            await quota.grow(self._taken, self._made.size - self._taken.size, self._limits.clinic)

    def _typed(self, head: bytes) -> bytes:
        if not head:
            raise ValidationFailed.at("file", "is empty")
        kind = kind_of(head[:HEAD])
        if kind is None:
            raise ValidationFailed.at("file", "is of no kind that is kept here")
        self._made.content_type = kind
        if wants_thumbnail(kind):
            self.picture = bytearray(head)
        return head

    def _remember(self, part: bytes) -> None:
        if self.picture is None:
            return
        if len(self.picture) + len(part) > MOST_BYTES:
            self.picture = None
        else:
            self.picture += part
