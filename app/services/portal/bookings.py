"""What patients may book and cancel themselves, by the clinic's own rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import InvalidState, NotFound, SlotTaken, Unauthenticated, ValidationFailed
from app.services import booking
from app.services.availability import free_times
from app.services.changes import Row
from app.services.scheduling.diary import clinic_zone
from app.services.settings import clinic_settings
from app.tenancy.scope import current_scope
from models import Appointment, PortalAccount, Settings
from models.appointment import MOVABLE, AppointmentStatus
from models.settings import PortalBooking
from models.values import now

CANCELLED = "Cancelled by the patient."
_OPEN = [status.value for status in MOVABLE]


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Between when and when a patient may book."""

    first: datetime
    last_day: date

    def admits(self, start: datetime) -> bool:
        return start >= self.first and start.astimezone(clinic_zone()).date() <= self.last_day


def _bounds(rules: Settings) -> _Bounds:
    """Raises INVALID_STATE when the clinic takes no bookings in the portal."""
    if rules.portal_booking is PortalBooking.OFF:
        raise InvalidState("The clinic takes no bookings in the portal.")
    moment = now()
    days = timedelta(days=min(rules.portal_horizon_days, rules.booking_horizon_days))
    last_day = moment.astimezone(clinic_zone()).date() + days
    return _Bounds(moment + timedelta(hours=rules.portal_notice_hours), last_day)


async def available(doctor_id: ObjectId, first: date, last: date, service_id: ObjectId | None) -> list[Row]:
    """The times that a patient may book with a doctor; as `availability.free_times`, within the clinic's bounds."""
    bounds = _bounds(await clinic_settings())
    free = await free_times(doctor_id, first, last, service_id=service_id)
    return [slot for slot in free if bounds.admits(slot["starts_at"])]


async def book(values: Mapping[str, Any], *, key: str | None) -> Row:
    """Books, or asks for, an appointment of the patient who is signed in; answers with its row.

    `values`: `doctor_id, starts_at`, and maybe `service_id, reason`. Raises what `booking.create` raises;
    VALIDATION_FAILED at `input.startsAt` for a time outside of the clinic's bounds; INVALID_STATE when it takes no
    bookings, or the patient has as many to come as they may.
    """
    patient_id = current_scope().signed_in_patient.patient_id
    rules = await clinic_settings()
    bounds = _bounds(rules)

    async def admit(session: AsyncClientSession) -> None:
        if not bounds.admits(values["starts_at"]):
            why = f"must be at least {rules.portal_notice_hours} hours ahead, and not after {bounds.last_day}"
            raise ValidationFailed.at("input.startsAt", why)
        await _one_more(patient_id, rules.portal_open_bookings, session)

    status = AppointmentStatus.BOOKED if rules.portal_booking is PortalBooking.BOOK else AppointmentStatus.REQUESTED
    asked = {**values, "patient_id": patient_id}
    try:
        return await booking.create_admitted(asked, status=status, admit=admit, key=key)
    except SlotTaken as taken:
        raise SlotTaken([start for start in taken.alternatives if bounds.admits(start)]) from None


async def _one_more(patient_id: ObjectId, most: int, session: AsyncClientSession) -> None:
    """Raises INVALID_STATE when the patient has `most` appointments to come.

    The transaction's snapshot alone would let two bookings at once both see room for one: they collide on the account.
    """
    account = await PortalAccount.guarded().update_one(
        {"patient_id": patient_id, "enabled": True}, {"$inc": {"turn": 1}}, session=session
    )
    if not account.matched_count:
        raise Unauthenticated
    to_come = {"patient_id": patient_id, "status": {"$in": _OPEN}, "starts_at": {"$gt": now()}}
    if await Appointment.guarded().count_documents(to_come, limit=most, session=session) >= most:
        raise InvalidState(f"You have {most} appointments to come. Cancel one first, or call the clinic.")


async def cancel(appointment_id: ObjectId, version: int | None, reason: str | None) -> Row:
    """Calls off an appointment of the patient who is signed in; answers with its new row.

    Raises NOT_FOUND at `input.id` alike for another patient's and for none, CONFLICT at `input.version`,
    INVALID_STATE when it is over, cancelled, or too near.
    """
    mine = {"_id": appointment_id, "patient_id": current_scope().signed_in_patient.patient_id}
    shown = {"version": 1, "starts_at": 1, "status": 1}
    rows = await Appointment.rows(
        {**mine, "status": {"$ne": AppointmentStatus.ENTERED_IN_ERROR.value}}, projection=shown, limit=1
    )
    if not rows:
        raise NotFound.at("input.id")
    if rows[0]["status"] in _OPEN:
        await _refuse_late(rows[0]["starts_at"])
    elif rows[0]["status"] == AppointmentStatus.CHECKED_IN:
        raise InvalidState("You are at the clinic already: tell the desk.")
    # The version just read counts: an appointment that is moved meanwhile is judged anew.
    return await booking.cancel(appointment_id, version or rows[0]["version"], reason or CANCELLED)


async def _refuse_late(starts_at: datetime) -> None:
    hours = (await clinic_settings()).portal_cancel_hours
    if starts_at - timedelta(hours=hours) <= now():
        raise InvalidState(f"It can be cancelled here until {hours} hours before it starts. Call the clinic.")
