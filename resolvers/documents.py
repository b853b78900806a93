"""Documents: files of patients and of the clinic. They come and go by `/api/documents`; here stands what is known."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import Maybe

from app.graphql.access import Level, field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.inputs import given, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First, related_page
from app.permissions import Permission
from app.services.documents import filing
from app.services.documents.giving import own_documents
from models import ClinicDocument, DocumentContent
from models.document import DocumentCategory
from resolvers.base import Resolver, shown
from resolvers.staff import StaffType
from resolvers.values import ArchiveInput, described

if TYPE_CHECKING:
    from resolvers.lab_orders import LabOrderType
    from resolvers.patients import PatientType
    from resolvers.visits import VisitType

described(
    DocumentCategory,
    "What a document is.",
    LETTER="A letter, to or from somebody.",
    REPORT="What somebody found: a laboratory, a radiologist, another clinic.",
    IMAGE="A picture.",
    CONSENT="Something that was signed.",
    IDENTITY="A card or passport.",
    INSURANCE="About insurance.",
    INVOICE="A bill or receipt.",
    OTHER="Something else.",
)


@strawberry.enum(description="The order of documents.")
class DocumentSort(Enum):
    NEWEST = strawberry.enum_value("newest", description="The latest first.")
    TITLE = strawberry.enum_value("title", description="By title, A first.")


_NEWEST = [("created_at", -1), ("_id", -1)]
_ORDERS = {DocumentSort.NEWEST: _NEWEST, DocumentSort.TITLE: [("title_key", 1), ("_id", 1)]}


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


def _visit_type() -> type:
    from resolvers.visits import VisitType

    return VisitType


def _lab_order_type() -> type:
    from resolvers.lab_orders import LabOrderType

    return LabOrderType


def _content_of(row: Row) -> str:
    return f"/api/documents/{row['_id']}/content"


def _thumbnail_of(row: Row) -> str | None:
    return f"/api/documents/{row['_id']}/thumbnail" if row["current"]["has_thumbnail"] else None


@row_type("DocumentFile", description="One content of a document, as it came.")
class DocumentFileType:
    number: int = stored(description="Which content it is, from 1.")
    file_name: str = stored(description="How its sender called it.")
    content_type: str = stored(description="Its media type, by what it holds.")
    size: int = stored(description="Its bytes.")
    sha256: str = stored(description="Its SHA-256, in hex.")


@row_type(
    "DocumentVersion",
    model=DocumentContent,
    read=Permission.DOCUMENT_READ,
    description="A content that a document has or had.",
)
class DocumentVersionType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    number: int = stored(description="Which content it is, from 1: the `version` of `/api/documents/{id}/content`.")
    file_name: str = stored(description="How its sender called it.")
    content_type: str = stored(description="Its media type, by what it holds.")
    size: int = stored(description="Its bytes.")
    sha256: str = stored(description="Its SHA-256, in hex.")
    by_patient: bool = stored(description="Whether the patient sent it.")
    created_by: StaffType | None = related(
        lambda: StaffType,
        key="created_by",
        foreign="user_id",
        description="Who sent it, if one of the staff did.",
    )
    created_at: datetime = stored(description="When it came.")


@row_type(
    "Document", model=ClinicDocument, read=Permission.DOCUMENT_READ, description="A file of a patient or of the clinic."
)
class DocumentType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="Whom it is about; null for the clinic's own."
    )
    visit: Annotated[VisitType, strawberry.lazy("resolvers.visits")] | None = related(
        _visit_type, key="visit_id", description="The visit that it was filed with."
    )
    lab_order: Annotated[LabOrderType, strawberry.lazy("resolvers.lab_orders")] | None = related(
        _lab_order_type, key="lab_order_id", description="The laboratory order that it was filed with."
    )
    category: DocumentCategory = stored(description="What it is.")
    title: str = stored(description="Its title.")
    description: str | None = stored(description="What to know about it.")
    file: DocumentFileType = stored("current", description="Its newest content.")
    content_path: str = computed("_id", by=_content_of, description="Where its newest content is, on this host.")
    thumbnail_path: str | None = computed(
        "_id", "current", by=_thumbnail_of, description="Where a small picture of it is; null where there is none."
    )
    versions: Connection[DocumentVersionType] = related_page(
        lambda: DocumentVersionType,
        foreign="document_id",
        sort=[("number", -1)],
        description="Its contents, the newest first.",
    )
    shared_at: datetime | None = stored(description="Since when the patient may see it; null where they may not.")
    by_patient: bool = stored(description="Whether the patient sent it.")
    created_by: StaffType | None = related(
        lambda: StaffType,
        key="created_by",
        foreign="user_id",
        description="Who filed it, if one of the staff did.",
    )
    created_at: datetime = stored(description="When it was filed.")
    archived_at: datetime | None = stored(description="When it was put away.")


@row_type("PortalDocument", model=ClinicDocument, description="A document that the clinic shares with the patient.")
class PortalDocumentType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    category: DocumentCategory = stored(description="What it is.")
    title: str = stored(description="Its title.")
    file: DocumentFileType = stored("current", description="Its newest content.")
    content_path: str = computed("_id", by=_content_of, description="Where its content is, on this host.")
    thumbnail_path: str | None = computed(
        "_id", "current", by=_thumbnail_of, description="Where a small picture of it is; null where there is none."
    )
    shared_at: datetime = stored(description="Since when the patient may see it.")
    by_patient: bool = stored(description="Whether the patient sent it.")
    created_at: datetime = stored(description="When it was filed.")


@strawberry.input(description="Which documents to list. All conditions must hold.")
class DocumentFilter:
    search: str | None = strawberry.field(
        default=None, description="Beginning of the title; what is found stands in the order of titles."
    )
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="About this patient.")
    visit_id: strawberry.ID | None = strawberry.field(default=None, description="Filed with this visit.")
    lab_order_id: strawberry.ID | None = strawberry.field(default=None, description="Filed with this laboratory order.")
    category: DocumentCategory | None = strawberry.field(default=None, description="Of this kind.")
    archived: bool = strawberry.field(default=False, description="Those put away instead of those in use.")


@strawberry.input(description="Changes to a document. What is left out stays as it is; null clears it.")
class UpdateDocumentInput:
    id: strawberry.ID = strawberry.field(description="The document.")
    version: int = strawberry.field(description="The version that the change is based on.")
    title: Maybe[str] = strawberry.field(description="Its title.")
    category: Maybe[DocumentCategory] = strawberry.field(description="What it is.")
    description: Maybe[str | None] = strawberry.field(description="What to know about it.")


@strawberry.input(description="Whether a patient may see a document about them.")
class ShareDocumentWithPatientInput:
    id: strawberry.ID = strawberry.field(description="The document.")
    version: int = strawberry.field(description="The version that the change is based on.")
    shared: bool = strawberry.field(default=True, description="Whether they may; false takes it back.")


@strawberry.type
class DocumentQuery(Resolver):
    @field(Permission.DOCUMENT_READ, description="One document.")
    async def document(self, info: Info, id: strawberry.ID) -> DocumentType:
        return await self.one(info, DocumentType, id)

    @field(Permission.DOCUMENT_READ, description="The clinic's documents.")
    async def documents(
        self,
        info: Info,
        first: First = DEFAULT_PAGE,
        after: After = None,
        filter: DocumentFilter | None = None,
        sort: DocumentSort = DocumentSort.NEWEST,
    ) -> Connection[DocumentType]:
        chosen = filter or DocumentFilter()
        where = filing.listed(
            search=chosen.search,
            archived=chosen.archived,
            patient_id=object_id(chosen.patient_id, "filter.patientId") if chosen.patient_id else None,
            visit_id=object_id(chosen.visit_id, "filter.visitId") if chosen.visit_id else None,
            lab_order_id=object_id(chosen.lab_order_id, "filter.labOrderId") if chosen.lab_order_id else None,
            category=chosen.category,
        )
        order = _ORDERS[DocumentSort.TITLE if "title_key" in where else sort]
        return await self.page(info, DocumentType, where=where, sort=order, first=first, after=after)

    @field(Level.PATIENT, description="What the clinic shares with the patient, and what they sent, the latest first.")
    async def patient_documents(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PortalDocumentType]:
        where = own_documents()
        return await self.page(info, PortalDocumentType, where=where, sort=_NEWEST, first=first, after=after)


@strawberry.type
class DocumentMutation(Resolver):
    @field(Permission.DOCUMENT_WRITE, description="Changes what is known of a document.")
    async def update_document(self, input: UpdateDocumentInput) -> DocumentType:
        changes = given(input)
        key, version = object_id(changes.pop("id"), "input.id"), changes.pop("version")
        return shown(await filing.change(key, version, changes))

    @field(Permission.DOCUMENT_WRITE, description="Lets a patient see a document about them, or no more.")
    async def share_document_with_patient(self, input: ShareDocumentWithPatientInput) -> DocumentType:
        return shown(await filing.share(object_id(input.id, "input.id"), input.version, shared=input.shared))

    @field(Permission.DOCUMENT_WRITE, description="Puts a document away; the patient sees it no more.")
    async def archive_document(self, input: ArchiveInput) -> DocumentType:
        return await self.archive(DocumentType, input.id, input.version)

    @field(Permission.DOCUMENT_WRITE, description="Takes a document back into use.")
    async def restore_document(self, input: ArchiveInput) -> DocumentType:
        return await self.restore(DocumentType, input.id, input.version)
