"""Sealed fields: kept encrypted under the clinic's own key, and plain to whoever reads through the guard.

Whoever writes a model marks the field and does nothing else; inserts, updates and reads through the guard seal and
open by themselves, also inside embedded values and lists of them:

    notes: Annotated[Text | None, Sealed()] = None
    national_id: Annotated[Line | None, Sealed(blind="national_id_index")] = None

`blind` names a column, kept beside the field by the guard and never read back, in which equal values can be found:
`await blind(PatientRecord, "national_id", "12-34")` gives the filter, and an index over `tenant_id` and that column
makes it fast (or, with `unique`, keeps a value unique within the clinic). Nothing else can be asked about a sealed
field but whether it is there. A change of one must name the document by its `_id`, which the seal is bound to, and use
`$set`, `$setOnInsert`, `$unset` or `$push`. What a seal cannot hide is its length, and when it was changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import bson
from bson import Binary, ObjectId
from bson.codec_options import CodecOptions
from cryptography.exceptions import InvalidTag

from app.errors import TenantGuardRefused
from app.tenancy.keyring import Keyring
from app.tenancy.scope import current_scope
from app.tenancy.seal_marks import (
    Part,
    Place,
    Sealed,
    apply,
    compact,
    outline_of,
    places,
    register_seals,
    sealed_in,
    touches,
)
from app.tenancy.seal_updates import (
    Changes,
    pinned_id,
    refuse_sealed_filter,
    refuse_sealed_names,
    refuse_sealed_pipeline,
)

__all__ = [
    "KeySource",
    "SealBroken",
    "Sealed",
    "blind",
    "blinds_of",
    "compact",
    "is_sealed",
    "key_version",
    "open_one",
    "open_rows",
    "reads_sealed",
    "refuse_sealed_filter",
    "refuse_sealed_names",
    "refuse_sealed_pipeline",
    "register_seals",
    "seal_document",
    "seal_one",
    "seal_update",
    "sealed_in",
    "set_key_source",
]

Row = dict[str, Any]

SUBTYPE = 0x9E
"""The user-defined BSON subtype by which a stored value is known to be sealed."""
FORMAT = 1
_HEAD = 5
_NONCE = 12
_LEAST = _HEAD + _NONCE + 16
_OPTIONS: CodecOptions[Row] = CodecOptions(tz_aware=True)


class SealBroken(Exception):
    """A sealed value does not open: it was changed, moved here from elsewhere, or its key is gone. A bug or a breach,
    never a client's mistake; the text names the place and holds nothing of the value."""


class KeySource(Protocol):
    """Where the guard gets a clinic's keys from. It keeps them for a while, so asking is cheap."""

    async def ring(self, own: ObjectId, *, create: bool, needs: Iterable[int] = ()) -> Keyring:
        """The clinic's keys; `create` makes the first one, else a clinic without any has an empty ring.

        `needs` are versions that must be in it, for another process may have made them meanwhile.
        """
        ...


_source: KeySource | None = None


def set_key_source(source: KeySource | None) -> KeySource | None:
    """Says where keys come from, once for the process; gives the source that was before."""
    global _source
    before, _source = _source, source
    return before


async def _ring(own: ObjectId, *, create: bool, needs: Iterable[int] = ()) -> Keyring:
    if _source is None:
        raise TenantGuardRefused("no key source is set, so nothing can be sealed or opened")
    return await _source.ring(own, create=create, needs=needs)


# --- one value --------------------------------------------------------------------------------------------------------


def is_sealed(value: Any) -> bool:
    """Whether a stored value is sealed."""
    return isinstance(value, Binary) and value.subtype == SUBTYPE


def key_version(value: Binary) -> int:
    """Under which version of the clinic's key a stored value was sealed; 0 for one that was cut short."""
    return int.from_bytes(value[1:_HEAD], "big") if len(value) >= _HEAD else 0


def _bound_to(own: ObjectId, field: str, id: Any, head: bytes) -> bytes:
    """The associated data: clinic, collection and field, document, format and key version, unambiguously."""
    return bson.encode({"clinic": own, "field": field, "id": id, "head": head})


def seal_value(ring: Keyring, own: ObjectId, field: str, id: Any, value: Any) -> Binary:
    """Seals under the ring's newest key: format, key version, random nonce, AES-256-GCM of the value as BSON.

    `field` is `collection.path`.
    """
    head = bytes([FORMAT]) + ring.current.to_bytes(4, "big")
    nonce = os.urandom(_NONCE)
    plain = bson.encode({"v": value})
    hidden = ring.cipher(ring.current).encrypt(nonce, plain, _bound_to(own, field, id, head))
    return Binary(head + nonce + hidden, SUBTYPE)


def open_value(ring: Keyring, own: ObjectId, field: str, id: Any, sealed: Binary) -> Any:
    """The value. Raises `SealBroken` unless it was sealed for exactly this clinic, field and document."""
    version = key_version(sealed)
    if len(sealed) < _LEAST or sealed[0] != FORMAT:
        raise SealBroken(f"{field} of {id} is not a seal that this code knows")
    if version not in ring:
        raise SealBroken(f"{field} of {id}: version {version} of the clinic's key is gone")
    head, nonce, hidden = sealed[:_HEAD], sealed[_HEAD : _HEAD + _NONCE], sealed[_HEAD + _NONCE :]
    try:
        plain = ring.cipher(version).decrypt(nonce, hidden, _bound_to(own, field, id, head))
    except InvalidTag:
        raise SealBroken(f"{field} of {id} does not open: it was changed, or belongs elsewhere") from None
    return bson.decode(plain, _OPTIONS)["v"]


async def seal_one(own: ObjectId, field: str, id: Any, value: Any) -> Binary:
    """Seals one value of a clinic for a place that no mark describes, such as a platform document about the clinic.

    `field` names the place (`collection.path`), `id` the document; `open_one` must be told the same.
    """
    return seal_value(await _ring(own, create=True), own, field, id, value)


async def open_one(own: ObjectId, field: str, id: Any, sealed: Binary) -> Any:
    """What `seal_one` sealed. Raises `SealBroken`."""
    return open_value(await _ring(own, create=False, needs=[key_version(sealed)]), own, field, id, sealed)


# --- writing ----------------------------------------------------------------------------------------------------------


async def seal_document(own: ObjectId, collection: str, document: Row) -> Row:
    """A copy to store: marked values sealed, blind columns set, with an `_id`. Values that are sealed already stay."""
    outline = outline_of(collection)
    document = document if document.get("_id") is not None else {**document, "_id": ObjectId()}
    blinds = {mark.blind for mark in sealed_in(collection).values() if mark.blind}
    copy = {name: value for name, value in document.items() if name not in blinds}
    if next(places(outline, copy), None) is None:
        return copy
    ring = await _ring(own, create=True)
    return _sealed_copy(ring, own, collection, copy)


def _sealed_copy(ring: Keyring, own: ObjectId, collection: str, document: Row) -> Row:
    copy: Row = _seal_parts(ring, own, collection, document["_id"], document, outline_of(collection), "")
    for path, mark in sealed_in(collection).items():
        if mark.blind and (found := blind_values(ring, collection, path, mark, document.get(path))):
            copy[mark.blind] = found
    return copy


def _seal_parts(ring: Keyring, own: ObjectId, collection: str, id: Any, value: Any, part: Part, path: str) -> Any:
    if not isinstance(id, ObjectId | str):
        raise TenantGuardRefused("a document with sealed values is named by an ObjectId or a text")

    def seal(at: str, _mark: Sealed, plain: Any) -> Any:
        return plain if is_sealed(plain) else seal_value(ring, own, f"{collection}.{at}", id, plain)

    return apply(part, value, path, seal)


def blind_values(ring: Keyring, collection: str, path: str, mark: Sealed, value: Any) -> list[bytes]:
    """What equal values have in common in the blind column, under each key that lives; none for an empty value."""
    if not isinstance(value, str) or not (normal := mark.normal(value)):
        return []
    return [ring.blind(version, f"{collection}.{path}", normal) for version in ring]


async def seal_update(own: ObjectId, collection: str, criteria: Any, update: Any) -> Any:
    """The update to send. Raises `TenantGuardRefused` for a change of a sealed field that cannot be bound to its
    document, or that the server would have to know the value for; see the module."""
    refuse_sealed_filter(collection, criteria)
    if not isinstance(update, Mapping):
        refuse_sealed_pipeline(collection, update)
        return update
    changes = Changes(collection, update)
    if not changes.concerned:
        return update
    if not changes.values:
        return changes.unsealed()
    id = pinned_id(criteria)
    if id is None:
        raise TenantGuardRefused(f"a sealed field of {collection} is changed by the document's _id alone")
    ring = await _ring(own, create=True)

    def seal(value: Any, part: Part, path: str) -> Any:
        return _seal_parts(ring, own, collection, id, value, part, path)

    def index(path: str, mark: Sealed, value: Any) -> list[bytes]:
        return blind_values(ring, collection, path, mark, value)

    return changes.sealed(seal, index)


# --- reading ----------------------------------------------------------------------------------------------------------


async def open_rows(own: ObjectId, collection: str, rows: Sequence[Row]) -> None:
    """Opens marked values in place, and takes the blind columns out; values from before they were marked stay.

    Raises `SealBroken` for one that was not sealed for exactly this clinic, field and document.
    """
    outline = outline_of(collection)
    blinds = [mark.blind for mark in sealed_in(collection).values() if mark.blind]
    sealed: list[tuple[Row, Place]] = []
    for row in rows:
        for column in blinds:
            row.pop(column, None)
        sealed += [(row, place) for place in places(outline, row) if is_sealed(place.value)]
    if not sealed:
        return
    ring = await _ring(own, create=False, needs={key_version(place.value) for _, place in sealed})
    for row, place in sealed:
        if "_id" not in row:
            raise SealBroken(f"{collection}.{place.path} was read without the _id that its seal is bound to")
        place.holder[place.name] = open_value(ring, own, f"{collection}.{place.path}", row["_id"], place.value)


def blinds_of(collection: str) -> frozenset[str]:
    """The columns by which equal sealed values are found."""
    return frozenset(mark.blind for mark in sealed_in(collection).values() if mark.blind)


def reads_sealed(collection: str, fields: Mapping[str, Any]) -> bool:
    """Whether a projection brings anything sealed, so that the row's `_id` is needed."""
    if not fields:
        return bool(sealed_in(collection))
    taken = {name for name, how in fields.items() if how and name != "_id"}
    if not taken:  # it leaves columns out
        left = {name for name, how in fields.items() if not how}
        return any(path not in left and path.partition(".")[0] not in left for path in sealed_in(collection))
    return any(touches(collection, name) for name in taken)


async def blind(model: Any, field: str, value: str) -> Row:
    """Filter: documents of the clinic in scope whose sealed `field` equals `value`, as its mark compares them."""
    collection = model.guarded_name()
    mark = sealed_in(collection)[field]
    if mark.blind is None:
        raise ValueError(f"{collection}.{field} has no blind column to be found by")
    ring = await _ring(current_scope().tenant_id, create=False)
    return {mark.blind: {"$in": blind_values(ring, collection, field, mark, value)}}
