"""The enums and parts of prescriptions."""

from __future__ import annotations

from datetime import datetime

import strawberry

from app.graphql.fields import Row, computed, related, row_type, stored
from app.services.pharmacy.dispensing import remaining
from models.medicine import DosageForm
from models.prescription import PrescriptionStatus, RefillStatus, Route, WarningKind
from resolvers.medicines import MedicineType
from resolvers.staff import StaffType
from resolvers.steps import StepType
from resolvers.values import described

described(
    PrescriptionStatus,
    "Where a prescription stands.",
    DRAFT="It is being written, and counts for nothing.",
    ACTIVE="The patient takes it.",
    ON_HOLD="The patient pauses it.",
    COMPLETED="The patient took all of it.",
    STOPPED="The patient is to take it no longer.",
    CANCELLED="It was withdrawn before anything came of it.",
)
described(
    RefillStatus,
    "What became of a request for a refill.",
    REQUESTED="It waits for an answer.",
    APPROVED="It was granted.",
    DECLINED="It was refused.",
    CANCELLED="It was taken back.",
)
described(
    WarningKind,
    "What speaks against a medicine.",
    ALLERGY="The patient is allergic to it.",
    SAME_INGREDIENT="The patient takes the same substance already.",
    SAME_GROUP="The patient takes something of the same chemical group already.",
)
described(
    Route,
    "The way into the body.",
    ORAL="By mouth.",
    SUBLINGUAL="Under the tongue.",
    BUCCAL="In the cheek.",
    INHALED="Inhaled.",
    NASAL="Into the nose.",
    OPHTHALMIC="Into the eye.",
    OTIC="Into the ear.",
    TOPICAL="On the skin.",
    TRANSDERMAL="Through the skin.",
    RECTAL="Into the rectum.",
    VAGINAL="Into the vagina.",
    INTRAVENOUS="Into a vein.",
    INTRAMUSCULAR="Into a muscle.",
    SUBCUTANEOUS="Under the skin.",
    OTHER="Another one.",
)


COUNTED = ("quantity", "refills", "refills_left", "dispensed")
"""The columns of a prescription's item from which it follows how much of it may still be handed out."""


def dispensed(row: Row) -> int:
    """How much of a prescription's item was handed out."""
    return int(row.get("dispensed") or 0)


@row_type("PrescriptionItem", description="One medicine and how it is taken, as it was when it was prescribed.")
class PrescriptionItemType:
    number: int = stored(description="Its place on the prescription, from 1.")
    name: str = stored(description="The medicine's name.")
    form: DosageForm = stored(description="What it is given as.")
    strength: str | None = stored(description="How much is in it.")
    atc_code: str | None = stored(description="Code of the WHO's ATC classification.")
    dose: str = stored(description="How much at a time.")
    route: Route = stored(description="The way into the body.")
    frequency: str = stored(description="How often.")
    as_needed: bool = stored(description="Whether it is taken only when it is needed.")
    duration_days: int | None = stored(description="For how many days.")
    quantity: int = stored(description="How much is handed out at a time.")
    refills: int = stored(description="How often it may be handed out again.")
    refills_left: int = stored(description="How often it still may.")
    dispensed: int = computed("dispensed", by=dispensed, description="How much was handed out, less what came back.")
    remaining: int = computed(
        *COUNTED, by=remaining, description="How much may still be handed out, as far as refills are granted."
    )
    instructions: str | None = stored(description="What else the patient is to know.")
    medicine: MedicineType | None = related(
        lambda: MedicineType, key="medicine_id", description="The entry of the catalogue. Needs `medicine:read`."
    )


@row_type("PrescriptionWarning", description="Something that speaks against a medicine for this patient.")
class PrescriptionWarningType:
    key: str = stored(description="Send it back, with the reason to go on, when signing.")
    kind: WarningKind = stored(description="What speaks against it.")
    item_number: int = stored(description="The item that it is about.")
    text: str = stored(description="The warning in words.")
    severe: bool = stored(description="Whether life may be in danger.")


@row_type("AcknowledgedWarning", description="A warning that whoever signed went over.")
class AcknowledgedWarningType:
    key: str = stored(description="The warning's key.")
    kind: WarningKind = stored(description="What spoke against it.")
    item_number: int = stored(description="The item that it was about.")
    text: str = stored(description="The warning in words.")
    severe: bool = stored(description="Whether life might be in danger.")
    reason: str = stored(description="Why they went on.")
    at: datetime = stored(description="When.")
    by: StaffType | None = related(lambda: StaffType, key="by", foreign="user_id", description="Who.")


@row_type("PrescriptionStep", description="One step in a prescription's life.")
class PrescriptionStepType(StepType):
    status: PrescriptionStatus = stored(description="Where it stood from then on.")


@row_type("RefillRequestStep", description="One step in the life of a request for a refill.")
class RefillRequestStepType(StepType):
    status: RefillStatus = stored(description="What had become of it from then on.")


@strawberry.input(name="PrescriptionItemInput", description="One medicine and how it is to be taken.")
class PrescriptionItemInput:
    medicine_id: strawberry.ID = strawberry.field(description="The medicine, of the clinic's catalogue.")
    dose: str = strawberry.field(description="How much at a time, such as `1 tablet`.")
    frequency: str = strawberry.field(description="How often, such as `3 times a day`.")
    quantity: int = strawberry.field(description="How much is handed out at a time, in the medicine's own units.")
    route: Route = strawberry.field(default=Route.ORAL, description="The way into the body.")
    as_needed: bool = strawberry.field(default=False, description="Whether it is taken only when it is needed.")
    duration_days: int | None = strawberry.field(default=None, description="For how many days.")
    refills: int = strawberry.field(default=0, description="How often it may be handed out again.")
    instructions: str | None = strawberry.field(default=None, description="What else the patient is to know.")
