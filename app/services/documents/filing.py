"""What is known of documents: filed with their first content, given newer ones, changed and shared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import InvalidState, NotFound, ValidationFailed
from app.services.changes import Row, another_version, build, change_row, checked, row_of, storable
from app.services.documents.limits import Limits
from app.services.documents.receiving import Incoming, Received, receive
from app.services.references import check_references
from app.services.search import searched, starts_with
from app.tenancy.scope import current_scope
from models import ClinicDocument, DocumentContent, LabOrder, Visit
from models.document import MOST_VERSIONS, DocumentCategory, FileInfo, StorageKind, storage_kind
from models.values import now, search_key, without_invisible

UNNAMED = "Document"
_LONGEST = 200


def listed(
    *,
    search: str | None,
    archived: bool,
    patient_id: ObjectId | None,
    category: DocumentCategory | None,
    visit_id: ObjectId | None = None,
    lab_order_id: ObjectId | None = None,
) -> Row:
    """The filter of a list. Raises VALIDATION_FAILED at `filter.search`."""
    wanted = searched(search)
    equal = {
        "patient_id": patient_id,
        "visit_id": visit_id,
        "lab_order_id": lab_order_id,
        "category": storable(category),
    }
    return {
        **{name: value for name, value in equal.items() if value is not None},
        **(starts_with("title_key", search_key(wanted)) if wanted else {}),
        "archived_at": {"$ne": None} if archived else None,
    }


async def file(values: Mapping[str, Any], incoming: Incoming, limits: Limits) -> Row:
    """Files a new document with its first content; answers with its row.

    `values`: maybe `title` (else the file's name), `category, description`, and what it is filed with: `patient_id`,
    and `visit_id` or `lab_order_id`, whose patient it then is about. Raises what `receive` raises, VALIDATION_FAILED
    at `input.…`, and NOT_FOUND at `input.patientId`, `input.visitId` or `input.labOrderId`.
    """
    about = {**values, **await _filed_with(values)}
    return await _file(about, incoming, limits, {"created_by": _actor_id()})


async def _filed_with(values: Mapping[str, Any]) -> Row:
    """Whose a document is by the visit or order that it is filed with."""
    named = [name for name in ("visit_id", "lab_order_id") if values.get(name) is not None]
    if not named:
        return {}
    if len(named) > 1:
        raise ValidationFailed.at("input.labOrderId", "may not be given beside visitId")
    (name,) = named
    model, path = (Visit, "input.visitId") if name == "visit_id" else (LabOrder, "input.labOrderId")
    rows = await model.rows({"_id": values[name]}, projection=["patient_id"], limit=1)
    if not rows:
        raise NotFound.at(path)
    patient_id = rows[0]["patient_id"]
    if values.get("patient_id", patient_id) != patient_id:
        raise ValidationFailed.at("input.patientId", "is another patient's than what it is filed with")
    return {"patient_id": patient_id}


async def file_own(values: Mapping[str, Any], incoming: Incoming, limits: Limits) -> Row:
    """As `file`, for the patient who is signed in: about themselves, and shared with them from the start."""
    patient_id = current_scope().signed_in_patient.patient_id
    given = {name: value for name, value in values.items() if name != "patient_id"}
    own = {"patient_id": patient_id, "by_patient": True, "shared_at": now()}
    return await _file(given, incoming, limits, own)


async def _file(values: Mapping[str, Any], incoming: Incoming, limits: Limits, more: Row) -> Row:
    name = named(incoming.name)
    given = {"title": name.rpartition(".")[0] or name, **values, **more}
    draft = FileInfo(file_name=name, content_type="", size=0, sha256="")
    document = build(ClinicDocument, {**given, "id": ObjectId(), "current": draft})
    document.title_key = search_key(document.title)
    await check_references(ClinicDocument, row_of(document), at="input")

    async def store(received: Received, session: AsyncClientSession) -> Row:
        content = _content(document.key, document.patient_id, document.storage_kind, 1, received)
        document.current = _told(content)
        await document.insert(session=session)
        await content.insert(session=session)
        return row_of(document)

    return await receive(Incoming(name, incoming.size, incoming.parts), limits, document.storage_kind, store)


async def replace(document_id: ObjectId, version: int, incoming: Incoming, limits: Limits) -> Row:
    """Gives that version of a document a newer content; the former ones stay. Answers with its new row.

    Raises what `receive` raises; NOT_FOUND at `input.documentId`, CONFLICT at `input.version`, INVALID_STATE for an
    archived document or one that had too many contents.
    """
    row = await _replaceable(document_id, version)
    kind = storage_kind(row.get("patient_id"), row.get("visit_id"), row.get("lab_order_id"))
    number, name = row["current"]["number"] + 1, named(incoming.name)

    async def store(received: Received, session: AsyncClientSession) -> Row:
        content = _content(document_id, row.get("patient_id"), kind, number, received)
        changes = {"current": storable(_told(content)), "last_uploaded_at": content.created_at}
        changed = await change_row(
            ClinicDocument, document_id, version, changes, state={"archived_at": None}, session=session
        )
        await content.insert(session=session)
        return changed

    return await receive(Incoming(name, incoming.size, incoming.parts), limits, kind, store)


async def _replaceable(document_id: ObjectId, version: int) -> Row:
    rows = await ClinicDocument.rows({"_id": document_id}, limit=1)
    if not rows:
        raise NotFound.at("input.documentId")
    if rows[0]["version"] != version:
        raise another_version()
    if rows[0].get("archived_at") is not None:
        raise InvalidState("The document is archived: restore it first.")
    if rows[0]["current"]["number"] >= MOST_VERSIONS:
        raise InvalidState(f"The document has had {MOST_VERSIONS} contents: file a new one.")
    return rows[0]


async def change(document_id: ObjectId, version: int, changes: Mapping[str, Any]) -> Row:
    """Changes `title, category, description`; answers with the new row. Raises as `catalog.change` does."""
    values = checked(ClinicDocument, changes)
    if "title" in values:
        values["title_key"] = search_key(values["title"])
    return await change_row(ClinicDocument, document_id, version, values)


async def share(document_id: ObjectId, version: int, *, shared: bool) -> Row:
    """Lets the patient see a document about them, or no more; answers with its new row.

    Raises INVALID_STATE for a document that is about no patient.
    """
    rows = await ClinicDocument.rows({"_id": document_id}, projection=["patient_id", "shared_at"], limit=1)
    if not rows:
        raise NotFound.at("input.id")
    if rows[0].get("patient_id") is None:
        raise InvalidState("The document is about no patient.")
    since = (rows[0].get("shared_at") or now()) if shared else None
    return await change_row(ClinicDocument, document_id, version, {"shared_at": since})


def named(given: str) -> str:
    """The last part of a file's name as its sender calls it, as it may be stored and shown."""
    last = given.replace("\\", "/").rpartition("/")[2]
    name = " ".join(without_invisible(last).split())
    if len(name) <= _LONGEST:
        return name or UNNAMED
    stem, dot, ending = name.rpartition(".")
    if not dot or len(ending) > 10:
        return name[:_LONGEST]
    return f"{stem[: _LONGEST - len(ending) - 1]}.{ending}"


def _content(
    document_id: ObjectId, patient_id: ObjectId | None, kind: StorageKind, number: int, received: Received
) -> DocumentContent:
    made: DocumentContent = build(
        DocumentContent,
        {
            "id": ObjectId(),
            "document_id": document_id,
            "patient_id": patient_id,
            "kind": kind,
            "number": number,
            "file_name": received.file_name,
            "content_type": received.content_type,
            "size": received.size,
            "sha256": received.sha256,
            "has_thumbnail": received.has_thumbnail,
            "blob": received.blob,
            "content_key": received.key,
            "created_by": _actor_id(),
            "by_patient": _actor_id() is None,
        },
    )
    return made


def _told(content: DocumentContent) -> FileInfo:
    return FileInfo(**content.model_dump(include=set(FileInfo.model_fields)))


def _actor_id() -> Any:
    actor = current_scope().actor
    return actor.user_id if actor is not None else None
