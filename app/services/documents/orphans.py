"""Files that no document knows of, and documents whose file is gone: looked for in both ways, told, and cleaned up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_turn
from app.integrations.blobs import Listed, blobs
from app.services.audit import record
from app.services.changes import Row
from app.services.documents import quota
from app.services.documents.places import file_of, folder_of
from app.services.documents.removal import doom_files
from app.tenancy.scope import current_scope
from models import ClinicDocument, DocumentContent
from models.document import FileInfo
from models.values import now

SAFE_AGE = timedelta(hours=24)
"""A younger file is left alone: it may be somebody's who is faster, or slower, than is thought."""
BATCH = 200
ASKED_AT_ONCE = 8
TOLD = 100
"""So many lost documents are named; the others are counted."""


@dataclass(slots=True)
class CleanUp:
    """What was found: `files` that no document knows of, with their `bytes` as they are kept; contents that are `lost`
    because their file is gone, and the documents of the first of them. `complete` is false when the time was over
    before everything was looked at."""

    dry_run: bool
    files: int = 0
    bytes: int = 0
    removed: int = 0
    lost: int = 0
    dropped: int = 0
    documents: list[ObjectId] = field(default_factory=list)
    complete: bool = True


async def clean_up(*, dry_run: bool, drop_lost: bool = False, seconds: float | None = None) -> CleanUp:
    """Looks through the files and contents of the clinic in scope.

    Without `dry_run` files that no document knows of are removed, once they are a day old. With `drop_lost` contents
    whose file is gone are dropped too, and their room is given back: a document shows the newest content that is left,
    and is put away when none is. `seconds` bounds the look. Raises `BlobsDown`.
    """
    told = CleanUp(dry_run)
    until = time.monotonic() + seconds if seconds is not None else None
    await _look_at_files(told, until)
    if told.complete:
        await _look_at_contents(told, until, drop=drop_lost and not dry_run)
    if told.removed or told.dropped:
        await record("storage.clean_up")
    return told


def _late(told: CleanUp, until: float | None) -> bool:
    if until is not None and time.monotonic() > until:
        told.complete = False
    return not told.complete


# --- files that nobody knows of -----------------------------------------------------------------------------------


async def _look_at_files(told: CleanUp, until: float | None) -> None:
    async for files in blobs().listed(folder_of(current_scope().tenant_id)):
        if _late(told, until):
            return
        unknown = await _unknown(files)
        told.files += len(unknown)
        told.bytes += sum(one.size for one in unknown)
        if unknown and not told.dry_run:
            await blobs().delete([one.path for one in unknown])
            told.removed += len(unknown)


async def _unknown(files: Sequence[Listed]) -> list[Listed]:
    """Those of the files that are old enough and of no content, of no upload under way, and not about to go anyway.

    Uploads are asked for before contents: one that is settled in between is then found among the contents.
    """
    old = [one for one in files if one.modified < now() - SAFE_AGE]
    if not old:
        return []
    usage = await quota.usage()
    under_way = {one.id for one in usage.reserved}
    going = set(usage.doomed)
    named = {file_of(one.path) for one in old}
    rows = await DocumentContent.rows({"blob": {"$in": list(named)}}, projection=["blob", "has_thumbnail"])
    known = {row["blob"] for row in rows}
    return [
        one
        for one in old
        if file_of(one.path) not in known
        and file_of(one.path).rpartition("/")[2] not in under_way
        and one.path not in going
    ]


# --- contents without their file ----------------------------------------------------------------------------------


async def _look_at_contents(told: CleanUp, until: float | None, *, drop: bool) -> None:
    after: dict[str, Any] = {}
    while rows := await DocumentContent.rows(after, projection=["document_id", "blob"], sort=[("_id", 1)], limit=BATCH):
        if _late(told, until):
            return
        for row in await _lost(rows):
            told.lost += 1
            if row["document_id"] not in told.documents and len(told.documents) < TOLD:
                told.documents.append(row["document_id"])
            if drop:
                told.dropped += await _drop(row["_id"], row["document_id"])
        after = {"_id": {"$gt": rows[-1]["_id"]}}


async def _lost(rows: Sequence[Row]) -> list[Row]:
    """Those of the contents whose file is gone, though they are still there themselves."""
    free = asyncio.Semaphore(ASKED_AT_ONCE)

    async def there(row: Row) -> bool:
        async with free:
            return await blobs().exists(row["blob"])

    missing = [row for row, found in zip(rows, await asyncio.gather(*map(there, rows)), strict=True) if not found]
    if not missing:
        return []
    ids = [row["_id"] for row in missing]
    still = {row["_id"] for row in await DocumentContent.rows({"_id": {"$in": ids}}, projection=["blob"])}
    return [row for row in missing if row["_id"] in still]


async def _drop(content_id: ObjectId, document_id: ObjectId) -> int:
    """Drops one content whose file is gone; how many were dropped, which is none when somebody was faster."""

    async def work(session: AsyncClientSession) -> int:
        await doom_files({"_id": content_id}, session)
        gone = await DocumentContent.guarded().delete_one({"_id": content_id}, session=session)
        left = await DocumentContent.rows({"document_id": document_id}, sort=[("number", -1)], limit=1, session=session)
        if gone.deleted_count:
            await _tell_document(document_id, left, session)
        return gone.deleted_count

    return await in_turn(quota.TURN, work)


async def _tell_document(document_id: ObjectId, left: Sequence[Row], session: AsyncClientSession) -> None:
    """Has the document show the newest content that is left, or puts it away."""
    shown = {name: left[0][name] for name in FileInfo.model_fields} if left else None
    changes: Row = {"current": shown} if shown else {"archived_at": now(), "shared_at": None}
    await ClinicDocument.guarded().update_one(
        {"_id": document_id}, {"$set": {**changes, "updated_at": now()}, "$inc": {"version": 1}}, session=session
    )
