"""Procedures: planned, begun, done."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services.care import procedures as service
from app.services.care.lists import listed
from models import Procedure
from models.procedure import ProcedureStatus, ProcedureSystem
from resolvers.base import Resolver, shown
from resolvers.order_values import Laterality
from resolvers.services import ServiceType
from resolvers.staff import StaffType
from resolvers.steps import ReasonedStepInput, StepInput, StepType
from resolvers.values import described
from resolvers.visits import VisitType

if TYPE_CHECKING:
    from resolvers.patients import PatientType

described(
    ProcedureSystem,
    "The classification that a procedure's code is of.",
    LOCAL="The clinic's own.",
    CPT="CPT, of the American Medical Association.",
    ICD_10_PCS="ICD-10-PCS, of the United States.",
    OPS="OPS, of Germany.",
    SNOMED_CT="SNOMED CT.",
)
described(
    ProcedureStatus,
    "Where a procedure stands.",
    PLANNED="It is to be done.",
    IN_PROGRESS="It has begun.",
    COMPLETED="It was done.",
    STOPPED="It was broken off.",
    CANCELLED="It was not begun.",
    ENTERED_IN_ERROR="It should never have been entered.",
)
_S = ProcedureStatus


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


@row_type("ProcedureCode", description="What is done, by a code.")
class ProcedureCodeType:
    system: ProcedureSystem = stored(description="The classification.")
    edition: str | None = stored(description="The year of its edition.")
    code: str = stored(description="The code.")


@row_type("ProcedureStep", description="One step in a procedure's life.")
class ProcedureStepType(StepType):
    status: ProcedureStatus = stored(description="Where it stood from then on.")


@row_type(
    "Procedure", model=Procedure, read=Permission.PROCEDURE_READ, description="Something that is done to a patient."
)
class ProcedureType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    status: ProcedureStatus = stored(description="Where it stands.")
    name: str = stored(description="What is done.")
    coding: ProcedureCodeType | None = stored(description="The same by a code.")
    body_site: str | None = stored(description="What of the body.")
    laterality: Laterality | None = stored(description="Which side.")
    reason: str | None = stored(description="Why.")
    planned_at: datetime = stored(description="When it was planned for.")
    started_at: datetime | None = stored(description="When it began.")
    ended_at: datetime | None = stored(description="When it ended.")
    performed_by: StaffType | None = related(
        lambda: StaffType, key="performed_by", foreign="user_id", description="Who did it."
    )
    findings: str | None = stored(description="What was found.")
    outcome: str | None = stored(description="How it went.")
    complications: str | None = stored(description="What went otherwise.")
    history: list[ProcedureStepType] = stored(description="The steps that were taken, the first first.")
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )
    doctor: StaffType | None = related(lambda: StaffType, key="doctor_id", description="Who is responsible.")
    visit: VisitType | None = related(lambda: VisitType, key="visit_id", description="The visit that led to it.")
    service: ServiceType | None = related(lambda: ServiceType, key="service_id", description="As which service.")


@strawberry.input(description="Which procedures to list. All conditions must hold.")
class ProcedureFilter:
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="Of this patient.")
    doctor_id: strawberry.ID | None = strawberry.field(default=None, description="Of this doctor.")
    status: ProcedureStatus | None = strawberry.field(default=None, description="Of this status.")


@strawberry.input(name="ProcedureCodeInput", description="What is done, by a code.")
class ProcedureCodeInput:
    system: ProcedureSystem = strawberry.field(description="The classification.")
    code: str = strawberry.field(description="The code.")
    edition: str | None = strawberry.field(
        default=None, description="The year of its edition; CPT, ICD-10-PCS and OPS need one."
    )


@strawberry.input(description="Something that is to be done.")
class PlanProcedureInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    name: str = strawberry.field(description="What is to be done.")
    coding: ProcedureCodeInput | None = strawberry.field(default=None, description="The same by a code.")
    body_site: str | None = strawberry.field(default=None, description="What of the body.")
    laterality: Laterality | None = strawberry.field(default=None, description="Which side.")
    reason: str | None = strawberry.field(default=None, description="Why.")
    planned_at: datetime | None = strawberry.field(default=None, description="When; else now.")
    visit_id: strawberry.ID | None = strawberry.field(default=None, description="The visit that leads to it.")
    service_id: strawberry.ID | None = strawberry.field(default=None, description="As which service.")
    doctor_id: strawberry.ID | None = strawberry.field(default=None, description="Who is responsible; else you.")


@strawberry.input(description="A procedure that is over.")
class CompleteProcedureInput:
    id: strawberry.ID = strawberry.field(description="The procedure.")
    version: int = strawberry.field(description="The version that the step is based on.")
    findings: str | None = strawberry.field(default=None, description="What was found.")
    outcome: str | None = strawberry.field(default=None, description="How it went.")
    complications: str | None = strawberry.field(default=None, description="What went otherwise.")
    started_at: datetime | None = strawberry.field(default=None, description="When it began, where that was not noted.")
    ended_at: datetime | None = strawberry.field(default=None, description="When it ended; else now.")


@strawberry.input(description="A procedure that was broken off.")
class StopProcedureInput:
    id: strawberry.ID = strawberry.field(description="The procedure.")
    version: int = strawberry.field(description="The version that the step is based on.")
    reason: str = strawberry.field(description="Why.")
    findings: str | None = strawberry.field(default=None, description="What was found.")
    outcome: str | None = strawberry.field(default=None, description="How it went.")
    complications: str | None = strawberry.field(default=None, description="What went otherwise.")


@strawberry.type
class ProcedureQuery(Resolver):
    @field(Permission.PROCEDURE_READ, description="One procedure.")
    async def procedure(self, info: Info, id: strawberry.ID) -> ProcedureType:
        return await self.one(info, ProcedureType, id)

    @field(Permission.PROCEDURE_READ, description="Procedures, the latest planned first.")
    async def procedures(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: ProcedureFilter | None = None
    ) -> Connection[ProcedureType]:
        equal: dict[str, Any] = ids(given(filter), "patient_id", "doctor_id", at="filter") if filter else {}
        sort = [("planned_at", -1), ("_id", -1)]
        where = listed("planned_at", equal=equal)
        return await self.page(info, ProcedureType, where=where, sort=sort, first=first, after=after)


@strawberry.type
class ProcedureMutation(Resolver):
    @field(Permission.PROCEDURE_WRITE, description="Plans a procedure.")
    async def plan_procedure(self, input: PlanProcedureInput) -> ProcedureType:
        return shown(await service.plan(ids(given(input), "patient_id", "visit_id", "service_id", "doctor_id")))

    @field(Permission.PROCEDURE_WRITE, description="Notes that a procedure begins.")
    async def start_procedure(self, input: StepInput) -> ProcedureType:
        return shown(await service.start(object_id(input.id, "input.id"), input.version))

    @field(Permission.PROCEDURE_WRITE, description="Notes that a procedure was done, and how it went.")
    async def complete_procedure(self, input: CompleteProcedureInput) -> ProcedureType:
        told = given(input)
        key = object_id(told.pop("id"), "input.id")
        return shown(await service.end(key, told.pop("version"), _S.COMPLETED, told))

    @field(Permission.PROCEDURE_WRITE, description="Notes that a procedure was broken off.")
    async def stop_procedure(self, input: StopProcedureInput) -> ProcedureType:
        told = given(input)
        key, reason = object_id(told.pop("id"), "input.id"), told.pop("reason")
        return shown(await service.end(key, told.pop("version"), _S.STOPPED, told, reason))

    @field(Permission.PROCEDURE_WRITE, description="Cancels a procedure that was not begun.")
    async def cancel_procedure(self, input: ReasonedStepInput) -> ProcedureType:
        return shown(await service.step(object_id(input.id, "input.id"), input.version, _S.CANCELLED, input.reason))

    @field(Permission.PROCEDURE_WRITE, description="Marks a procedure that should never have been entered.")
    async def mark_procedure_in_error(self, input: ReasonedStepInput) -> ProcedureType:
        key = object_id(input.id, "input.id")
        return shown(await service.step(key, input.version, _S.ENTERED_IN_ERROR, input.reason))
