"""Ids of an export in the installation that takes it in: as they were where they are free, else all of them anew.

An ObjectId is a time, five bytes of the process that made it, and a counter. Anew means: the five bytes are combined
with five random ones of this import. Different ids stay different, order and times stay, every mention of an id comes
out the same, and nothing has to be remembered of any of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bson import ObjectId

SHIFT_BYTES = 5
_ID = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{24}(?![0-9A-Za-z])")
_LEAST = 24


class Translation:
    """What becomes of each id. `makers` are the five bytes of those who made ids of the export: whatever else looks
    like an id is none of its own, and stays. `told` are those that become certain ids, maybe themselves: people and
    the clinic."""

    def __init__(self, makers: frozenset[bytes], shift: bytes, told: Mapping[ObjectId, ObjectId]) -> None:
        self._makers = makers
        self._shift = int.from_bytes(shift, "big")
        self._told = dict(told)
        self._all_stay = not self._shift and all(old == new for old, new in told.items())

    def id(self, id: ObjectId) -> ObjectId:
        """What that id is here."""
        known = self._told.get(id)
        if known is not None:
            return known
        raw = id.binary
        maker = raw[4:9]
        if not self._shift or maker not in self._makers:
            return id
        shifted = (int.from_bytes(maker, "big") ^ self._shift).to_bytes(SHIFT_BYTES, "big")
        return ObjectId(raw[:4] + shifted + raw[9:])

    def value(self, value: Any) -> Any:
        """A value in which each id is what it is here: at any depth, in texts and in names too."""
        if self._all_stay:
            return value
        return self._value(value)

    def _value(self, value: Any) -> Any:
        if isinstance(value, ObjectId):
            return self.id(value)
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {self._text(name): self._value(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self._value(one) for one in value]
        return value

    def _text(self, text: str) -> str:
        if len(text) < _LEAST:
            return text
        return _ID.sub(lambda found: str(self.id(ObjectId(found[0]))), text)
