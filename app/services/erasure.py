"""Erases a patient at a clinic (GDPR, article 17): what the law does not hold goes, and a proof without a name stays.

What the clinic did with a patient is kept for the years of its settings, as laws on medical records ask; all else goes
at once. While something is held, the patient is out of the lists and of the portal, contact data that no other clinic
needs is gone, and the rest follows by itself when its time is over. Another clinic's records are never touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import after_commit, in_transaction
from app.errors import InvalidState, NotFound, ValidationFailed
from app.services.audit import record
from app.services.changes import Row, row_of
from app.services.documents.removal import delete_doomed, doom_files
from app.services.merging.redirects import all_ids
from app.services.patient_export import models_about_patients
from app.services.patients import require_not_erased
from app.services.removal_notes import note_erasure
from app.services.settings import clinic_settings
from app.tenancy.scope import current_scope
from models import Appointment, DocumentContent, Erasure, Patient, PatientRecord
from models.appointment import AppointmentStatus
from models.base import TenantDocument
from models.erasure import ErasureBasis, ErasureStatus
from models.patient import RecordStatus
from models.prescription import PrescriptionStatus
from models.values import now

IDENTITY = PatientRecord.guarded_name()
"""Kept for as long as anything else is: without it nobody could tell whose the rest is."""
CONTENTS = DocumentContent.guarded_name()
PROOF = Erasure.guarded_name()
COMPLETED_AT_ONCE = 100
CONTACT = ("phone", "phone_key", "email", "address", "contacts")
"""What the clinic needs of the shared demographics to reach somebody, and not to keep records of them."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the law holds: documents for the clinic's years from `since`, if `only` is so of them."""

    since: str
    only: Mapping[str, Any] = field(default_factory=dict)


_TREATED = [AppointmentStatus.CHECKED_IN.value, AppointmentStatus.FULFILLED.value]
HELD: Mapping[str, Held] = {
    "appointments": Held("starts_at", {"status": {"$in": _TREATED}}),
    "lab_results": Held("reported_at"),
    "consents": Held("valid_until"),
    "break_glass": Held("opened_at"),
    "invoices": Held("issued_at"),
    "credit_notes": Held("issued_at"),
    "payments": Held("received_at"),
    "documents": Held("last_uploaded_at"),
    "document_contents": Held("created_at"),
    "conversations": Held("last_message_at"),
    "messages": Held("created_at"),
    "tickets": Held("last_activity_at"),
    "ticket_comments": Held("created_at"),
    "visits": Held("started_at"),
    "medical_records": Held("updated_at"),
    "prescriptions": Held("prescribed_at", {"status": {"$ne": PrescriptionStatus.DRAFT.value}}),
    "refill_requests": Held("requested_at"),
    "lab_orders": Held("ordered_at"),
    "imaging": Held("ordered_at"),
    "procedures": Held("planned_at"),
    "referrals": Held("written_at"),
    "dispensings": Held("dispensed_at"),
    "stock_movements": Held("at"),
}
UNNAMED: Mapping[str, tuple[str, ...]] = {
    "stock_movements": ("patient_id", "prescription_id", "prescription_item", "dispensing_id", "reason"),
}
"""Held, and afterwards kept without these fields, that is without the patient: stock is the sum of its movements."""
AT_ONCE = frozenset(
    {
        "appointment_series",
        "lab_messages",
        "patient_memberships",
        "patient_merges",
        "notifications",
        "patient_versions",
        "portal_accounts",
        "portal_codes",
        "portal_sessions",
        "portal_tickets",
        "queue_entries",
        "quotes",
        "received_shares",
        "share_codes",
    }
)
"""Every kind of document about patients stands in one of these; the tests see to it."""
_UPCOMING = [
    AppointmentStatus.HELD.value,
    AppointmentStatus.REQUESTED.value,
    AppointmentStatus.BOOKED.value,
]


@dataclass(frozen=True, slots=True)
class Preview:
    """What an erasure would do now: documents per kind that go, that stay, and until when the last of them does."""

    erased: dict[str, int]
    retained: dict[str, int]
    retained_until: datetime | None


def digest_of(patient_id: ObjectId) -> str:
    """By which the clinic in scope can show, given the id, that this patient was erased."""
    return sha256(f"{current_scope().tenant_id}:{patient_id}".encode()).hexdigest()


async def preview(patient_id: ObjectId) -> Preview:
    """Counts. Changes nothing. Raises NOT_FOUND at `patientId`."""
    await _record_of(patient_id, "patientId")
    return await _foreseen(patient_id, (await clinic_settings()).retention_years, None)


async def _foreseen(patient_id: ObjectId, years: int, session: AsyncClientSession | None) -> Preview:
    erased: dict[str, int] = {}
    retained: dict[str, int] = {}
    until: list[datetime] = []
    for model in _kinds():
        name, about = model.guarded_name(), {str(model.patient_column): patient_id}
        everything = await model.guarded().count_documents(about, session=session)
        held = _held(name, years)
        kept = await model.rows({**about, **held}, projection=[HELD[name].since], session=session) if held else []
        until += [_years_after(row[HELD[name].since], years) for row in kept]
        erased[name], retained[name] = everything - len(kept), len(kept)
    if until:
        retained[IDENTITY], erased[IDENTITY] = 1, 0
    return Preview(_counted(erased), _counted(retained), max(until, default=None))


async def erase(patient_id: ObjectId, basis: ErasureBasis, code: str) -> Row:
    """Erases the patient, whose own `code` here confirms who is meant; answers with the proof's row.

    Raises NOT_FOUND at `input.patientId`, VALIDATION_FAILED at `input.code`, and INVALID_STATE while appointments are
    to come, or when the patient was erased before and only the law holds the rest.
    """
    kept = await _record_of(patient_id, "input.patientId")
    if kept["code"].casefold() != code.strip().casefold():
        raise ValidationFailed.at("input.code", "is not this patient's code here")
    await require_not_erased(patient_id)
    upcoming = {"patient_id": patient_id, "status": {"$in": _UPCOMING}, "ends_at": {"$gt": now()}}
    if await Appointment.guarded().count_documents(upcoming):
        raise InvalidState("There are appointments to come: cancel them first.")
    _, *former = await all_ids(patient_id)
    proof = Erasure(
        digest=digest_of(patient_id),
        former_digests=[digest_of(one) for one in former],
        basis=basis,
        status=ErasureStatus.PARTIAL,
        requested_by=_actor(),
    )
    return await _carry_out(patient_id, proof)


def _actor() -> Any:
    actor = current_scope().actor
    return actor.user_id if actor else None


async def erase_again(patient_id: ObjectId, basis: ErasureBasis) -> None:
    """Erases a patient who was erased before and came back with a backup; whatever else is known of them goes too, what
    is to come included."""
    proof = Erasure(digest=digest_of(patient_id), basis=basis, status=ErasureStatus.PARTIAL)
    await _carry_out(patient_id, proof)


async def erase_what_is_due() -> int:
    """Finishes, at the clinic in scope, erasures of which the law holds nothing any more; how many, at most
    `COMPLETED_AT_ONCE`."""
    due = (
        await Erasure.find({"status": ErasureStatus.PARTIAL.value, "retained_until": {"$lte": now()}})
        .limit(COMPLETED_AT_ONCE)
        .to_list()
    )
    for proof in due:
        if proof.patient_id is not None:
            await _carry_out(proof.patient_id, proof)
    return len(due)


async def _carry_out(patient_id: ObjectId, proof: Erasure) -> Row:
    """Judges and deletes in one transaction: what is held by law meanwhile is seen, or makes it start anew."""
    years = (await clinic_settings()).retention_years

    async def work(session: AsyncClientSession) -> Erasure:
        values = _told(proof, patient_id, await _foreseen(patient_id, years, session))
        complete = values.completed_at is not None
        await _delete(patient_id, years, complete=complete, session=session)
        if complete:
            await Patient.guarded().leave(patient_id, session=session)
        else:
            await _restrict(patient_id, session)
        await (values.insert(session=session) if proof.id is None else values.replace(session=session))
        await record("patient.erase", subject=values, patients=[patient_id], session=session)
        after_commit(session, "erased files", delete_doomed)
        return values

    values = await in_transaction(work)
    if values.completed_at is not None:  # what a request that was still under way has added meanwhile
        await _delete(patient_id, years, complete=True, session=None)
    await note_erasure(current_scope().tenant_id, values)
    return row_of(values)


def _told(proof: Erasure, patient_id: ObjectId, foreseen: Preview) -> Erasure:
    """The proof once the foreseen is done."""
    complete = not foreseen.retained
    return proof.model_copy(
        update={
            "patient_id": None if complete else patient_id,
            "status": ErasureStatus.COMPLETE if complete else ErasureStatus.PARTIAL,
            "erased": _sum(proof.erased, foreseen.erased),
            "retained": foreseen.retained,
            "retained_until": foreseen.retained_until,
            "completed_at": now() if complete else None,
            "updated_at": now(),
        }
    )


async def _delete(patient_id: ObjectId, years: int, *, complete: bool, session: AsyncClientSession | None) -> None:
    for model in _kinds():
        name, about = model.guarded_name(), {str(model.patient_column): patient_id}
        if name == IDENTITY and not complete:
            continue
        held = {} if complete else _held(name, years)
        going = {**about, "$nor": [held]} if held else about
        if name in UNNAMED:
            await model.guarded().update_many(going, {"$unset": dict.fromkeys(UNNAMED[name], "")}, session=session)
            continue
        if name == CONTENTS:
            await doom_files(going, session)
        await model.guarded().delete_many(going, session=session)


async def _restrict(patient_id: ObjectId, session: AsyncClientSession) -> None:
    """Takes the patient out of the lists, and the ways to reach them off demographics that nobody shares."""
    await PatientRecord.guarded().update_one(
        {"patient_id": patient_id},
        {"$set": {"status": RecordStatus.ARCHIVED.value, "archived_at": now()}, "$inc": {"version": 1}},
        session=session,
    )
    await Patient.guarded().archive(patient_id, session=session)
    await Patient.guarded().strip(patient_id, CONTACT, session=session)


async def _record_of(patient_id: ObjectId, path: str) -> Row:
    rows = await PatientRecord.rows({"patient_id": patient_id}, projection={"code": 1}, limit=1)
    if not rows:
        raise NotFound.at(path)
    return rows[0]


def _kinds() -> list[type[TenantDocument]]:
    return [model for model in models_about_patients() if model.guarded_name() != PROOF]


def _held(name: str, years: int) -> Row:
    """The filter for documents that the law still holds; an empty one for kinds that it never does."""
    rule = HELD.get(name)
    return {**rule.only, rule.since: {"$gte": _years_after(now(), -years)}} if rule else {}


def _years_after(moment: datetime, years: int) -> datetime:
    """The same instant of another year; the whole 29 February becomes the first of 1 March where there is none, so
    that what is counted forwards and backwards stays in order."""
    try:
        return moment.replace(year=moment.year + years)
    except ValueError:
        return datetime(moment.year + years, 3, 1, tzinfo=moment.tzinfo)


def _counted(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}
