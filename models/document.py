"""Files that a clinic keeps, of a patient or its own: what is known of each, its contents, and the room they take."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.base import TenantDocument, Versioned
from models.references import PlatformReference, Reference
from models.values import Line, Text, Value, now

MOST_VERSIONS = 100
"""So many contents one document may have had."""


class DocumentCategory(StrEnum):
    """What a document is, as a clinic sorts its papers."""

    LETTER = "letter"
    REPORT = "report"
    IMAGE = "image"
    CONSENT = "consent"
    IDENTITY = "identity"
    INSURANCE = "insurance"
    INVOICE = "invoice"
    OTHER = "other"


class StorageKind(StrEnum):
    """What a file belongs to, for telling what takes the room. The most special thing that it is filed with counts."""

    DOCUMENTS = "documents"
    """The clinic's own papers."""
    PATIENT_ATTACHMENTS = "patient_attachments"
    VISIT_FILES = "visit_files"
    LAB_FILES = "lab_files"


class FileInfo(Value):
    """One content of a document, as it is listed. `sha256` is in hex, of the file as it came; `size` in bytes."""

    number: int = Field(default=1, ge=1)
    file_name: Annotated[Line, Sealed()]
    content_type: str
    """By what the file holds, never by its name."""
    size: int = Field(ge=0)
    sha256: str
    has_thumbnail: bool = False


class ClinicDocument(Versioned, TenantDocument):
    """A document. `current` tells of its newest content; earlier ones stay as they were."""

    patient_id: Annotated[PydanticObjectId, Reference("patients")] | None = None
    visit_id: Annotated[PydanticObjectId, Reference("visits")] | None = None
    lab_order_id: Annotated[PydanticObjectId, Reference("lab_orders")] | None = None
    """With `visit_id`: what it was filed with, one of them at most, and then about the same patient."""
    category: DocumentCategory = DocumentCategory.OTHER
    title: Line
    title_key: str = ""
    description: Annotated[Text | None, Sealed()] = None
    current: FileInfo
    last_uploaded_at: datetime = Field(default_factory=now)
    shared_at: datetime | None = None
    """Since when the patient may see it; None where they may not."""
    created_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    by_patient: bool = False
    """Whether the patient sent it, in the portal."""
    archived_at: datetime | None = None

    class Settings:
        name = "documents"
        indexes = (
            IndexModel([("tenant_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)], name="created"),
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)],
                name="patient_created",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("category", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)],
                name="category_created",
            ),
            IndexModel([("tenant_id", ASCENDING), ("title_key", ASCENDING), ("_id", ASCENDING)], name="title"),
            IndexModel(
                [("tenant_id", ASCENDING), ("visit_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)],
                name="visit_created",
            ),
            IndexModel(
                [
                    ("tenant_id", ASCENDING),
                    ("lab_order_id", ASCENDING),
                    ("created_at", DESCENDING),
                    ("_id", DESCENDING),
                ],
                name="lab_order_created",
            ),
        )

    @property
    def storage_kind(self) -> StorageKind:
        """As what its files count."""
        return storage_kind(self.patient_id, self.visit_id, self.lab_order_id)


def storage_kind(patient_id: object, visit_id: object, lab_order_id: object) -> StorageKind:
    """As what a file counts that is filed with these; None for what it is not filed with."""
    if lab_order_id is not None:
        return StorageKind.LAB_FILES
    if visit_id is not None:
        return StorageKind.VISIT_FILES
    return StorageKind.DOCUMENTS if patient_id is None else StorageKind.PATIENT_ATTACHMENTS


class DocumentContent(TenantDocument):
    """One content of a document. The file lies at `blob`, encrypted under `content_key`, which is sealed: whoever has
    the clinic's data key no more can open neither."""

    document_id: Annotated[PydanticObjectId, Reference("documents")]
    patient_id: Annotated[PydanticObjectId, Reference("patients")] | None = None
    kind: StorageKind = StorageKind.DOCUMENTS
    number: int = Field(ge=1)
    file_name: Annotated[Line, Sealed()]
    content_type: str
    size: int = Field(ge=0)
    sha256: str
    has_thumbnail: bool = False
    blob: str = Field(repr=False)
    content_key: Annotated[bytes, Sealed()] = Field(repr=False)
    created_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    by_patient: bool = False
    created_at: datetime = Field(default_factory=now)

    class Settings:
        name = "document_contents"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("document_id", ASCENDING), ("number", DESCENDING)],
                name="number",
                unique=True,
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING)],
                name="patient",
                partialFilterExpression={"patient_id": {"$exists": True}},
            ),
            IndexModel([("tenant_id", ASCENDING), ("blob", ASCENDING)], name="blob"),
        )


class Reservation(Value):
    """Room that an upload under way has taken; `id` is also the random name of its file. After `until` whoever took it
    is taken for dead."""

    id: str
    size: int = Field(ge=0)
    until: datetime


class Room(Value):
    """How many files, and how many bytes they have."""

    bytes: int = 0
    files: int = 0


class RoomByKind(Value):
    """The room that files take, by `StorageKind`."""

    documents: Room = Field(default_factory=Room)
    patient_attachments: Room = Field(default_factory=Room)
    visit_files: Room = Field(default_factory=Room)
    lab_files: Room = Field(default_factory=Room)


class StorageUsage(TenantDocument):
    """The bytes of files that a clinic keeps, those of uploads under way among them; one document per clinic.

    `used` is what `kept` and `reserved` sum up to. `doomed` are files of which nothing is known any more but that they
    must go.
    """

    used: int = 0
    kept: RoomByKind = Field(default_factory=RoomByKind)
    """What stands in `document_contents`: changed in the transactions that change these."""
    reserved: list[Reservation] = Field(default_factory=list)
    doomed: list[str] = Field(default_factory=list, repr=False)

    class Settings:
        name = "storage_usage"
        indexes = (IndexModel([("tenant_id", ASCENDING)], name="one_per_tenant", unique=True),)
