"""Emergency access to other clinics' records of a patient, and its review."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry

from app.errors import ValidationFailed
from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import related, row_type, stored
from app.graphql.inputs import object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services.sharing import emergency
from models import BreakGlass
from models.consent import ShareCategory
from models.sharing import BreakGlassReason, BreakGlassSide, ReviewOutcome
from resolvers.base import Resolver, shown
from resolvers.patients import PatientType
from resolvers.values import described

described(
    BreakGlassReason,
    "Why somebody looked without being asked.",
    LIFE_THREATENING="The patient's life is in danger.",
    UNCONSCIOUS="The patient cannot be asked.",
    URGENT_TREATMENT="Treatment cannot wait for a consent.",
    PUBLIC_HEALTH="Others' health is in danger.",
    LEGAL_DUTY="The law asks for it.",
)
described(
    BreakGlassSide,
    "Whose glass was broken.",
    OPENED_HERE="Somebody of this clinic opened other clinics' records.",
    OPENED_ELSEWHERE="Somebody of another clinic opened this clinic's records.",
)
described(
    ReviewOutcome,
    "What the reviewer found.",
    JUSTIFIED="It was right to look.",
    UNJUSTIFIED="It was not.",
    UNCLEAR="More must be asked.",
)


@row_type(
    "BreakGlass",
    model=BreakGlass,
    read=Permission.AUDIT_LOG_READ,
    description="Emergency access of one person to one patient's records at other clinics.",
)
class BreakGlassType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when reviewing.")
    side: BreakGlassSide = stored(description="Whose glass was broken.")
    patient: PatientType | None = related(lambda: PatientType, key="patient_id", description="The patient.")
    person_name: str = stored(description="Who looked.")
    clinic_name: str = stored(description="At which clinic they work.")
    reason: BreakGlassReason = stored(description="Why.")
    note: str = stored(description="Why, in their words.")
    categories: list[ShareCategory] = stored(description="What was opened.")
    opened_at: datetime = stored(description="From when.")
    ends_at: datetime = stored(description="Until when, at the latest.")
    ended_at: datetime | None = stored(description="When it was ended before.")
    outcome: ReviewOutcome | None = stored(description="What the reviewer found; null until it is reviewed.")
    review_note: str | None = stored(description="What the reviewer wrote.")
    reviewed_at: datetime | None = stored(description="When it was reviewed.")


@strawberry.input(description="Which emergency access to list. All conditions must hold.")
class BreakGlassFilter:
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="To this patient's records.")
    side: BreakGlassSide | None = strawberry.field(default=None, description="Whose glass was broken.")
    reviewed: bool | None = strawberry.field(default=None, description="Reviewed, or waiting for it.")


@strawberry.input(description="Emergency access to a patient's records at other clinics. Name the patient once.")
class BreakGlassInput:
    reason: BreakGlassReason = strawberry.field(description="Why.")
    note: str = strawberry.field(description="Why, in your words.")
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="The patient.")
    patient_code: str | None = strawberry.field(default=None, description="This clinic's code of the patient.")
    categories: list[ShareCategory] | None = strawberry.field(
        default=None, description="What must be seen; everything, unless some are named."
    )


@strawberry.input(description="Emergency access to be ended before its time.")
class EndBreakGlassInput:
    id: strawberry.ID = strawberry.field(description="The access.")


@strawberry.input(description="What a reviewer found.")
class ReviewBreakGlassInput:
    id: strawberry.ID = strawberry.field(description="The access.")
    version: int = strawberry.field(description="The version that the step is based on.")
    outcome: ReviewOutcome = strawberry.field(description="What was found.")
    note: str = strawberry.field(description="In words.")


@strawberry.type
class EmergencyQuery(Resolver):
    @field(Permission.AUDIT_LOG_READ, description="Emergency access from this clinic and to it, the latest first.")
    async def break_glass_reviews(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: BreakGlassFilter | None = None
    ) -> Connection[BreakGlassType]:
        chosen = filter or BreakGlassFilter()
        where: dict[str, Any] = {} if chosen.side is None else {"side": chosen.side.value}
        if chosen.reviewed is not None:
            where["reviewed_at"] = {"$ne": None} if chosen.reviewed else None
        if chosen.patient_id is not None:
            where["patient_id"] = object_id(chosen.patient_id, "filter.patientId")
        sort = [("opened_at", -1), ("_id", -1)]
        return await self.page(info, BreakGlassType, where=where, sort=sort, first=first, after=after)


@strawberry.type
class EmergencyMutation(Resolver):
    @field(
        Permission.PATIENT_BREAK_GLASS,
        description="Opens other clinics' records of a patient to you, for 60 minutes. It is reviewed at both clinics.",
    )
    async def break_glass(self, info: Info, input: BreakGlassInput) -> BreakGlassType:
        if (input.patient_id is None) is (input.patient_code is None):
            raise ValidationFailed.at("input.patientId", "give this or patientCode")
        if input.patient_id is not None:
            patient = object_id(input.patient_id, "input.patientId")
        else:
            patient = await emergency.patient_by_code(input.patient_code or "")
        values = {"reason": input.reason, "note": input.note, "categories": emergency.named(input.categories)}
        return shown(await emergency.break_glass(patient, values, info.context.settings))

    @field(Permission.PATIENT_BREAK_GLASS, description="Ends emergency access before its time.", without_plan=True)
    async def end_break_glass(self, input: EndBreakGlassInput) -> BreakGlassType:
        return shown(await emergency.end(object_id(input.id, "input.id")))

    @field(
        Permission.STAFF_MANAGE,
        description="Reviews emergency access of somebody else; what is open ends with it.",
        without_plan=True,
    )
    async def review_break_glass(self, input: ReviewBreakGlassInput) -> BreakGlassType:
        key = object_id(input.id, "input.id")
        return shown(await emergency.review(key, input.version, input.outcome, input.note))
