"""Documents pass from one patient of the clinic to another: which ones is found by the registry of documents.

What a document says is not touched: it belongs to another patient afterwards, and its version grows, so that whoever
was about to change it for the former one must look again. Times stay, for retention is counted from them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.services.changes import Row
from app.services.patient_export import models_about_patients
from app.services.scheduling.claims import patient_prefix
from app.tenancy.scope import current_scope
from app.tenancy.sealing import sealed_in
from models import Appointment, PatientMerge, PatientRecord, ReceivedShare, ShareCode
from models.base import TenantDocument
from models.references import Reference, pointers_of

MOST = 20_000
"""So many documents are moved in one transaction: more than a patient's whole life makes at most clinics."""
SECONDS = 40.0
"""So long that may take: 10,000 documents take 2.5 s on a busy machine of two cores."""
AT_ONCE = 10_000
"""So many ids are named by one command."""
_ID_LENGTH = 12
CROSSING = (ShareCode, ReceivedShare)
"""What another clinic asks for, or is asked for, by the id under which both know the patient."""

Moved = Mapping[str, Sequence[ObjectId]]
"""Ids by collection."""


def movable() -> list[type[TenantDocument]]:
    """Every kind of document about patients, but for the record, of which each patient has one."""
    return [model for model in models_about_patients() if model is not PatientRecord]


def about(model: type[TenantDocument], patient_id: ObjectId) -> Row:
    """Filter: documents of one patient."""
    return {str(model.patient_column): patient_id}


async def move(source: ObjectId, target: ObjectId, session: AsyncClientSession) -> dict[str, list[ObjectId]]:
    """Gives all that is `source`'s to `target`; which documents these were."""
    moved: dict[str, list[ObjectId]] = {}
    for model in movable():
        if ids := await move_all(model, source, target, session):
            moved[model.guarded_name()] = ids
    return moved


async def move_all(
    model: type[TenantDocument], source: ObjectId, target: ObjectId, session: AsyncClientSession
) -> list[ObjectId]:
    """Gives all documents of one kind that are `source`'s to `target`; which ones these were."""
    rows = await model.rows(about(model, source), projection=["_id"], session=session)
    if rows:
        await _give(model, source, target, {}, session)
    return [row["_id"] for row in rows]


async def move_some(
    model: type[TenantDocument],
    source: ObjectId,
    target: ObjectId,
    ids: Sequence[ObjectId],
    session: AsyncClientSession,
) -> None:
    """Gives those of the documents that are still `source`'s to `target`."""
    for some in parts(ids):
        await _give(model, source, target, {"_id": {"$in": some}}, session)


async def _give(
    model: type[TenantDocument], source: ObjectId, target: ObjectId, which: Row, session: AsyncClientSession
) -> None:
    own = {**about(model, source), **which}
    if model in CROSSING:
        await _name_for_others(model, own, source, target, session)
    await model.guarded().update_many(own, _passing(model, source, target), session=session)


def _passing(model: type[TenantDocument], source: ObjectId, target: ObjectId) -> Any:
    """The update by which a document passes from one patient to the other."""
    if model is Appointment:
        claims, version = _reclaimed(source, target), {"$add": ["$version", 1]}
        return [{"$set": {"patient_id": target, "version": version, "claims": claims}}]
    change: Row = {"$set": {str(model.patient_column): target}}
    return {**change, "$inc": {"version": 1}} if "version" in model.model_fields else change


def _reclaimed(source: ObjectId, target: ObjectId) -> Row:
    """An expression: an appointment's claims, those of one patient as those of the other; where it has none, none."""
    renamed = {"input": "$$claim", "find": f"{claimed_by(source)}:", "replacement": f"{claimed_by(target)}:"}
    each = {"$map": {"input": "$claims", "as": "claim", "in": {"$replaceOne": renamed}}}
    return {"$cond": [{"$isArray": ["$claims"]}, each, "$claims"]}


def claimed_by(patient_id: ObjectId) -> str:
    """What a patient's claims at the clinic in scope begin with."""
    return patient_prefix(str(current_scope().tenant_id), str(patient_id))


async def _name_for_others(
    model: type[TenantDocument], own: Row, source: ObjectId, target: ObjectId, session: AsyncClientSession
) -> None:
    """The other clinic goes on asking, or being asked, by the id that it knows: the first one, however often the
    patient is merged here. Going back to that very patient, there is nothing to be said any more."""
    shares = model.guarded()
    await shares.update_many({**own, "known_as": str(target)}, {"$set": {"known_as": ""}}, session=session)
    await shares.update_many({**own, "known_as": None}, {"$set": {"known_as": str(source)}}, session=session)
    await shares.update_many({**own, "known_as": ""}, {"$set": {"known_as": None}}, session=session)


# --- what goes back -------------------------------------------------------------------------------------------------


async def grown(moved: Moved, patient_id: ObjectId, session: AsyncClientSession) -> dict[str, list[ObjectId]]:
    """Those of the patient's documents that hang on one of the moved, at whatever depth, and are none of them.

    A payment belongs to its invoice, a message to its conversation: it goes where that goes, whenever it was made.
    """
    known = {name: set(ids) for name, ids in moved.items()}
    found: dict[str, list[ObjectId]] = {}
    fresh: Moved = moved
    while fresh:
        more: dict[str, list[ObjectId]] = {}
        for model in movable():
            if model is PatientMerge:
                continue
            name = model.guarded_name()
            ids = {one async for one in _hanging_on(model, fresh, patient_id, session)} - known.get(name, set())
            if ids:
                more[name] = sorted(ids)
                known.setdefault(name, set()).update(ids)
                found.setdefault(name, []).extend(more[name])
        fresh = more
    return found


async def _hanging_on(
    model: type[TenantDocument], moved: Moved, patient_id: ObjectId, session: AsyncClientSession
) -> AsyncIterator[ObjectId]:
    for path, collection in _links(model):
        for some in parts(moved.get(collection, ())):
            where = {**about(model, patient_id), path: {"$in": some}}
            for row in await model.rows(where, projection=["_id"], session=session):
                yield row["_id"]


def _links(model: type[TenantDocument]) -> Iterator[tuple[str, str]]:
    """Where a kind of document names others that are about patients, as far as the database can look for it: what a
    message has attached is sealed, and does not make it part of the document."""
    kinds = {one.guarded_name() for one in movable()}
    sealed = sealed_in(model.guarded_name())
    for pointer in pointers_of(model):
        hidden = any(pointer.path.startswith(f"{path}.") for path in sealed)
        if isinstance(pointer.mark, Reference) and pointer.mark.collection in kinds and not hidden:
            yield pointer.path, pointer.mark.collection


# --- ids in few bytes -------------------------------------------------------------------------------------------------


def packed(ids: Iterable[ObjectId]) -> bytes:
    """Ids as 12 bytes each."""
    return b"".join(one.binary for one in ids)


def unpacked(stored: bytes) -> list[ObjectId]:
    """The ids of `packed`."""
    return [ObjectId(stored[at : at + _ID_LENGTH]) for at in range(0, len(stored), _ID_LENGTH)]


def moved_by(row: Mapping[str, Any]) -> dict[str, list[ObjectId]]:
    """What a merge has moved, by collection, from its row."""
    return {name: unpacked(stored) for name, stored in row["moved"].items()}


def parts(ids: Sequence[ObjectId]) -> Iterator[list[ObjectId]]:
    """The ids in parts that fit into a command."""
    for at in range(0, len(ids), AT_ONCE):
        yield list(ids[at : at + AT_ONCE])
