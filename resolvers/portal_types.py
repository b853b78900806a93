"""What patients see of themselves: types of their own, so that nothing said of a staff type is ever shown to them."""

from __future__ import annotations

from datetime import date, datetime
from enum import Enum
from functools import cache

import strawberry
from strawberry.utils.str_converters import to_camel_case

from app.graphql.fields import Row, computed, related, row_type, stored
from app.services.sharing.consents import state_of
from app.tenancy.trail import OK
from models import (
    Appointment,
    AuditEntry,
    Consent,
    ConsentTemplate,
    LabResult,
    Patient,
    PatientRecord,
    PortalAccount,
    PortalSession,
    Service,
    Staff,
)
from models.appointment import AppointmentStatus
from models.consent import ConsentMethod, ConsentState, RevokedBy, ShareCategory, SharePurpose
from models.patient import Sex
from models.portal import PortalChannel, SignInMethod
from models.staff import StaffKind
from models.tenant import Language
from resolvers.audit import AuditActor, actor_of
from resolvers.consents import LocalTextType
from resolvers.lab import LabObservationType, LabPanelType
from resolvers.patients import full_name
from resolvers.values import AddressType, MoneyType, day, described

described(
    PortalChannel,
    "The way in which a patient's one-time codes are sent.",
    EMAIL="By e-mail.",
    SMS="As a text message, where the clinic can send them.",
)
described(
    SignInMethod,
    "What a patient's session was opened with.",
    CODE="A one-time code that was sent.",
    DESK_CODE="A one-time code from the desk.",
    QR="A QR code.",
)


# --- themselves ---------------------------------------------------------------------------------------------------


@row_type("PortalRecord", model=PatientRecord, description="What the clinic keeps of its patient.")
class PortalRecordType:
    code: str = stored(description="The clinic's code of the patient, by which they sign in.")
    insurer: str | None = stored(description="Who insures them.")
    insurance_number: str | None = stored(description="Their number there.")
    registered_at: datetime = stored("created_at", description="When they came to this clinic.")


@row_type("PortalAccess", model=PortalAccount, description="The patient's access to the portal.")
class PortalAccessType:
    channel: PortalChannel = stored(description="How one-time codes reach them.")
    last_sign_in_at: datetime | None = stored(description="When they last signed in.")


@row_type("PortalPatient", model=Patient, description="The patient who is signed in.")
class PortalPatientType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    name: str = computed("given_name", "family_name", by=full_name, description="Full name.")
    given_name: str = stored(description="Given name.")
    family_name: str = stored(description="Family name.")
    birth_date: date | None = day("birth_date", "Day of birth.")
    sex: Sex = stored(description="Administrative sex.")
    phone: str | None = stored(description="Phone number.")
    email: str | None = stored(description="E-mail address.")
    address: AddressType = stored(description="Postal address.")
    record: PortalRecordType | None = related(
        lambda: PortalRecordType, key="_id", foreign="patient_id", description="What the clinic keeps."
    )
    access: PortalAccessType | None = related(
        lambda: PortalAccessType, key="_id", foreign="patient_id", description="Their access to the portal."
    )


@row_type("PortalSession", model=PortalSession, description="A device on which the patient is signed in.")
class PortalSessionType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    method: SignInMethod = stored(description="What it was opened with.")
    created_at: datetime = stored(description="When it was opened.")
    last_seen_at: datetime = stored(description="When it was last used, to the minute.")
    expires_at: datetime = stored(description="When it ends at the latest.")
    address: str = stored(description="The network address that it was opened from.")
    device: str = stored(description="What the browser said it is.")


# --- their care ---------------------------------------------------------------------------------------------------


@row_type("PortalDoctor", model=Staff, description="A doctor of the clinic, as patients see them.")
class PortalDoctorType:
    id: strawberry.ID = stored("_id", description="Opaque id; book by it.")
    name: str = stored(description="Name.")
    title: str | None = stored(description="Title, such as Dr.")
    bio: str | None = stored(description="What the clinic tells patients about them.")


@row_type("PortalService", model=Service, description="What the clinic offers, as patients see it.")
class PortalServiceType:
    id: strawberry.ID = stored("_id", description="Opaque id; book by it.")
    name: str = stored(description="Name.")
    description: str | None = stored(description="What it includes.")
    duration_minutes: int = stored(description="How long it takes.")
    price: MoneyType = stored(description="What it costs.")


@row_type("PortalAppointment", model=Appointment, description="An appointment of the patient.")
class PortalAppointmentType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change.")
    starts_at: datetime = stored(description="When it starts.")
    ends_at: datetime = stored(description="When it ends.")
    status: AppointmentStatus = stored(description="Where it stands.")
    doctor: PortalDoctorType | None = related(lambda: PortalDoctorType, key="doctor_id", description="The doctor.")
    service: PortalServiceType | None = related(
        lambda: PortalServiceType, key="service_id", description="What is to be done."
    )


def _replaced(row: Row) -> bool:
    return row.get("superseded_at") is not None


@row_type("PortalLabResult", model=LabResult, description="What a laboratory found for the patient, once released.")
class PortalLabResultType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    panel: LabPanelType = stored(description="What was ordered.")
    observations: list[LabObservationType] = stored(description="The values.")
    comment: str | None = stored(description="What the laboratory says about it.")
    performed_at: datetime = stored(description="When the sample was examined.")
    replaced: bool = computed("superseded_at", by=_replaced, description="Whether the laboratory has corrected it.")


@row_type("PortalConsentForm", model=ConsentTemplate, description="The words that the patient agreed to.")
class PortalConsentFormType:
    en: LocalTextType = stored(description="In English.")
    es: LocalTextType | None = stored(description="In Spanish.")


@row_type("PortalConsent", model=Consent, description="What the patient agreed to.")
class PortalConsentType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    form: PortalConsentFormType | None = related(
        lambda: PortalConsentFormType, key="consent_template_id", description="The words that were agreed to."
    )
    language: Language = stored(description="The language that was signed.")
    method: ConsentMethod = stored(description="How they agreed.")
    receiver: str | None = stored(
        description="The subdomain of the clinic that may see the data; null for the one where a code is redeemed."
    )
    categories: list[ShareCategory] = stored(description="What may be shared.")
    purpose: SharePurpose = stored(description="What for.")
    valid_from: datetime = stored(description="From when.")
    valid_until: datetime = stored(description="Until when.")
    state: ConsentState = computed(
        "revoked_at", "valid_from", "valid_until", by=state_of, description="Where it stands now."
    )
    revoked_at: datetime | None = stored(description="When it was taken back.")
    revoked_by: RevokedBy | None = stored(description="Who took it back.")


# --- who looked ---------------------------------------------------------------------------------------------------


@strawberry.enum(description="What somebody did with a patient's data.")
class PortalAct(Enum):
    READ = strawberry.enum_value("read", description="Looked at it.")
    CHANGE = strawberry.enum_value("change", description="Changed it, or did something else than look.")


@cache
def _changing() -> frozenset[str]:
    """The names of all mutations, by which the audit calls what they did."""
    from resolvers.schema import MUTATIONS

    return frozenset(to_camel_case(name) for one in MUTATIONS for name in vars(one) if not name.startswith("_"))


def act_of(row: Row) -> PortalAct:
    """Whether an entry tells of a look or of a change: mutations and acts (`noun.verb`) change, unless they read."""
    action: str = row["action"]
    verb = "" if action.startswith("/") else action.partition(".")[2]
    return PortalAct.CHANGE if action in _changing() or verb not in ("", "read") else PortalAct.READ


def _refused(row: Row) -> bool:
    return row["result"] != OK


@row_type("PortalAccessor", model=Staff, description="Somebody of the clinic, as the patient is told of them.")
class PortalAccessorType:
    name: str = stored(description="Name.")
    title: str | None = stored(description="Title, such as Dr.")
    kind: StaffKind = stored(description="What they do at the clinic.")


@row_type(
    "PortalAccessEntry",
    model=AuditEntry,
    description="Somebody looked at the patient's data, or changed it. It tells who and what kind, never what it said.",
)
class PortalAccessEntryType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    at: datetime = stored(description="When.")
    actor: AuditActor = computed(
        "crossed", "operator_entry", "by_patient", "user_id", by=actor_of, description="On whose behalf."
    )
    person: PortalAccessorType | None = related(
        lambda: PortalAccessorType,
        key="user_id",
        foreign="user_id",
        description="Who it was; null for the patient, machines, other clinics, and people without a profile here.",
    )
    act: PortalAct = computed("action", by=act_of, description="Whether they looked or changed.")
    action: str = stored(description="What was done, as the system calls it.")
    kinds: list[str] = stored("collections", description="Which kinds of data it was.")
    refused: bool = computed("result", by=_refused, description="Whether they were refused, or it failed.")
