"""Merging two files of one patient at the clinic, and undoing it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry

from app.errors import FieldError, ValidationFailed
from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services.merging.choices import MergeField, MergeTake
from app.services.merging.merge import merge
from app.services.merging.obstacles import MergeObstacle
from app.services.merging.preview import preview
from app.services.merging.redirects import of_patient
from app.services.merging.unmerge import unmerge
from models import PatientMerge
from resolvers.base import Resolver, shown
from resolvers.patients import PatientType
from resolvers.values import described

described(
    MergeField,
    "What two files of a patient may say differently.",
    GIVEN_NAME="Given name.",
    FAMILY_NAME="Family name.",
    BIRTH_DATE="Day of birth.",
    SEX="Administrative sex.",
    PHONE="Phone number.",
    EMAIL="E-mail address.",
    ADDRESS="Postal address, as a whole.",
    CONTACTS="Whom to call.",
    ALLERGIES="Known allergies.",
    NATIONAL_ID="The number of the identity card.",
    INSURER="Who insures the patient.",
    INSURANCE_NUMBER="The patient's number there.",
    NOTES="The clinic's own notes.",
)
described(
    MergeTake,
    "Whose value the merged file has.",
    SURVIVOR="The survivor's.",
    DUPLICATE="The duplicate's.",
    BOTH="Both, the survivor's first: of contacts, allergies and notes.",
)
described(
    MergeObstacle,
    "What is in the way of a merge.",
    SURVIVOR_ARCHIVED="The survivor is archived.",
    ERASED="One of them was erased, and the law holds the rest.",
    SAME_TIME="Both are booked at the same time.",
    SAME_QUEUE="Both are in the same queue.",
    TWO_MEMBERSHIPS="Both have a membership.",
    EMERGENCY_OPEN="Emergency access to the duplicate is open.",
    ALLERGIES="The duplicate has allergies that the survivor has not, and the merge must not write them down.",
    TOO_LARGE="The duplicate has more documents than are moved at once.",
)


@row_type("MergeObstacleFound", description="Something in the way of a merge.")
class MergeObstacleFoundType:
    kind: MergeObstacle = stored(description="What it is.")
    message: str = stored(description="What must be done about it.")


@row_type("MergeCount", description="Documents of one kind.")
class MergeCountType:
    kind: str = stored(description="The kind.")
    count: int = stored(description="How many.")


@row_type("PatientMergePreview", description="What a merge would do now.")
class PatientMergePreviewType:
    survivor: PatientType | None = related(
        lambda: PatientType, key="survivor_id", description="The file that stays. Its versions go into the merge."
    )
    duplicate: PatientType | None = related(
        lambda: PatientType, key="duplicate_id", description="The file that goes into it, with its versions."
    )
    conflicts: list[MergeField] = stored(description="Where both say something, and not the same.")
    changes: list[MergeField] = stored(description="What of the survivor's file changes if nobody chooses otherwise.")
    demographics_shared: bool = stored(
        description="Whether other clinics have the survivor too. Their demographics then stay as they are."
    )
    moves: list[MergeCountType] = stored(description="The duplicate's documents that would become the survivor's.")
    obstacles: list[MergeObstacleFoundType] = stored(description="What must be settled first; none when it can begin.")


@row_type(
    "PatientMerge",
    model=PatientMerge,
    read=Permission.PATIENT_READ,
    description="Two files of a patient that were made one, and maybe two again.",
)
class PatientMergeType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when undoing.")
    survivor: PatientType | None = related(
        lambda: PatientType, key="patient_id", description="The patient whose file it is now."
    )
    former_id: strawberry.ID = stored(description="The duplicate's id; it leads to the survivor until it is undone.")
    former_code: str = stored(description="The duplicate's code here.")
    reason: str = stored(description="Why they were merged.")
    merged_at: datetime = stored(description="When.")
    merged_by: str | None = stored("person_name", description="By whom.")
    undone_at: datetime | None = stored(description="When it was undone.")
    undo_reason: str | None = stored(description="Why it was undone.")


@strawberry.input(description="Whose value the merged file has in one field.")
class MergeChoiceInput:
    field: MergeField = strawberry.field(description="The field.")
    take: MergeTake = strawberry.field(description="Whose value.")


@strawberry.input(description="Which files to merge, as they were looked at.")
class MergePatientsInput:
    survivor_id: strawberry.ID = strawberry.field(description="The patient whose file stays.")
    survivor_version: int = strawberry.field(description="The version of their demographics.")
    survivor_record_version: int = strawberry.field(description="The version of their record.")
    duplicate_id: strawberry.ID = strawberry.field(description="The patient whose file goes into it.")
    duplicate_version: int = strawberry.field(description="The version of their demographics.")
    duplicate_record_version: int = strawberry.field(description="The version of their record.")
    reason: str = strawberry.field(description="Why they are one and the same: 10 to 500 characters.")
    choices: list[MergeChoiceInput] | None = strawberry.field(
        default=None,
        description="Whose values are taken. Without one for a field: the survivor's, or the duplicate's where that "
        "is empty; of contacts, allergies and notes both.",
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="With the same key and input, the first answer comes again."
    )


@strawberry.input(description="Which merge to undo.")
class UnmergePatientsInput:
    id: strawberry.ID = strawberry.field(description="The merge.")
    version: int = strawberry.field(description="The version of the merge that the step is based on.")
    reason: str = strawberry.field(description="Why they are two after all: 10 to 500 characters.")


@strawberry.type
class PatientMergeQuery(Resolver):
    @field(Permission.PATIENT_READ, description="Both files side by side, and what merging them would do now.")
    async def patient_merge_preview(
        self,
        survivor_id: Annotated[strawberry.ID, strawberry.argument(description="The patient whose file would stay.")],
        duplicate_id: Annotated[strawberry.ID, strawberry.argument(description="The one whose would go into it.")],
    ) -> PatientMergePreviewType:
        found = await preview(object_id(survivor_id, "survivorId"), object_id(duplicate_id, "duplicateId"))
        return shown(
            {
                "survivor_id": found.pair.survivor.id,
                "duplicate_id": found.pair.duplicate.id,
                "conflicts": found.conflicts,
                "changes": found.changes,
                "demographics_shared": found.pair.shared,
                "moves": [{"kind": kind, "count": count} for kind, count in sorted(found.moves.items())],
                "obstacles": [{"kind": one.kind, "message": one.message} for one in found.obstacles],
            }
        )

    @field(
        Permission.PATIENT_READ,
        description="The merges of the clinic, or of a patient on either side, the latest first, the undone ones too.",
    )
    async def patient_merges(
        self, info: Info, patient_id: strawberry.ID | None = None, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PatientMergeType]:
        where = of_patient(None if patient_id is None else object_id(patient_id, "patientId"))
        sort = [("merged_at", -1), ("_id", -1)]
        return await self.page(info, PatientMergeType, where=where, sort=sort, first=first, after=after)


def _choices(chosen: list[MergeChoiceInput]) -> dict[MergeField, MergeTake]:
    """The choices by field. Raises VALIDATION_FAILED for a field that is named twice."""
    found = {one.field: one.take for one in chosen}
    seen: set[MergeField] = set()
    for at, one in enumerate(chosen):
        if one.field in seen:
            raise ValidationFailed(fields=[FieldError(f"input.choices.{at}.field", "is named twice")])
        seen.add(one.field)
    return found


@strawberry.type
class PatientMergeMutation(Resolver):
    @field(
        Permission.PATIENT_MERGE,
        description="Makes two files of one patient one: the duplicate's documents become the survivor's, and its id "
        "and code lead there. What other clinics see of either stays as it is.",
    )
    async def merge_patients(self, info: Info, input: MergePatientsInput) -> PatientMergeType:
        values = ids(given(input), "survivor_id", "duplicate_id")
        key = values.pop("idempotency_key", None)
        values.pop("choices", None)
        return shown(await merge(values, _choices(input.choices or []), key=key))

    @field(
        Permission.PATIENT_MERGE,
        description="Undoes a merge: what was moved goes back, with what has grown on it since. The latest goes first.",
    )
    async def unmerge_patients(self, info: Info, input: UnmergePatientsInput) -> PatientMergeType:
        return shown(await unmerge(object_id(input.id, "input.id"), input.version, input.reason))
