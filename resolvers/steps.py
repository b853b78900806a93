"""What steps in the lives of documents have in common, and the inputs by which they are taken."""

from __future__ import annotations

from datetime import datetime

import strawberry

from app.graphql.fields import Row, computed, related, row_type, stored
from resolvers.staff import StaffType


def by_patient(row: Row) -> bool:
    """Whether a step was the patient's own."""
    return bool(row.get("by_patient"))


@row_type("Step", description="One step in a document's life.")
class StepType:
    """Derive from it and declare `status` with the document's own enum."""

    at: datetime = stored(description="When it was taken.")
    reason: str | None = stored(description="Why.")
    by: StaffType | None = related(
        lambda: StaffType, key="by", foreign="user_id", description="Who took it, if they have a profile here."
    )
    by_patient: bool = computed("by_patient", by=by_patient, description="Whether it was the patient, in the portal.")


@strawberry.input(description="A step with a document.")
class StepInput:
    id: strawberry.ID = strawberry.field(description="Which one.")
    version: int = strawberry.field(description="The version that the step is based on.")


@strawberry.input(description="A step with a document, and why it is taken.")
class ReasonedStepInput:
    id: strawberry.ID = strawberry.field(description="Which one.")
    version: int = strawberry.field(description="The version that the step is based on.")
    reason: str = strawberry.field(description="Why.")
