"""Files by HTTP: taken in from staff and from patients, and given out to whoever may see them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.config import Settings
from app.errors import ValidationFailed
from app.graphql.access import require, require_patient, require_plan
from app.graphql.inputs import ids, object_id
from app.http.answers import json_response
from app.http.registry import RouteKind, RouteSpec
from app.http.uploads import OVERHEAD, Upload, read_upload
from app.permissions import Permission
from app.services.changes import complaints
from app.services.documents import filing, giving
from app.services.documents.giving import Given
from app.services.documents.limits import limits_of
from app.services.rate_limits import Limit, take
from app.tenancy.scope import Scope, current_scope, narrowed
from models.document import DocumentCategory

PATH = "/api/documents"
PATIENT_UPLOADS = Limit("patient-upload", 30, timedelta(hours=1))


def _by_name(name: object) -> DocumentCategory:
    """The category of that name: as GraphQL names them."""
    if not isinstance(name, str) or name not in DocumentCategory.__members__:
        raise ValueError(f"must be one of {', '.join(DocumentCategory.__members__)}")
    return DocumentCategory[name]


class NewDocument(BaseModel):
    """What the part `input` may say of a new document, or of a document that gets a newer content."""

    model_config = ConfigDict(extra="forbid")

    title: str | None = None
    category: Annotated[DocumentCategory, BeforeValidator(_by_name)] | None = None
    description: str | None = None
    patient_id: str | None = Field(None, alias="patientId")
    visit_id: str | None = Field(None, alias="visitId")
    lab_order_id: str | None = Field(None, alias="labOrderId")
    document_id: str | None = Field(None, alias="documentId")
    version: int | None = None


def document_specs(settings: Settings) -> list[RouteSpec]:
    """For staff by permission, and for patients about themselves; each answer says whose it is by the session."""
    most = settings.max_upload_bytes + OVERHEAD
    return [
        RouteSpec(
            PATH,
            {"POST"},
            RouteKind.STAFF,
            partial(take_file, settings),
            "documents",
            uploads=True,
            max_body_bytes=most,
        ),
        RouteSpec(f"{PATH}/{{id}}/content", {"GET"}, RouteKind.STAFF, give_content, "document-content"),
        RouteSpec(f"{PATH}/{{id}}/thumbnail", {"GET"}, RouteKind.STAFF, give_thumbnail, "document-thumbnail"),
    ]


async def take_file(settings: Settings, request: Request) -> Response:
    """`POST /api/documents`: a form with `input` (JSON) and `file`. With `documentId` and `version` it is the newer
    content of a document. Answers 201 with what is known of it."""
    limits = await limits_of(settings)
    if _is_patient():
        with _as_patient() as scope:
            require_plan(scope)
            await take(PATIENT_UPLOADS, str(scope.signed_in_patient.patient_id))
            upload, given = await _read(request)
            if given.keys() - {"title", "category", "description"}:
                raise ValidationFailed.at("input", "may say title, category and description")
            return _told(await filing.file_own(given, upload.file, limits))
    require_plan(require(Permission.DOCUMENT_WRITE))
    upload, given = await _read(request)
    if "document_id" not in given:
        about = ids(given, "patient_id", "visit_id", "lab_order_id")
        return _told(await filing.file(about, upload.file, limits))
    if given.keys() != {"document_id", "version"}:
        raise ValidationFailed.at("input", "must say documentId and version, and nothing else, for a newer content")
    key = object_id(given["document_id"], "input.documentId")
    return _told(await filing.replace(key, given["version"], upload.file, limits))


async def give_content(request: Request) -> Response:
    """`GET /api/documents/{id}/content`; for staff also `?version=1` for an earlier content."""
    key, number = object_id(request.path_params["id"], "id"), _number(request)
    if _is_patient():
        with _as_patient():
            return _attached(request, await giving.own_content(key))
    require(Permission.DOCUMENT_READ)
    return _attached(request, await giving.content(key, number))


async def give_thumbnail(request: Request) -> Response:
    """`GET /api/documents/{id}/thumbnail`: a small JPEG of a picture."""
    key = object_id(request.path_params["id"], "id")
    if _is_patient():
        with _as_patient():
            return _attached(request, await giving.own_small_picture(key))
    require(Permission.DOCUMENT_READ)
    return _attached(request, await giving.small_picture(key))


# --- who asks -----------------------------------------------------------------------------------------------------


def _is_patient() -> bool:
    """Whether a patient asks. Where somebody of this clinic's staff is signed in beside one, these do."""
    scope = current_scope()
    return scope.patient is not None and (scope.actor is None or scope.mismatch)


def _as_patient() -> AbstractContextManager[Scope]:
    """Nobody of the staff is in scope meanwhile: neither rights nor the audit may take one for the other."""
    require_patient()
    return narrowed(actor=None, mismatch=False)


# --- what comes and goes ------------------------------------------------------------------------------------------


async def _read(request: Request) -> tuple[Upload, dict[str, Any]]:
    """The form, and the values of its input that were given. Raises VALIDATION_FAILED at `input.…`."""
    upload = await read_upload(request)
    try:
        read = NewDocument.model_validate(upload.input)
    except ValidationError as error:
        raise ValidationFailed(fields=complaints(error, "input")) from None
    return upload, read.model_dump(exclude_none=True)


def _number(request: Request) -> int | None:
    text = request.query_params.get("version")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 6):
        raise ValidationFailed.at("version", "must be the number of a content")
    return int(text)


def _told(row: Mapping[str, Any]) -> Response:
    current = row["current"]
    shown = {
        "id": str(row["_id"]),
        "version": row["version"],
        "title": row["title"],
        "category": DocumentCategory(row["category"]).name,
        **{to_camel(name): current[name] for name in current},
    }
    return json_response({"document": shown}, 201)


def _attached(request: Request, given: Given) -> Response:
    """Always as an attachment, of the type that was found: a browser must not show it as a page of this host."""
    headers = {"content-disposition": disposition(given.file_name), "content-type": given.content_type}
    if given.size is not None:
        headers["content-length"] = str(given.size)
    if request.method == "HEAD":
        return Response(headers=headers)
    return StreamingResponse(given.parts, headers=headers)


def disposition(name: str) -> str:
    """The header by which a file keeps its name, in letters that every header can carry. Source: RFC 6266.

    >>> disposition("Befund Ä.pdf")
    'attachment; filename="Befund _.pdf"; filename*=UTF-8\\'\\'Befund%20%C3%84.pdf'
    """
    plain = "".join(char if " " <= char <= "~" and char not in '"\\%;' else "_" for char in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
