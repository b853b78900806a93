"""Keyset cursors: opaque, signed, and bound to one clinic, one list and one order."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from pydantic import SecretStr

from app.errors import ValidationFailed

_MAC_BYTES = 16
_CODEC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)


class Cursors:
    """Makes and reads the cursors of one list: `scope` names tenant, list and order."""

    def __init__(self, secret: SecretStr, scope: str) -> None:
        self._key = hashlib.blake2b(secret.get_secret_value().encode(), person=b"cursor").digest()
        self._scope = scope.encode()

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, self._scope + b"\0" + payload, "sha256")[:_MAC_BYTES]

    def make(self, values: Sequence[Any]) -> str:
        """The cursor after the row that has these sort values."""
        payload = bson.encode({"v": list(values)})
        return base64.urlsafe_b64encode(self._mac(payload) + payload).rstrip(b"=").decode()

    def read(self, cursor: str, *, path: str = "after") -> list[Any]:
        """The sort values in a cursor. Raises VALIDATION_FAILED at `path` when it is not one of this list's."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
            if hmac.compare_digest(mac, self._mac(payload)):
                values: list[Any] = bson.decode(payload, _CODEC)["v"]
                return values
        except (binascii.Error, BSONError, ValueError):
            pass
        raise ValidationFailed.at(path, "is not a cursor of this list and order")


def keyset(sort: Sequence[tuple[str, int]], values: Sequence[Any]) -> dict[str, Any]:
    """The filter for the rows after `values` in the order `sort` (all ascending or all descending).

    The leading `>=` keeps one index range; the `$or` cuts off what stood before.

    >>> keyset([("a", 1), ("_id", 1)], [5, 9])
    {'a': {'$gte': 5}, '$or': [{'a': {'$gt': 5}}, {'a': 5, '_id': {'$gt': 9}}]}
    """
    beyond, at_least = ("$gt", "$gte") if sort[0][1] > 0 else ("$lt", "$lte")
    branches = []
    for depth, (column, _) in enumerate(sort):
        same = {sort[i][0]: values[i] for i in range(depth)}
        branches.append({**same, column: {beyond: values[depth]}})
    return {sort[0][0]: {at_least: values[0]}, "$or": branches}
