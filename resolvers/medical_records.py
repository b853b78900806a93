"""The problem list and the rest of the medical record that outlasts visits."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import Maybe

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services.care import records as service
from app.services.changes import storable
from models import MedicalRecord
from models.medical_record import ProblemStatus, RecordKind
from resolvers.base import Resolver, shown
from resolvers.diagnoses import DiagnosisInput, DiagnosisType
from resolvers.staff import StaffType
from resolvers.steps import ReasonedStepInput, StepInput, StepType
from resolvers.values import day, described
from resolvers.visits import VisitType

if TYPE_CHECKING:
    from resolvers.patients import PatientType

described(
    RecordKind,
    "What an entry of the medical record is about.",
    PROBLEM="Something the patient has.",
    PAST_ILLNESS="Something the patient had.",
    SURGERY="An operation.",
    FAMILY_HISTORY="What runs in the family.",
    SOCIAL_HISTORY="Work, habits, how the patient lives.",
    IMMUNIZATION="A vaccination.",
)
described(
    ProblemStatus,
    "Whether what an entry is about still matters.",
    ACTIVE="It does.",
    RESOLVED="It is over.",
    ENTERED_IN_ERROR="It should never have been written.",
)


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


@row_type("MedicalRecordStep", description="One step in an entry's life.")
class MedicalRecordStepType(StepType):
    status: ProblemStatus = stored(description="Where the entry stood from then on.")


@row_type(
    "MedicalRecord",
    model=MedicalRecord,
    read=Permission.VISIT_READ,
    description="One entry of what the clinic knows of a patient beyond single visits.",
)
class MedicalRecordType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    kind: RecordKind = stored(description="What it is about.")
    status: ProblemStatus = stored(description="Whether it still matters.")
    diagnosis: DiagnosisType = stored(description="What it is.")
    note: str | None = stored(description="What to know about it.")
    onset: date | None = day("onset", "Since when.")
    resolved_on: date | None = day("resolved_on", "Until when.")
    created_at: datetime = stored(description="When it was first written.")
    updated_at: datetime = stored(description="When it was last changed.")
    history: list[MedicalRecordStepType] = stored(description="The steps that were taken, the first first.")
    recorded_by: StaffType | None = related(
        lambda: StaffType, key="recorded_by", foreign="user_id", description="Who wrote it first."
    )
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )
    visits: list[VisitType] = related(
        lambda: VisitType, key="visit_ids", many=True, description="The visits at which it was dealt with."
    )


@strawberry.input(description="Which entries to list. All conditions must hold.")
class MedicalRecordFilter:
    patient_id: strawberry.ID = strawberry.field(description="Of this patient.")
    status: ProblemStatus | None = strawberry.field(default=None, description="Of this status.")
    kind: RecordKind | None = strawberry.field(default=None, description="About this.")


@strawberry.input(description="A new entry of a patient's medical record.")
class AddMedicalRecordInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    diagnosis: DiagnosisInput = strawberry.field(description="What it is.")
    kind: RecordKind = strawberry.field(default=RecordKind.PROBLEM, description="What it is about.")
    note: str | None = strawberry.field(default=None, description="What to know about it.")
    onset: date | None = strawberry.field(default=None, description="Since when.")
    visit_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="The patient's visits at which it was dealt with."
    )


@strawberry.input(description="Changes to an entry. What is left out stays as it is; null clears it.")
class UpdateMedicalRecordInput:
    id: strawberry.ID = strawberry.field(description="The entry.")
    version: int = strawberry.field(description="The version that the change is based on.")
    diagnosis: Maybe[DiagnosisInput] = strawberry.field(description="What it is.")
    kind: Maybe[RecordKind] = strawberry.field(description="What it is about.")
    note: Maybe[str | None] = strawberry.field(description="What to know about it.")
    onset: Maybe[date | None] = strawberry.field(description="Since when.")
    visit_ids: Maybe[list[strawberry.ID]] = strawberry.field(description="The patient's visits; replaces the list.")


@strawberry.input(description="An entry that is over.")
class ResolveMedicalRecordInput:
    id: strawberry.ID = strawberry.field(description="The entry.")
    version: int = strawberry.field(description="The version that the step is based on.")
    resolved_on: date | None = strawberry.field(default=None, description="Since when it is over; else today.")


@strawberry.type
class MedicalRecordQuery(Resolver):
    @field(Permission.VISIT_READ, description="One entry of a medical record.")
    async def medical_record(self, info: Info, id: strawberry.ID) -> MedicalRecordType:
        return await self.one(info, MedicalRecordType, id)

    @field(Permission.VISIT_READ, description="A patient's problem list and medical record, the latest entry first.")
    async def medical_records(
        self, info: Info, filter: MedicalRecordFilter, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[MedicalRecordType]:
        where = {name: storable(value) for name, value in ids(given(filter), "patient_id", at="filter").items()}
        sort = [("created_at", -1), ("_id", -1)]
        return await self.page(info, MedicalRecordType, where=where, sort=sort, first=first, after=after)


@strawberry.type
class MedicalRecordMutation(Resolver):
    @field(Permission.VISIT_WRITE, description="Adds to a patient's medical record.")
    async def add_medical_record(self, input: AddMedicalRecordInput) -> MedicalRecordType:
        return shown(await service.add(ids(given(input), "patient_id", "visit_ids")))

    @field(Permission.VISIT_WRITE, description="Changes an entry of a medical record.")
    async def update_medical_record(self, input: UpdateMedicalRecordInput) -> MedicalRecordType:
        changes = ids(given(input), "id", "visit_ids")
        return shown(await service.change(changes.pop("id"), changes.pop("version"), changes))

    @field(Permission.VISIT_WRITE, description="Notes that something is over.")
    async def resolve_medical_record(self, input: ResolveMedicalRecordInput) -> MedicalRecordType:
        key = object_id(input.id, "input.id")
        return shown(await service.resolve(key, input.version, input.resolved_on))

    @field(Permission.VISIT_WRITE, description="Notes that something is back.")
    async def reopen_medical_record(self, input: StepInput) -> MedicalRecordType:
        return shown(await service.reopen(object_id(input.id, "input.id"), input.version))

    @field(Permission.VISIT_WRITE, description="Marks an entry that should never have been written.")
    async def mark_medical_record_in_error(self, input: ReasonedStepInput) -> MedicalRecordType:
        return shown(await service.enter_in_error(object_id(input.id, "input.id"), input.version, input.reason))
