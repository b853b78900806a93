"""Two files of one patient made one at a clinic: what was moved, and what was there before, so it can be undone."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.appointment import RequestMark
from models.base import TenantDocument, Versioned
from models.references import PlatformReference, Reference
from models.uniques import ONE_PER_REQUEST
from models.values import Line, Reason, Value, now


class DroppedClaims(Value):
    """What an appointment no longer claims for the patient, who was booked at that time by the other file too."""

    appointment_id: Annotated[PydanticObjectId, Reference("appointments")]
    claims: list[str]


class PatientMerge(Versioned, TenantDocument):
    """The duplicate `former_id`, whose documents became those of `patient_id`.

    While it is not undone it redirects the duplicate's id and code. `patient_id` is a patient of now: it moves along
    when the survivor is merged into somebody else in turn, while `into_id` stays. The snapshot (`patient`, `kept`,
    `before`) is what unmerging puts back; it goes once that is done.
    """

    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    into_id: str
    """The survivor of the merge itself. As text, like `former_id`: neither need be a patient here any more."""
    former_id: str
    former_code: str
    reason: Annotated[Reason, Sealed()]
    merged_at: datetime = Field(default_factory=now)
    merged_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    person_name: Line | None = None
    archived: bool = False
    """Whether the duplicate was archived here."""
    patient: Annotated[dict[str, Any], Sealed()] = Field(default_factory=dict)
    """The duplicate's demographics as this clinic saw them last."""
    kept: Annotated[dict[str, Any], Sealed()] = Field(default_factory=dict)
    """The duplicate's documents that the survivor has of its own, by collection: the record, the portal account."""
    before: Annotated[dict[str, Any], Sealed()] = Field(default_factory=dict)
    """What the survivor's `patients` and `patient_records` said in the columns that the merge changed."""
    after: Annotated[dict[str, Any], Sealed()] = Field(default_factory=dict)
    """What they said then."""
    moved: dict[str, bytes] = Field(default_factory=dict, repr=False)
    """Collection → the ids that were moved, 12 bytes each: a long history must fit into one document."""
    dropped: list[DroppedClaims] = Field(default_factory=list)
    settled_at: datetime | None = None
    """Since when no request that knew nothing of the merge can still be under way."""
    undone_at: datetime | None = None
    undone_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    undo_reason: Annotated[Reason | None, Sealed()] = None
    requests: list[RequestMark] = Field(default_factory=list)

    class Settings:
        name = "patient_merges"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("former_id", ASCENDING)],
                name="one_redirect",
                unique=True,
                partialFilterExpression={"undone_at": None},
            ),
            IndexModel([("tenant_id", ASCENDING), ("former_code", ASCENDING)], name="code"),
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING), ("merged_at", DESCENDING), ("_id", DESCENDING)],
                name="patient",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("former_id", ASCENDING), ("merged_at", DESCENDING), ("_id", DESCENDING)],
                name="former",
            ),
            IndexModel([("tenant_id", ASCENDING), ("merged_at", DESCENDING), ("_id", DESCENDING)], name="merged"),
            IndexModel(
                [("tenant_id", ASCENDING), ("settled_at", ASCENDING)],
                name="unsettled",
                partialFilterExpression={"undone_at": None},
            ),
            ONE_PER_REQUEST,
        )
