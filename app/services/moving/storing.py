"""Stores the documents of an export for the clinic in scope: collection by collection, its files, and its audit.

Every step can be repeated: what an earlier run of the same import has stored is left as it is.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from pymongo.errors import BulkWriteError, DuplicateKeyError, WriteError

from app.errors import Conflict
from app.services.audit_chain import head_of, linked, set_anchors
from app.services.documents.places import path_of
from app.services.documents.receiving import keep_file, keep_thumbnail
from app.services.documents.sealed_files import KEY_BYTES
from app.services.documents.thumbnails import MOST_BYTES
from app.services.erasure import digest_of
from app.services.moving.carried import BATCH, CARRIED, NOT_CARRIED, batches, whole
from app.services.moving.folders import FILES, Reader
from app.services.moving.translating import Translation
from app.services.watching import Report
from app.tenancy.operations import DUPLICATE_KEY, failures_of
from app.tenancy.scope import current_scope
from models import AuditEntry, DocumentContent, Erasure, Patient, PatientRecord
from models.base import GuardedDocument
from models.patient import RecordStatus
from models.tenant import Importing

Row = dict[str, Any]

_APART = frozenset({AuditEntry.guarded_name(), DocumentContent.guarded_name()}) | NOT_CARRIED
_OF_THE_CHAIN = frozenset({"tenant_id", "seq", "key_id", "mac"})


@dataclass(slots=True)
class Counts:
    """Documents that were dealt with by collection, files that were kept and that were missing. `overlapping` are
    appointments whose people were booked elsewhere in this installation at that time: they stand, and keep the time no
    longer."""

    documents: dict[str, int] = field(default_factory=dict)
    files: int = 0
    lost: int = 0
    overlapping: int = 0


@dataclass(slots=True)
class Storing:
    """The documents of one import, collection by collection."""

    export: Reader
    ids: Translation
    state: Importing
    done: Counts
    report: Report

    async def all(self) -> None:
        """Everything of the clinic in scope."""
        for model in CARRIED:
            if model.guarded_name() not in _APART:
                await self._collection(model)
        await self._archived()
        await self._contents()
        await self._audit()

    async def _collection(self, model: type[GuardedDocument]) -> None:
        name = model.guarded_name()
        async for batch in batches(self.export, name):
            rows = [self._row(model, row) for row in batch]
            await self._store(model, rows)
            self._told(name, len(rows))

    def _told(self, name: str, count: int) -> None:
        self.done.documents[name] = self.done.documents.get(name, 0) + count
        self.report(name, count)

    def _row(self, model: type[GuardedDocument], row: Row) -> Row:
        made: Row = self.ids.value(whole(model, row))
        if model is Erasure and made.get("patient_id") is not None:
            made["digest"] = digest_of(made["patient_id"])
        return made

    async def _store(self, model: type[GuardedDocument], rows: Sequence[Row]) -> None:
        """Stores what is not stored yet. Raises CONFLICT for a document that the database refuses."""
        stored = model.get_pymongo_collection()
        try:
            await stored.insert_many(rows, ordered=False)
        except BulkWriteError as error:
            failures_of(error)
        except DuplicateKeyError:  # in a database of its own, claims of people are held by a transaction
            pass
        else:
            return
        for row in await self._missing(model, rows):
            try:
                await stored.insert_one(row)
            except WriteError as failure:
                await self._settle(model, row, failure)

    async def _missing(self, model: type[GuardedDocument], rows: Sequence[Row]) -> list[Row]:
        """Those that are not stored, by this run or an earlier one."""
        ids = [row["_id"] for row in rows]
        there = {row["_id"] for row in await model.rows({"_id": {"$in": ids}}, projection={"_id": 1})}
        return [row for row in rows if row["_id"] not in there]

    async def _settle(self, model: type[GuardedDocument], row: Row, failure: WriteError) -> None:
        pattern = (failure.details or {}).get("keyPattern", {})
        if failure.code == DUPLICATE_KEY and pattern == {"claims": 1} and row.get("claims"):
            self.done.overlapping += 1
            await self._store(model, [{**row, "claims": None}])
            return
        raise Conflict(f"{model.guarded_name()}/{row['_id']} cannot be stored: {', '.join(pattern) or failure.code}.")

    async def _archived(self) -> None:
        """Which patients the clinic has put away stands beside their shared demographics, which do not tell it."""
        after: Row = {}
        away = {"status": RecordStatus.ARCHIVED.value}
        while rows := await PatientRecord.rows(
            {**away, **after}, projection=["patient_id"], sort=[("_id", 1)], limit=BATCH
        ):
            for row in rows:
                await Patient.guarded().archive(row["patient_id"])
            after = {"_id": {"$gt": rows[-1]["_id"]}}

    # --- files ----------------------------------------------------------------------------------------------------

    async def _contents(self) -> None:
        name = DocumentContent.guarded_name()
        async for batch in batches(self.export, name):
            rows = {str(row["_id"]): self._row(DocumentContent, row) for row in batch}
            missing = {row["_id"] for row in await self._missing(DocumentContent, list(rows.values()))}
            for former, row in rows.items():
                if row["_id"] in missing:
                    await self._content(former, row)
            self._told(name, len(rows))

    async def _content(self, former: str, row: Row) -> None:
        """Keeps the file first, under a name that the next run of this import would give it too, then its row."""
        random = sha256(self.state.naming + row["_id"].binary).hexdigest()
        row["blob"] = path_of(current_scope().tenant_id, random)
        row["content_key"] = secrets.token_bytes(KEY_BYTES)
        file = f"{FILES}/{former}"
        if file in self.export.files:
            await keep_file(self.export.parts(file), row["content_key"], row["blob"])
            row["has_thumbnail"] = row.get("has_thumbnail", False) and await self._thumbnail(file, row)
            self.done.files += 1
            self.report(FILES, 1)
        else:
            self.done.lost += 1
        await DocumentContent.guarded().insert_one(row)

    async def _thumbnail(self, file: str, row: Row) -> bool:
        if row["size"] > MOST_BYTES:
            return False
        picture = b"".join([part async for part in self.export.parts(file)])
        return await keep_thumbnail(picture, row["content_key"], row["blob"])

    # --- the audit ------------------------------------------------------------------------------------------------

    async def _audit(self) -> None:
        """Links the entries into a chain of this installation, in their order: the history that the export told."""
        head = await head_of()
        skip = head[0]
        own = current_scope().tenant_id
        async for batch in self._entries():
            rows = batch[min(skip, len(batch)) :]
            skip -= min(skip, len(batch))
            if rows:
                entries = linked(own, [self.ids.value(row) for row in rows], head)
                await AuditEntry.guarded().insert_many(entries, ordered=True)
                head = entries[-1]["seq"], entries[-1]["mac"]
            self._told(AuditEntry.guarded_name(), len(batch))
        await set_anchors({own: head})

    async def _entries(self) -> AsyncIterator[list[Row]]:
        """The entries in their order, then those that were on their way into the chain."""
        async for batch in batches(self.export, AuditEntry.guarded_name()):
            yield [{name: value for name, value in row.items() if name not in _OF_THE_CHAIN} for row in batch]
        async for batch in batches(self.export, "audit_pending"):
            yield [{"_id": row["_id"], **row["entry"]} for row in batch]
