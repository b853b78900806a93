"""Which document a request means: the one it brings, one that it brought before, or one that was registered.

A document that clients bring is kept under its hash, for their own clinic alone, once it has passed all checks. Memory
is bounded: so much text for each clinic, and for so many clinics; what was dropped is sent again by its clients.
"""

from __future__ import annotations

import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from enum import StrEnum
from typing import Generic, TypeVar

from app.errors import PersistedQueryNotFound, PersistedQueryNotSupported, PersistedQueryRequired, ValidationFailed
from app.services.persisted_documents import digest_of, find_text

CHARACTERS_OF_ONE = 200_000
CLINICS = 200
REGISTERED_CHARACTERS = 2_000_000
FRESH_SECONDS = 10.0
"""So long a process answers from memory for a registered document, before it looks whether it still is one."""
HASH = re.compile(r"[0-9a-f]{64}")

K = TypeVar("K", bound=Hashable)


class Mode(StrEnum):
    """What clients may run by hash, and without."""

    OFF = "off"
    AUTOMATIC = "automatic"
    REQUIRED = "required"


class Texts(Generic[K]):
    """Texts by key, the least lately used of which go when there are too many characters."""

    def __init__(self, characters: int) -> None:
        self._most = characters
        self._texts: OrderedDict[K, str] = OrderedDict()
        self.characters = 0

    def get(self, key: K) -> str | None:
        if key in self._texts:
            self._texts.move_to_end(key)
        return self._texts.get(key)

    def put(self, key: K, text: str) -> None:
        self.drop(key)
        self._texts[key] = text
        self.characters += len(text)
        while self.characters > self._most:
            self.characters -= len(self._texts.popitem(last=False)[1])

    def drop(self, key: K) -> None:
        self.characters -= len(self._texts.pop(key, ""))


class Documents:
    """The documents of one process. `find` looks a registered one up, by id or hash."""

    def __init__(
        self,
        mode: Mode,
        *,
        find: Callable[[str], Awaitable[str | None]] = find_text,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mode = mode
        self._find = find
        self._clock = clock
        self._brought: OrderedDict[Hashable, Texts[str]] = OrderedDict()
        self._registered: Texts[str] = Texts(REGISTERED_CHARACTERS)
        self._seen: dict[str, float] = {}

    @property
    def looks_up(self) -> bool:
        """Whether also a document that a client brings is looked for among the registered ones."""
        return self._mode is Mode.REQUIRED

    async def text_of(self, clinic: Hashable, query: str | None, name: str | None) -> str:
        """The text that a request means by its query, by an id or hash (`name`), or by both.

        Raises PERSISTED_QUERY_NOT_FOUND, _NOT_SUPPORTED or _REQUIRED, VALIDATION_FAILED for a hash of another text.
        """
        if query is None:
            if name is None:
                raise ValidationFailed.at("query", "must be a GraphQL document")
            return await self._kept(clinic, name)
        if name is not None and HASH.fullmatch(name) and not hmac.compare_digest(digest_of(query), name):
            raise ValidationFailed.at("extensions.persistedQuery.sha256Hash", "is not the hash of the query")
        if self._mode is Mode.REQUIRED and await self._registered_text(digest_of(query)) is None:
            raise PersistedQueryRequired
        return query

    def keep(self, clinic: Hashable, name: str | None, text: str) -> None:
        """Keeps a document that has passed all checks, when its client wants to run it by its hash from now on."""
        if self._mode is not Mode.AUTOMATIC or name is None or not HASH.fullmatch(name):
            return
        texts = self._brought.setdefault(clinic, Texts(CHARACTERS_OF_ONE))
        self._brought.move_to_end(clinic)
        texts.put(name, text)
        while len(self._brought) > CLINICS:
            self._brought.popitem(last=False)

    async def _kept(self, clinic: Hashable, name: str) -> str:
        if self._mode is Mode.OFF:
            raise PersistedQueryNotSupported
        own = self._brought.get(clinic)
        text = (own.get(name) if own is not None else None) or await self._registered_text(name)
        if text is None:
            raise PersistedQueryNotFound if self._mode is Mode.AUTOMATIC else PersistedQueryRequired
        return text

    async def _registered_text(self, name: str) -> str | None:
        """From memory while that is fresh. What is not registered is looked for each time: it may be by now."""
        text = self._registered.get(name)
        if text is not None and self._clock() - self._seen.get(name, 0.0) < FRESH_SECONDS:
            return text
        text = await self._find(name)
        if text is None:
            self._registered.drop(name)
            self._seen.pop(name, None)
        else:
            self._remember(name, text)
        return text

    def _remember(self, name: str, text: str) -> None:
        self._registered.put(name, text)
        self._seen[name] = self._clock()
        if len(self._seen) > 10_000:  # far more than fit into memory: forget those whose text is gone
            self._seen = {one: at for one, at in self._seen.items() if self._registered.get(one) is not None}
