"""Files that go: with the documents that are erased, with a clinic, and those that dead uploads left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.integrations.blobs import BlobMissing, blobs
from app.services.documents import quota
from app.services.documents.places import folder_of, path_of, thumbnail_of
from app.services.documents.sealed_files import opened
from app.tenancy.scope import current_scope
from models import DocumentContent
from models.document import Room, StorageKind

BATCH = 200


async def doom_files(about: Mapping[str, Any], session: AsyncClientSession | None) -> None:
    """Notes the files of the contents that match, which are deleted in the same transaction; see `delete_doomed`."""
    columns = ["blob", "size", "kind", "has_thumbnail"]
    rows = await DocumentContent.rows(about, projection=columns, session=session)
    room: dict[StorageKind, Room] = {}
    for row in rows:
        of_kind = room.setdefault(StorageKind(row.get("kind", StorageKind.DOCUMENTS)), Room())
        of_kind.bytes, of_kind.files = of_kind.bytes + row["size"], of_kind.files + 1
    if rows:
        await quota.doom([path for row in rows for path in paths_of(row)], room, session)


def paths_of(row: Mapping[str, Any]) -> list[str]:
    """Where the files of one content lie: itself, and its thumbnail where it has one."""
    return [row["blob"], thumbnail_of(row["blob"])] if row["has_thumbnail"] else [row["blob"]]


async def delete_doomed() -> int:
    """Deletes the files of the clinic in scope that must go; how many. What is interrupted is done by the next run."""
    paths = await quota.doomed()
    for at in range(0, len(paths), BATCH):
        some = paths[at : at + BATCH]
        await blobs().delete(some)
        await quota.gone(some)
    return len(paths)


async def drop_dead_uploads() -> int:
    """Gives back the room of uploads whose process died, and dooms what they left; how many."""
    done = 0
    for one in await quota.overdue():
        path = path_of(current_scope().tenant_id, one.id)
        done += await quota.release(one, [path, thumbnail_of(path)])
    return done


async def delete_all(clinic: ObjectId, report: Callable[[str, int], None]) -> None:
    """Deletes every file below a clinic's folder, whether or not anything knows of it."""
    async for paths in blobs().below(folder_of(clinic)):
        await blobs().delete(paths)
        report("files", len(paths))


async def count_files(clinic: ObjectId) -> int:
    """How many files lie below a clinic's folder."""
    return sum([len(paths) async for paths in blobs().below(folder_of(clinic))])


async def all_files() -> AsyncIterator[tuple[str, AsyncIterator[bytes] | None]]:
    """Each content of the clinic in scope: its id as text, and its plain parts; None where its file is gone."""
    after: dict[str, Any] = {}
    while rows := await DocumentContent.rows(after, sort=[("_id", 1)], limit=BATCH):
        for row in rows:
            yield str(row["_id"]), await _plain(row)
        after = {"_id": {"$gt": rows[-1]["_id"]}}


async def _plain(row: Mapping[str, Any]) -> AsyncIterator[bytes] | None:
    try:
        return opened(await blobs().get(row["blob"]), row["content_key"], row["blob"])
    except BlobMissing:
        return None
