"""Laboratories: what they found for patients, what of it waits for a person, and the connections they deliver by."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.inputs import given, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.plans import Feature
from app.services import lab_connections, lab_quarantine, lab_results
from models import LabConnection, LabMessage, LabResult
from models.lab import LabResultStatus, MessageStatus, QuarantineReason, ResultFlag, is_abnormal
from resolvers.base import Resolver, shown
from resolvers.staff import StaffType
from resolvers.values import day, described

if TYPE_CHECKING:
    from resolvers.lab_orders import LabOrderType
    from resolvers.patients import PatientType

described(
    LabResultStatus,
    "Where a laboratory's result stands.",
    RESULTED="It came from the laboratory.",
    REVIEWED="Somebody at the clinic has looked at it.",
    RELEASED="The patient may see it.",
)
described(
    ResultFlag,
    "How a value lies to what is usual.",
    NORMAL="Within the usual.",
    LOW="Below it.",
    HIGH="Above it.",
    CRITICAL_LOW="Dangerously below it.",
    CRITICAL_HIGH="Dangerously above it.",
    ABNORMAL="Unusual, for values that are neither low nor high.",
)
described(
    MessageStatus,
    "Where a laboratory's message stands.",
    QUARANTINED="It waits for a person; nothing was written to any patient.",
    WAITING="It is stored and about to be handled.",
    HANDLED="Its report was filed.",
    DISCARDED="It was put aside.",
)
described(
    QuarantineReason,
    "Why a laboratory's message waits for a person.",
    UNKNOWN_PATIENT="No patient of this clinic has the reported code.",
    BIRTH_DATE_DIFFERS="The patient with this code was born on another day.",
    OTHER_PATIENT="It corrects a report about another patient.",
    VERSION_TAKEN="This version of the report came before, with another content.",
    ORDER_DIFFERS="It names an order of another patient.",
    NOT_HANDLED="It was tried too often without success.",
)


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


def _order_type() -> type:
    from resolvers.lab_orders import LabOrderType

    return LabOrderType


def _is_enabled(row: Row) -> bool:
    return row.get("disabled_at") is None


@row_type(
    "LabConnection",
    model=LabConnection,
    read=Permission.SETTINGS_READ,
    description="A laboratory that may deliver results to this clinic.",
)
class LabConnectionType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    name: str = stored(description="Which laboratory.")
    key_id: str = stored(description="What the laboratory sends as `X-Lab-Key`.")
    enabled: bool = computed("disabled_at", by=_is_enabled, description="Whether what it delivers is taken.")
    previous_until: datetime | None = stored(description="Until when the secret before the present one counts too.")
    disabled_at: datetime | None = stored(description="When it was disabled.")
    created_at: datetime = stored(description="When it was made.")


@strawberry.type(name="LabConnectionSecret", description="A connection together with its new secret.")
class LabConnectionSecretType:
    connection: LabConnectionType = strawberry.field(description="The connection.")
    secret: str = strawberry.field(description="What the laboratory signs with. It is shown this once.")


def _is_abnormal(row: Row) -> bool:
    return is_abnormal(one.get("flag") for one in row["observations"])


@row_type("LabPanel", description="What was ordered together.")
class LabPanelType:
    loinc: str | None = stored(description="LOINC code.")
    name: str = stored(description="Name.")


@row_type("LabObservation", description="One measured value.")
class LabObservationType:
    loinc: str | None = stored(description="LOINC code.")
    name: str = stored(description="What was measured.")
    value: str = stored(description="The value, as the laboratory writes it.")
    unit: str | None = stored(description="Its unit.")
    reference_range: str | None = stored(description="What is usual.")
    flag: ResultFlag | None = stored(description="How the value lies to that.")
    comment: str | None = stored(description="What the laboratory says about it.")


@row_type("LabResultStep", description="One step in a result's life.")
class LabResultStepType:
    at: datetime = stored(description="When it was taken.")
    action: str = stored(
        description="What was done: `received`, `entered`, `superseded`, `withdrawn`, `reviewed`, `released`."
    )
    status: LabResultStatus = stored(description="Where the result stood from then on.")
    by: StaffType | None = related(
        lambda: StaffType, key="by", foreign="user_id", description="Who did it, if a person with a profile here did."
    )


@row_type(
    "LabResult", model=LabResult, read=Permission.LAB_RESULT_READ, description="What a laboratory found for a patient."
)
class LabResultType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    accession: str = stored(description="The laboratory's own number of the sample.")
    report_version: int = stored(description="Which report on the sample this is; corrections have higher ones.")
    order_number: str | None = stored(description="The number of the order, as the laboratory reports it.")
    order: Annotated[LabOrderType, strawberry.lazy("resolvers.lab_orders")] | None = related(
        _order_type, key="lab_order_id", description="The clinic's order of that number."
    )
    panel: LabPanelType = stored(description="What was ordered.")
    doctor: StaffType | None = related(
        lambda: StaffType, key="doctor_id", description="Who ordered it, where the order is known."
    )
    observations: list[LabObservationType] = stored(description="What was measured.")
    abnormal: bool = computed(
        "observations", by=_is_abnormal, description="Whether a value is flagged as other than normal."
    )
    comment: str | None = stored(description="What the laboratory says about all of it.")
    performed_at: datetime = stored(description="When it was measured.")
    reported_at: datetime = stored(description="When the laboratory reported it.")
    received_at: datetime = stored(description="When it came here.")
    status: LabResultStatus = stored(description="Where it stands.")
    current: bool = stored(description="Whether no newer report supersedes it.")
    superseded_at: datetime | None = stored(description="When a newer report superseded it.")
    history: list[LabResultStepType] = stored(description="What was done with it, the first step first.")
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )


@row_type("ReportedPatient", description="Whom a laboratory's report is about, in its own words.")
class ReportedPatientType:
    code: str = stored(description="The code that the laboratory gave.")
    birth_date: date | None = day("birth_date", "The day of birth that it gave.")


@row_type("LabReport", description="What a laboratory says.")
class LabReportType:
    patient: ReportedPatientType = stored(description="Whom it is about.")
    accession: str = stored(description="The laboratory's own number of the sample.")
    report_version: int = stored("version", description="Which report on the sample this is.")
    panel: LabPanelType = stored(description="What was ordered.")
    observations: list[LabObservationType] = stored(description="What was measured.")
    comment: str | None = stored(description="What the laboratory says about all of it.")
    performed_at: datetime = stored(description="When it was measured.")
    reported_at: datetime = stored(description="When the laboratory reported it.")


@row_type(
    "LabMessage",
    model=LabMessage,
    read=Permission.LAB_RESULT_READ,
    description="One report in the inbox of what laboratories sent.",
)
class LabMessageType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    event_id: str = stored(description="What the laboratory calls the delivery.")
    status: MessageStatus = stored(description="Where it stands.")
    reason: QuarantineReason | None = stored(description="Why it waits for a person.")
    report: LabReportType | None = stored(description="What it says; none once that is dropped, long after the end.")
    received_at: datetime = stored(description="When it came.")
    settled_at: datetime | None = stored(description="When it was filed or discarded.")
    discard_reason: str | None = stored(description="Why it was discarded.")
    connection: LabConnectionType | None = related(
        lambda: LabConnectionType, key="connection_id", description="The laboratory."
    )


@strawberry.input(description="Which results to list. All conditions must hold.")
class LabResultFilter:
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="Of this patient.")
    doctor_id: strawberry.ID | None = strawberry.field(default=None, description="For orders of this doctor.")
    status: LabResultStatus | None = strawberry.field(default=None, description="Of this status.")
    abnormal: bool | None = strawberry.field(
        default=None, description="Whether a value is flagged as other than normal."
    )
    superseded: bool = strawberry.field(default=False, description="Those that newer reports supersede, too.")


@strawberry.input(description="A step with a result.")
class LabResultStepInput:
    id: strawberry.ID = strawberry.field(description="The result.")
    version: int = strawberry.field(description="The version that the step is based on.")


@strawberry.input(description="Whose a quarantined report is.")
class AssignLabMessageInput:
    lab_message_id: strawberry.ID = strawberry.field(description="The message.")
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    version: int = strawberry.field(description="The version of the message that the step is based on.")


@strawberry.input(description="A quarantined report that is to be put aside.")
class DiscardLabMessageInput:
    lab_message_id: strawberry.ID = strawberry.field(description="The message.")
    version: int = strawberry.field(description="The version of the message that the step is based on.")
    reason: str = strawberry.field(description="Why.")


@strawberry.input(description="A laboratory that may deliver from now on.")
class CreateLabConnectionInput:
    name: str = strawberry.field(description="Which laboratory.")


@strawberry.input(description="A connection that gets a new secret.")
class RotateLabConnectionInput:
    id: strawberry.ID = strawberry.field(description="The connection.")
    version: int = strawberry.field(description="The version that the step is based on.")
    overlap_hours: int = strawberry.field(
        default=24, description="For how many hours the former secret counts as well, 0 to 168."
    )


@strawberry.input(description="A connection that is to be ended for good.")
class DisableLabConnectionInput:
    id: strawberry.ID = strawberry.field(description="The connection.")
    version: int = strawberry.field(description="The version that the step is based on.")


@strawberry.type
class LabQuery(Resolver):
    @field(Permission.LAB_RESULT_READ, description="One laboratory result.")
    async def lab_result(self, info: Info, id: strawberry.ID) -> LabResultType:
        return await self.one(info, LabResultType, id)

    @field(Permission.LAB_RESULT_READ, description="The clinic's laboratory results, the latest measured first.")
    async def lab_results(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: LabResultFilter | None = None
    ) -> Connection[LabResultType]:
        chosen = filter or LabResultFilter()
        where: dict[str, object] = {} if chosen.superseded else {"current": True}
        if chosen.patient_id is not None:
            where["patient_id"] = object_id(chosen.patient_id, "filter.patientId")
        if chosen.doctor_id is not None:
            where["doctor_id"] = object_id(chosen.doctor_id, "filter.doctorId")
        if chosen.status is not None:
            where["status"] = chosen.status.value
        if chosen.abnormal is not None:
            where["abnormal"] = {"$in": [True, None]} if chosen.abnormal else False
        sort = [("performed_at", -1), ("_id", -1)]
        return await self.page(info, LabResultType, where=where, sort=sort, first=first, after=after)

    @field(
        Permission.LAB_RESULT_READ,
        description="Laboratories' reports that no machine may file, the oldest first.",
    )
    async def lab_quarantine(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[LabMessageType]:
        where = {"status": MessageStatus.QUARANTINED.value}
        sort = [("received_at", 1), ("_id", 1)]
        return await self.page(info, LabMessageType, where=where, sort=sort, first=first, after=after)

    @field(Permission.SETTINGS_READ, description="The laboratories that may or might deliver, the oldest first.")
    async def lab_connections(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[LabConnectionType]:
        sort = [("created_at", 1), ("_id", 1)]
        return await self.page(info, LabConnectionType, where={}, sort=sort, first=first, after=after)


@strawberry.type
class LabMutation(Resolver):
    @field(Permission.LAB_RESULT_WRITE, description="Notes that a result that came was looked at.")
    async def review_lab_result(self, info: Info, input: LabResultStepInput) -> LabResultType:
        await lab_results.review(object_id(input.id, "input.id"), input.version)
        return await self.one(info, LabResultType, input.id, path="input.id")

    @field(Permission.LAB_RESULT_RELEASE, description="Lets the patient see a result that was looked at.")
    async def release_lab_result(self, info: Info, input: LabResultStepInput) -> LabResultType:
        await lab_results.release(object_id(input.id, "input.id"), input.version)
        return await self.one(info, LabResultType, input.id, path="input.id")

    @field(Permission.LAB_RESULT_WRITE, description="Files a quarantined report as a result of that patient.")
    async def assign_lab_message(self, info: Info, input: AssignLabMessageInput) -> LabMessageType:
        message = object_id(input.lab_message_id, "input.labMessageId")
        await lab_quarantine.assign(message, object_id(input.patient_id, "input.patientId"), input.version)
        return await self.one(info, LabMessageType, input.lab_message_id, path="input.labMessageId")

    @field(Permission.LAB_RESULT_WRITE, description="Puts a quarantined report aside for good.")
    async def discard_lab_message(self, info: Info, input: DiscardLabMessageInput) -> LabMessageType:
        message = object_id(input.lab_message_id, "input.labMessageId")
        await lab_quarantine.discard(message, input.version, input.reason)
        return await self.one(info, LabMessageType, input.lab_message_id, path="input.labMessageId")

    @field(
        Permission.SETTINGS_MANAGE,
        description="Lets a laboratory deliver to this clinic; answers with the secret that it is to sign with.",
        feature=Feature.LABORATORIES,
    )
    async def create_lab_connection(self, input: CreateLabConnectionInput) -> LabConnectionSecretType:
        issued = await lab_connections.create(given(input))
        return LabConnectionSecretType(connection=shown(issued.row), secret=issued.secret)

    @field(
        Permission.SETTINGS_MANAGE,
        description="Gives a connection a new secret; for some hours the former one counts as well.",
    )
    async def rotate_lab_connection(self, input: RotateLabConnectionInput) -> LabConnectionSecretType:
        issued = await lab_connections.rotate(object_id(input.id, "input.id"), input.version, input.overlap_hours)
        return LabConnectionSecretType(connection=shown(issued.row), secret=issued.secret)

    @field(
        Permission.SETTINGS_MANAGE,
        description="Ends a connection for good: nothing that it delivers is taken.",
        without_plan=True,
    )
    async def disable_lab_connection(self, input: DisableLabConnectionInput) -> LabConnectionType:
        return shown(await lab_connections.disable(object_id(input.id, "input.id"), input.version))
