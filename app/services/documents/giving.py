"""Giving files out again: to staff, and to the patient whose they are once they are shared with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from bson import ObjectId

from app.errors import NotFound
from app.integrations.blobs import blobs
from app.services.changes import Row
from app.services.documents.places import thumbnail_of
from app.services.documents.receiving import thumbnail_key
from app.services.documents.sealed_files import opened
from app.services.documents.thumbnails import THUMBNAIL_TYPE
from app.tenancy.scope import current_scope
from models import ClinicDocument, DocumentContent


@dataclass(frozen=True, slots=True)
class Given:
    """A file on its way out; `size` in bytes, None where it is not known before."""

    file_name: str
    content_type: str
    size: int | None
    parts: AsyncIterator[bytes]


async def content(document_id: ObjectId, number: int | None) -> Given:
    """The newest content of a document, or the one of that number. Raises NOT_FOUND at `id` or `version`."""
    return await _opened(await _content(await _document(document_id, {}), number))


async def own_content(document_id: ObjectId) -> Given:
    """As `content`, for the patient who is signed in: the newest content of a document shared with them."""
    return await _opened(await _content(await _document(document_id, own_documents()), None))


async def small_picture(document_id: ObjectId) -> Given:
    """The thumbnail of a document's newest content. Raises NOT_FOUND at `id`."""
    return await _thumbnail(await _content(await _document(document_id, {}), None))


async def own_small_picture(document_id: ObjectId) -> Given:
    """As `small_picture`, for the patient who is signed in."""
    return await _thumbnail(await _content(await _document(document_id, own_documents()), None))


def own_documents() -> Row:
    """The filter of the documents that the patient who is signed in may see."""
    patient_id = current_scope().signed_in_patient.patient_id
    return {"patient_id": patient_id, "shared_at": {"$ne": None}, "archived_at": None}


async def _document(id: ObjectId, where: Row) -> Row:
    rows = await ClinicDocument.rows({"_id": id, **where}, projection=["current.number"], limit=1)
    if not rows:
        raise NotFound.at("id")
    return rows[0]


async def _content(document: Row, number: int | None) -> Row:
    wanted = document["current"]["number"] if number is None else number
    rows = await DocumentContent.rows({"document_id": document["_id"], "number": wanted}, limit=1)
    if not rows:
        raise NotFound.at("version")
    return rows[0]


async def _opened(row: Row) -> Given:
    kept = await blobs().get(row["blob"])
    parts = opened(kept, row["content_key"], row["blob"])
    return Given(row["file_name"], row["content_type"], row["size"], parts)


async def _thumbnail(row: Row) -> Given:
    if not row["has_thumbnail"]:
        raise NotFound.at("id", "It has no thumbnail.")
    where = thumbnail_of(row["blob"])
    parts = opened(await blobs().get(where), thumbnail_key(row["content_key"]), where)
    return Given("thumbnail.jpg", THUMBNAIL_TYPE, None, parts)
