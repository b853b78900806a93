"""Moves documents between their collections and the quarantine: each part in one transaction, with its count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import bson
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError, DocumentTooLarge, DuplicateKeyError, OperationFailure, WriteError

from app.db.schema import without_clinic
from app.db.transactions import patiently
from app.services.legacy.fitting import Unfit, for_clinics
from app.services.legacy.looking import AWARE, BATCH, BY_NAME, RAW, Look, key_of, taken_from
from app.services.legacy.plan import Clinics, Decision, Key
from app.services.watching import Report
from app.tenancy.crossing import SystemHandle
from models import LegacyDocument, LegacyRun, Tenant
from models.base import GuardedDocument
from models.phones import region_of
from models.references import Reference, pointers_of
from models.values import now

Row = dict[str, Any]
T = TypeVar("T")

TOGETHER = 200
"""So many documents are moved by one transaction."""
BYTES_TOGETHER = 8 * 1024 * 1024
WAITING = "was taken out and not looked at yet"
DUPLICATE_KEY = 11000
INVALID = 121
REFUSALS = (BulkWriteError, WriteError, DuplicateKeyError, DocumentTooLarge)


class _Faster(Exception):
    """Another run has moved some of the same documents meanwhile."""


ELSEWHERE = "its clinic lives in a database of its own: move that into the shared one first"


async def _living_apart() -> Clinics:
    """The clinics whose documents are not in the shared database."""
    rows = await Tenant.rows({"placement.database": {"$ne": None}}, projection={"_id": 1})
    return frozenset(row["_id"] for row in rows)


@dataclass(slots=True)
class Moving:
    """One run's moves. `left` are documents that could not be taken out, per collection."""

    system: SystemHandle
    run_id: ObjectId
    report: Report = lambda *_: None
    left: dict[str, int] = field(default_factory=dict)

    # --- out of the collections ----------------------------------------------------------------------------------

    async def take_out(self, collection: str) -> None:
        """Moves every document without a clinic into the quarantine."""
        async for rows in taken_from(self.system, collection):
            for some in _together(rows, lambda row: len(row.raw)):
                await self._take(collection, some)

    async def _take(self, collection: str, rows: Sequence[RawBSONDocument]) -> None:
        async def work(session: AsyncClientSession) -> None:
            stored = self.system.database[collection]
            mine = {"$and": [{"_id": {"$in": [row["_id"] for row in rows]}}, without_clinic(BY_NAME[collection])]}
            if (await stored.delete_many(mine, session=session)).deleted_count != len(rows):
                raise _Faster
            await LegacyDocument.guarded().insert_many(
                [self._kept(collection, bytes(row.raw), WAITING) for row in rows], session=session
            )
            await self._count("taken", {collection: len(rows)}, session)

        try:
            await patiently(work)
        except (_Faster, DocumentTooLarge) as error:
            if len(rows) > 1:
                for row in rows:
                    await self._take(collection, [row])
            elif isinstance(error, DocumentTooLarge):
                self.left[collection] = self.left.get(collection, 0) + 1
        else:
            self.report(collection, len(rows))

    def _kept(self, collection: str, content: bytes, reason: str) -> Row:
        return {
            "collection": collection,
            "content": content,
            "reason": reason,
            "clinic_id": None,
            "run_id": self.run_id,
            "taken_at": now(),
        }

    async def _count(self, what: str, counts: Mapping[str, int], session: AsyncClientSession) -> None:
        added = {f"{what}.{name}": count for name, count in counts.items() if count}
        if added:
            await LegacyRun.guarded().update_one({"_id": self.run_id}, {"$inc": added}, session=session)

    # --- out of the quarantine ------------------------------------------------------------------------------------

    async def assign(self, seen: Look, decisions: Mapping[Key, Decision]) -> None:
        """Gives documents to their clinics as decided, each after those that it points to. What cannot be given stays,
        with the reason, and so does what points to it."""
        stays: set[Key] = set()
        regions = await _regions()
        apart = await _living_apart()
        for model in _in_order():
            await self._assign_of(model, seen, decisions, stays, regions, apart)

    async def _assign_of(
        self,
        model: type[GuardedDocument],
        seen: Look,
        decisions: Mapping[Key, Decision],
        stays: set[Key],
        regions: Mapping[ObjectId, str | None],
        apart: Clinics,
    ) -> None:
        collection = model.guarded_name()
        async for rows in _parts(collection):
            ready: list[tuple[Row, Row, Clinics]] = []
            kept: list[tuple[Row, str, Clinics]] = []
            for row in rows:
                content = bson.decode(row["content"], AWARE)
                key = key_of(collection, content.get("_id"))
                decision = decisions.get(key)
                if decision is None:  # was taken out by somebody else since the look
                    continue
                reason = decision.reason or _leads(seen, key, stays)
                if reason is None and decision.clinics & apart:
                    reason = ELSEWHERE
                if reason is None:
                    try:
                        region = regions.get(min(decision.clinics))
                        fit = await for_clinics(model, content, decision.clinics, region)
                        ready.append((row, fit, decision.clinics))
                        continue
                    except Unfit as unfit:
                        reason = str(unfit)
                kept.append((row, reason, decision.clinics))
            for some in _together(ready, lambda one: len(one[0]["content"])):
                kept += await self._insert(collection, some)
            stays |= {key_of(collection, bson.decode(row["content"])["_id"]) for row, _, _ in kept}
            await _explain(kept)
            self.report(collection, len(rows))

    async def _insert(
        self, collection: str, ready: Sequence[tuple[Row, Row, Clinics]]
    ) -> list[tuple[Row, str, Clinics]]:
        """Stores documents and takes them out of the quarantine; answers with those that the database refused."""

        async def work(session: AsyncClientSession) -> None:
            out = await LegacyDocument.guarded().delete_many(
                {"_id": {"$in": [row["_id"] for row, _, _ in ready]}}, session=session
            )
            if out.deleted_count != len(ready):
                raise _Faster
            await self.system.raw(BY_NAME[collection]).insert_many([fit for _, fit, _ in ready], session=session)
            await self._count("assigned", {collection: len(ready)}, session)
            clinics = sorted({clinic for _, _, several in ready for clinic in several})
            await LegacyRun.guarded().update_one(
                {"_id": self.run_id}, {"$addToSet": {"clinic_ids": {"$each": clinics}}}, session=session
            )

        try:
            await patiently(work)
        except _Faster:
            if len(ready) == 1:
                return []
            return [kept for one in ready for kept in await self._insert(collection, [one])]
        except REFUSALS as error:
            if len(ready) == 1:
                return [(ready[0][0], _in_words(error), ready[0][2])]
            return [kept for one in ready for kept in await self._insert(collection, [one])]
        return []

    async def restore(self) -> None:
        """Puts everything in quarantine back where it was, byte for byte; what another document has taken the place
        of stays."""
        for collection in BY_NAME:
            async for rows in _parts(collection):
                await self._restore(collection, rows)

    async def _restore(self, collection: str, rows: Sequence[Row]) -> None:
        async def work(session: AsyncClientSession) -> None:
            stored = self.system.database.get_collection(collection, RAW)
            mine = {"_id": {"$in": [row["_id"] for row in rows]}}
            if (await LegacyDocument.guarded().delete_many(mine, session=session)).deleted_count != len(rows):
                raise _Faster
            await stored.insert_many(
                [RawBSONDocument(row["content"]) for row in rows], bypass_document_validation=True, session=session
            )
            await self._count("restored", {collection: len(rows)}, session)

        try:
            await patiently(work)
            self.report(collection, len(rows))
        except (_Faster, *REFUSALS) as error:
            if len(rows) > 1:
                for row in rows:
                    await self._restore(collection, [row])
            elif not isinstance(error, _Faster):
                await _explain([(rows[0], f"cannot be put back: {_in_words(error)}", frozenset())])


def _together(items: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """The items in lists that one transaction can take, by number and by bytes."""
    some: list[T] = []
    total = 0
    for item in items:
        if some and (len(some) >= TOGETHER or total + size(item) > BYTES_TOGETHER):
            yield some
            some, total = [], 0
        some.append(item)
        total += size(item)
    if some:
        yield some


def _leads(seen: Look, key: Key, stays: set[Key]) -> str | None:
    for tie in seen.found[key].ties:
        if tie.to in stays and tie.to != key:
            return f"{tie.path} leads to one of {tie.to.collection} that cannot be assigned"
    return None


async def _parts(collection: str) -> AsyncIterator[list[Row]]:
    """What the quarantine holds of a collection, in parts of one transaction each."""
    after: Row = {}
    while rows := await LegacyDocument.rows({"collection": collection, **after}, sort=[("_id", 1)], limit=TOGETHER):
        yield rows
        after = {"_id": {"$gt": rows[-1]["_id"]}}


async def _explain(kept: Sequence[tuple[Row, str, Clinics]]) -> None:
    """Notes why documents stay, where that is new."""
    alike: dict[tuple[str, ObjectId | None], list[Any]] = defaultdict(list)
    for row, reason, clinics in kept:
        clinic = next(iter(clinics)) if len(clinics) == 1 else None
        if (row["reason"], row["clinic_id"]) != (reason, clinic):
            alike[reason, clinic].append(row["_id"])
    for (reason, clinic), ids in alike.items():
        for at in range(0, len(ids), BATCH):
            await LegacyDocument.guarded().update_many(
                {"_id": {"$in": ids[at : at + BATCH]}}, {"$set": {"reason": reason, "clinic_id": clinic}}
            )


def _in_words(error: OperationFailure | DocumentTooLarge) -> str:
    """Why the database did not take a document: names of fields and rules, never values."""
    if isinstance(error, DocumentTooLarge):
        return "is too large"
    told: Mapping[str, Any] = error.details or {}
    told = next(iter(told.get("writeErrors", ())), told)
    if told.get("code", error.code) == DUPLICATE_KEY:
        fields = [name for name in told.get("keyPattern", {}) if name != "tenant_id"]
        return f"another document has the same {', '.join(fields) or 'place'}"
    if told.get("code", error.code) == INVALID:
        return "breaks a rule of the database"
    return f"was refused by the database (code {told.get('code', error.code)})"


async def _regions() -> dict[ObjectId, str | None]:
    """Each clinic's country, by its time zone."""
    rows = await Tenant.rows({}, projection={"settings.timezone": 1})
    return {row["_id"]: region_of(row["settings"]["timezone"]) for row in rows}


def _in_order() -> list[type[GuardedDocument]]:
    """The models, each after those that its documents point to, as far as they do not point to each other."""
    waiting = dict(BY_NAME)
    ordered: list[type[GuardedDocument]] = []
    while waiting:
        free = [name for name, model in waiting.items() if not _targets(model) & waiting.keys()]
        ordered += [waiting.pop(name) for name in free or [next(iter(waiting))]]
    return ordered


def _targets(model: type[GuardedDocument]) -> set[str]:
    """The other collections that a model's documents point into."""
    found = {one.mark.collection for one in pointers_of(model) if isinstance(one.mark, Reference)}
    return found - {model.guarded_name()}
