"""Imaging: ordered, scheduled, done, reported on, released."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services.care import imaging as service
from app.services.care.lists import listed
from app.services.counters import as_given
from models import Imaging
from models.imaging import ImagingStatus, Modality
from resolvers.base import Resolver, shown
from resolvers.order_values import Laterality, OrderPriority
from resolvers.staff import StaffType
from resolvers.steps import ReasonedStepInput, StepInput, StepType
from resolvers.values import described
from resolvers.visits import VisitType

if TYPE_CHECKING:
    from resolvers.patients import PatientType

described(
    Modality,
    "How images are made, as DICOM calls it.",
    CR="Computed radiography.",
    CT="Computed tomography.",
    DX="Digital radiography.",
    ECG="Electrocardiography.",
    ES="Endoscopy.",
    MG="Mammography.",
    MR="Magnetic resonance.",
    NM="Nuclear medicine.",
    PT="Positron emission tomography.",
    RF="Fluoroscopy.",
    US="Ultrasound.",
    XA="Angiography.",
    OT="In another way.",
)
described(
    ImagingStatus,
    "Where an imaging study stands.",
    ORDERED="It is ordered.",
    SCHEDULED="It has a time.",
    PERFORMED="The images were made.",
    REPORTED="Somebody has said what is seen in them.",
    RELEASED="The patient may see the report.",
    CANCELLED="It was not needed.",
)


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


def last_report(row: Row) -> Row | None:
    """The report that counts."""
    reports = row.get("reports") or []
    return reports[-1] if reports else None


@row_type("ImagingReport", description="What somebody saw in the images.")
class ImagingReportType:
    at: datetime = stored(description="When it was written.")
    findings: str = stored(description="What is seen.")
    impression: str | None = stored(description="What it means.")
    by: StaffType | None = related(lambda: StaffType, key="by", foreign="user_id", description="Who wrote it.")


@row_type("ImagingStep", description="One step in the life of an imaging study.")
class ImagingStepType(StepType):
    status: ImagingStatus = stored(description="Where it stood from then on.")


@row_type("Imaging", model=Imaging, read=Permission.IMAGING_READ, description="One imaging study.")
class ImagingType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    status: ImagingStatus = stored(description="Where it stands.")
    number: str = stored(description="The clinic's own number (accession number).")
    modality: Modality = stored(description="How the images are made.")
    body_site: str = stored(description="What of the body.")
    laterality: Laterality | None = stored(description="Which side.")
    contrast: bool = stored(description="Whether contrast medium is given.")
    priority: OrderPriority = stored(description="How soon.")
    reason: str | None = stored(description="What is to be found out.")
    ordered_at: datetime = stored(description="When it was ordered.")
    scheduled_at: datetime | None = stored(description="When the images are to be made.")
    performed_at: datetime | None = stored(description="When they were made.")
    performed_by: StaffType | None = related(
        lambda: StaffType, key="performed_by", foreign="user_id", description="Who made them."
    )
    report: ImagingReportType | None = computed("reports", by=last_report, description="The report that counts.")
    reports: list[ImagingReportType] = stored(description="All reports; each corrects the one before.")
    released_at: datetime | None = stored(description="Since when the patient may see the report.")
    history: list[ImagingStepType] = stored(description="The steps that were taken, the first first.")
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )
    doctor: StaffType | None = related(lambda: StaffType, key="doctor_id", description="Who ordered it.")
    visit: VisitType | None = related(lambda: VisitType, key="visit_id", description="The visit that led to it.")


@strawberry.input(description="Which imaging studies to list. All conditions must hold.")
class ImagingFilter:
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="Of this patient.")
    doctor_id: strawberry.ID | None = strawberry.field(default=None, description="Ordered by this doctor.")
    status: ImagingStatus | None = strawberry.field(default=None, description="Of this status.")
    number: str | None = strawberry.field(default=None, description="Of this number.")


@strawberry.input(description="Images that are needed.")
class OrderImagingInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    modality: Modality = strawberry.field(description="How they are to be made.")
    body_site: str = strawberry.field(description="What of the body.")
    laterality: Laterality | None = strawberry.field(default=None, description="Which side.")
    contrast: bool = strawberry.field(default=False, description="Whether contrast medium is to be given.")
    priority: OrderPriority = strawberry.field(default=OrderPriority.ROUTINE, description="How soon.")
    reason: str | None = strawberry.field(default=None, description="What is to be found out.")
    visit_id: strawberry.ID | None = strawberry.field(default=None, description="The visit that leads to it.")
    doctor_id: strawberry.ID | None = strawberry.field(default=None, description="Who orders it; else you.")


@strawberry.input(description="When images are to be made.")
class ScheduleImagingInput:
    id: strawberry.ID = strawberry.field(description="The study.")
    version: int = strawberry.field(description="The version that the step is based on.")
    scheduled_at: datetime = strawberry.field(description="When.")


@strawberry.input(description="Images that were made.")
class PerformImagingInput:
    id: strawberry.ID = strawberry.field(description="The study.")
    version: int = strawberry.field(description="The version that the step is based on.")
    performed_at: datetime | None = strawberry.field(default=None, description="When; else now.")


@strawberry.input(description="What is seen in the images.")
class ReportImagingInput:
    id: strawberry.ID = strawberry.field(description="The study.")
    version: int = strawberry.field(description="The version that the step is based on.")
    findings: str = strawberry.field(description="What is seen.")
    impression: str | None = strawberry.field(default=None, description="What it means.")


@strawberry.type
class ImagingQuery(Resolver):
    @field(Permission.IMAGING_READ, description="One imaging study.")
    async def imaging(self, info: Info, id: strawberry.ID) -> ImagingType:
        return await self.one(info, ImagingType, id)

    @field(Permission.IMAGING_READ, description="Imaging studies, the latest ordered first.")
    async def imaging_studies(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: ImagingFilter | None = None
    ) -> Connection[ImagingType]:
        equal: dict[str, Any] = ids(given(filter), "patient_id", "doctor_id", at="filter") if filter else {}
        sort = [("ordered_at", -1), ("_id", -1)]
        where = listed("ordered_at", equal={**equal, "number": as_given(equal.get("number"))})
        return await self.page(info, ImagingType, where=where, sort=sort, first=first, after=after)


@strawberry.type
class ImagingMutation(Resolver):
    @field(Permission.IMAGING_WRITE, description="Orders images.")
    async def order_imaging(self, input: OrderImagingInput) -> ImagingType:
        return shown(await service.order(ids(given(input), "patient_id", "visit_id", "doctor_id")))

    @field(Permission.IMAGING_WRITE, description="Says when images are to be made, or moves them.")
    async def schedule_imaging(self, input: ScheduleImagingInput) -> ImagingType:
        return shown(await service.schedule(object_id(input.id, "input.id"), input.version, input.scheduled_at))

    @field(Permission.IMAGING_WRITE, description="Notes that the images were made.")
    async def perform_imaging(self, input: PerformImagingInput) -> ImagingType:
        return shown(await service.perform(object_id(input.id, "input.id"), input.version, input.performed_at))

    @field(
        Permission.IMAGING_WRITE, description="Says what is seen in the images, or corrects it. Earlier reports stay."
    )
    async def report_imaging(self, input: ReportImagingInput) -> ImagingType:
        told = given(input)
        key = object_id(told.pop("id"), "input.id")
        return shown(await service.report(key, told.pop("version"), told))

    @field(Permission.IMAGING_WRITE, description="Lets the patient see the report.")
    async def release_imaging(self, input: StepInput) -> ImagingType:
        return shown(await service.release(object_id(input.id, "input.id"), input.version))

    @field(Permission.IMAGING_WRITE, description="Cancels images that were not made yet.")
    async def cancel_imaging(self, input: ReasonedStepInput) -> ImagingType:
        return shown(await service.cancel(object_id(input.id, "input.id"), input.version, input.reason))
