"""Booking, moving and cancelling appointments. Each is one write, and a unique index lets one of several racers win."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import in_transaction
from app.errors import Forbidden, InvalidState, SlotTaken
from app.permissions import Permission
from app.services.appointment_steps import actor_id, change, compare_and_set, refuse, step, stored
from app.services.changes import Row, build, checked, row_of
from app.services.idempotency import mark_of, once
from app.services.scheduling.claims import Lane
from app.services.scheduling.plan import Plan, alternatives, planned
from app.services.scheduling.rekey import keep_up
from app.tenancy.scope import current_scope
from models import Appointment
from models.appointment import MOVABLE, TRANSITIONS, AppointmentStatus, HistoryEntry, RequestMark

MAX_STEPS = 500
"""So many changes one appointment may see: it bounds the history that it carries."""

_CANCELLABLE = frozenset(state for state, after in TRANSITIONS.items() if AppointmentStatus.CANCELLED in after)
_WAITING = frozenset({AppointmentStatus.REQUESTED})
_BEGINS = {AppointmentStatus.BOOKED: "booked", AppointmentStatus.REQUESTED: "requested"}
_PARTIES = ("doctor_id", "patient_id", "room_id", "service_id")
_TEXTS = ("reason", "notes", "overbook_reason")
Admit = Callable[[AsyncClientSession], Awaitable[None]]
"""Runs in the transaction that stores a booking, and raises when it must not be."""


class _Taken(SlotTaken):
    """The plan met the unique index; alternatives are looked for once it is known that this is no repeat."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan


async def create(values: Mapping[str, Any], *, key: str | None = None) -> Row:
    """Books an appointment in one insert; answers with its row.

    `values`: `patient_id, doctor_id, starts_at`, and maybe `service_id, room_id, duration_minutes, reason, notes,
    overbook_reason`. Raises SLOT_TAKEN with the next free starts; VALIDATION_FAILED or NOT_FOUND at `input.…`;
    FORBIDDEN when an overbooking is not permitted; IDEMPOTENCY_CONFLICT for a used `key` with another input.
    """
    mark = mark_of("createAppointment", key, values)
    return await _offering(once(Appointment, mark, lambda: _book(values, mark)))


async def create_admitted(
    values: Mapping[str, Any], *, status: AppointmentStatus, admit: Admit, key: str | None = None
) -> Row:
    """As `create`, for patients who book themselves: stored in `status`, in one transaction with what `admit` asks."""
    mark = mark_of("patientBookAppointment", key, values)
    return await _offering(once(Appointment, mark, lambda: _book(values, mark, status, admit)))


async def confirm(appointment_id: ObjectId, version: int) -> Row:
    """Agrees to an appointment that was asked for; answers with its new row.

    Raises INVALID_STATE when it is not waiting for that, CONFLICT for an older version.
    """
    row = await stored(appointment_id)
    refuse(row, _WAITING, version)
    booked = AppointmentStatus.BOOKED
    changed = change({"status": booked.value}, step("confirmed", booked, row["starts_at"], None))
    return await compare_and_set(row, version, _WAITING, changed)


async def reschedule(
    appointment_id: ObjectId, version: int, values: Mapping[str, Any], *, key: str | None = None
) -> Row:
    """Moves an appointment in one update; answers with its new row. When it cannot, all stays as it was.

    `values`: `starts_at`, and maybe `duration_minutes, room_id` (None: no room), `doctor_id`, `reason`. Raises what
    `create` raises, CONFLICT for an older version, INVALID_STATE for one that can no longer be moved.
    """
    asked = {**values, "id": appointment_id, "version": version}
    mark = mark_of("rescheduleAppointment", key, asked)
    return await _offering(once(Appointment, mark, lambda: _move(appointment_id, version, values, mark)))


async def cancel(appointment_id: ObjectId, version: int | None, reason: str) -> Row:
    """Calls an appointment off and frees its time; answers with its new row.

    Raises INVALID_STATE when it is over or cancelled already, CONFLICT for an older version.
    """
    reason = checked(HistoryEntry, {"reason": reason})["reason"]
    row = await stored(appointment_id)
    refuse(row, _CANCELLABLE, version)
    changed = change(
        {"status": AppointmentStatus.CANCELLED.value, "cancel_reason": reason},
        step("cancelled", AppointmentStatus.CANCELLED, row["starts_at"], reason),
    )
    # The version read counts even when the client named none: the history then tells the time that was cancelled.
    return await compare_and_set(row, version, _CANCELLABLE, {**changed, "$unset": {"claims": ""}})


# --- booking --------------------------------------------------------------------------------------


async def _book(
    values: Mapping[str, Any],
    mark: RequestMark | None,
    status: AppointmentStatus = AppointmentStatus.BOOKED,
    admit: Admit | None = None,
) -> Row:
    texts = checked(Appointment, {name: values[name] for name in _TEXTS if name in values})
    lane = _lane(texts.get("overbook_reason"))
    ids = {name: values.get(name) for name in _PARTIES}
    start = values["starts_at"]
    plan = await planned(ids, ids, start, values.get("duration_minutes"), lane)
    appointment: Appointment = build(
        Appointment,
        {
            "id": ObjectId(),
            **texts,
            **ids,
            "starts_at": plan.start,
            "ends_at": plan.end,
            "status": status,
            "claims": plan.claims,
            "requests": [mark] if mark else [],
            "history": [step(_BEGINS[status], status, start, texts.get("overbook_reason"))],
            "created_by": actor_id(),
        },
    )
    row = row_of(appointment)
    try:
        await _store(row, admit)
    except DuplicateKeyError as error:
        raise _taken_or(error, plan) from None
    if not await keep_up(appointment.key, plan.diary.doctor_id, plan.person):
        raise _Taken(plan)
    return row


async def _store(row: Row, admit: Admit | None) -> None:
    """One insert: the rules of the document were applied when it was built, the claims are the index's to judge."""
    if admit is None:
        await Appointment.guarded().insert_shared(row)
        return

    async def work(session: AsyncClientSession) -> None:
        await admit(session)
        await Appointment.guarded().insert_one(row, session=session)

    await in_transaction(work)


def _lane(overbook_reason: str | None) -> Lane:
    """Raises FORBIDDEN when the actor may not overbook."""
    if overbook_reason is None:
        return "regular"
    if Permission.APPOINTMENT_OVERBOOK not in current_scope().signed_in.permissions:
        raise Forbidden(f"This needs the permission {Permission.APPOINTMENT_OVERBOOK.value}.")
    return "overbook"


# --- moving ---------------------------------------------------------------------------------------


async def _move(appointment_id: ObjectId, version: int, values: Mapping[str, Any], mark: RequestMark | None) -> Row:
    reason = checked(HistoryEntry, {"reason": values.get("reason")})["reason"]
    row = await stored(appointment_id)
    refuse(row, MOVABLE, version)
    if len(row["history"]) >= MAX_STEPS:
        raise InvalidState("The appointment was changed too often. Cancel it and book anew.")
    ids = {name: values.get(name, row.get(name)) for name in _PARTIES}
    chosen = {name: ids[name] for name in ("doctor_id", "room_id")}
    minutes = values.get("duration_minutes", (row["ends_at"] - row["starts_at"]) // timedelta(minutes=1))
    lane = _lane(row.get("overbook_reason"))
    own = frozenset(row.get("claims") or ())
    plan = await planned(ids, chosen, values["starts_at"], minutes, lane, own)
    taken = step("rescheduled", AppointmentStatus(row["status"]), plan.start, reason)
    moved = change(_times(plan), taken, mark)
    try:
        return await compare_and_set(row, version, MOVABLE, moved, mark)
    except DuplicateKeyError as error:
        raise _taken_or(error, plan) from None


def _times(plan: Plan) -> Row:
    return {
        "starts_at": plan.start,
        "ends_at": plan.end,
        "doctor_id": plan.diary.doctor_id,
        "room_id": plan.room_id,
        "claims": plan.claims,
    }


# --- taken ----------------------------------------------------------------------------------------


def _taken_or(error: DuplicateKeyError, plan: Plan) -> Exception:
    """SLOT_TAKEN when the claims collided; the error itself when the request's mark did."""
    pattern = (error.details or {}).get("keyPattern", {})
    return _Taken(plan) if "claims" in pattern else error


async def _offering(work: Awaitable[Row]) -> Row:
    """What `work` gives; when its time was taken, SLOT_TAKEN with the next free starts."""
    try:
        return await work
    except _Taken as taken:
        raise SlotTaken(await alternatives(taken.plan)) from None
