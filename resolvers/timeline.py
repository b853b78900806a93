"""What happened to a patient at this clinic, by time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import strawberry

from app.errors import ValidationFailed
from app.graphql.access import field, require
from app.graphql.context import Info
from app.graphql.cursors import Cursors
from app.graphql.fields import related, row_type, stored
from app.graphql.inputs import object_id
from app.graphql.paging import DEFAULT_PAGE, MAX_PAGE
from app.permissions import Permission
from app.services.care import timeline as service
from app.services.care.timeline import CareKind
from app.services.merging import redirects
from app.tenancy.scope import current_scope
from resolvers.appointments import AppointmentType
from resolvers.base import Resolver, shown
from resolvers.imaging import ImagingType
from resolvers.lab import LabResultType
from resolvers.prescriptions import PrescriptionType
from resolvers.procedures import ProcedureType
from resolvers.referrals import ReferralType
from resolvers.values import described
from resolvers.visits import VisitType

described(
    CareKind,
    "What happened to a patient.",
    VISIT="A visit.",
    PRESCRIPTION="A prescription.",
    LAB_RESULT="A laboratory's result.",
    IMAGING="An imaging study.",
    PROCEDURE="A procedure.",
    REFERRAL="A referral.",
    APPOINTMENT="An appointment.",
)
NEEDED: Mapping[CareKind, Permission] = {
    CareKind.VISIT: Permission.VISIT_READ,
    CareKind.PRESCRIPTION: Permission.PRESCRIPTION_READ,
    CareKind.LAB_RESULT: Permission.LAB_RESULT_READ,
    CareKind.IMAGING: Permission.IMAGING_READ,
    CareKind.PROCEDURE: Permission.PROCEDURE_READ,
    CareKind.REFERRAL: Permission.REFERRAL_READ,
    CareKind.APPOINTMENT: Permission.APPOINTMENT_READ,
}
Kinds = Annotated[list[CareKind] | None, strawberry.argument(description="What to show; else all that you may see.")]


@row_type("CareEvent", description="One entry of a patient's history: one of the fields below says what happened.")
class CareEventType:
    kind: CareKind = stored(description="What happened.")
    at: datetime = stored(description="When.")
    cursor: str = stored(description="Pass it as `after` to go on behind this entry.")
    visit: VisitType | None = related(lambda: VisitType, key="visit_id", description="The visit.")
    prescription: PrescriptionType | None = related(
        lambda: PrescriptionType, key="prescription_id", description="The prescription."
    )
    lab_result: LabResultType | None = related(
        lambda: LabResultType, key="lab_result_id", description="The laboratory's result."
    )
    imaging: ImagingType | None = related(lambda: ImagingType, key="imaging_id", description="The imaging study.")
    procedure: ProcedureType | None = related(lambda: ProcedureType, key="procedure_id", description="The procedure.")
    referral: ReferralType | None = related(lambda: ReferralType, key="referral_id", description="The referral.")
    appointment: AppointmentType | None = related(
        lambda: AppointmentType, key="appointment_id", description="The appointment."
    )


def _kinds(asked: list[CareKind] | None) -> list[CareKind]:
    """Those that are asked for, each with its permission; without any, all that the actor may read."""
    if asked is None:
        mine = current_scope().signed_in.permissions
        return [one for one, permission in NEEDED.items() if permission in mine]
    for one in asked:
        require(NEEDED[one])
    return sorted(set(asked))


@strawberry.type
class TimelineQuery(Resolver):
    @field(Permission.VISIT_READ, description="What happened to a patient at this clinic, the latest first.")
    async def care_history(
        self,
        info: Info,
        patient_id: strawberry.ID,
        first: Annotated[int, strawberry.argument(description="How many entries, 1 to 100.")] = DEFAULT_PAGE,
        after: Annotated[str | None, strawberry.argument(description="The cursor to go on behind.")] = None,
        kinds: Kinds = None,
    ) -> list[CareEventType]:
        if not 1 <= first <= MAX_PAGE:
            raise ValidationFailed.at("first", f"must be from 1 to {MAX_PAGE}")
        key, chosen = object_id(patient_id, "patientId"), _kinds(kinds)
        scope = f"{current_scope().tenant_id}:careHistory:{key}"
        cursors = Cursors(info.context.settings.session_secret, scope)
        behind = cursors.read(after) if after is not None else None
        position = (behind[0], behind[1]) if behind is not None else None
        if not chosen:
            return []
        rows = await service.timeline(key, chosen, first=first, after=position)
        if not rows:  # of nobody, or of somebody who was merged
            present = await redirects.present_id(key)
            rows = await service.timeline(present, chosen, first=first, after=position) if present != key else []
        return shown([{**row, "cursor": cursors.make([row["at"], row["_id"]])} for row in rows])
