"""Booking, moving and cancelling appointments. Each is one write, and a unique index lets one of several racers win."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from app.errors import Forbidden, InvalidState, NotFound, SlotTaken
from app.permissions import Permission
from app.services.changes import Row, another_version, build, checked, row_of, storable
from app.services.idempotency import mark_of, once
from app.services.scheduling.claims import Lane
from app.services.scheduling.plan import Plan, alternatives, planned
from app.tenancy.scope import current_scope
from models import Appointment
from models.appointment import MOVABLE, TRANSITIONS, AppointmentStatus, HistoryEntry, RequestMark
from models.values import now

MAX_STEPS = 500
"""So many changes one appointment may see: it bounds the history that it carries."""

_CANCELLABLE = frozenset(state for state, after in TRANSITIONS.items() if AppointmentStatus.CANCELLED in after)
_PARTIES = ("doctor_id", "patient_id", "room_id", "service_id")
_TEXTS = ("reason", "notes", "overbook_reason")


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
    row = await _stored(appointment_id)
    _refuse(row, _CANCELLABLE, version)
    change = _change(
        {"status": AppointmentStatus.CANCELLED.value, "cancel_reason": reason},
        _step("cancelled", AppointmentStatus.CANCELLED, row["starts_at"], reason),
    )
    # The version read counts even when the client named none: the history then tells the time that was cancelled.
    return await _compare_and_set(row, version, _CANCELLABLE, {**change, "$unset": {"claims": ""}})


# --- booking --------------------------------------------------------------------------------------


async def _book(values: Mapping[str, Any], mark: RequestMark | None) -> Row:
    texts = checked(Appointment, {name: values[name] for name in _TEXTS if name in values})
    lane = _lane(texts.get("overbook_reason"))
    ids = {name: values.get(name) for name in _PARTIES}
    start = values["starts_at"]
    plan = await planned(ids, ids, start, values.get("duration_minutes"), lane)
    appointment: Appointment = build(
        Appointment,
        {
            **texts,
            **ids,
            "starts_at": plan.start,
            "ends_at": plan.end,
            "claims": plan.claims,
            "requests": [mark] if mark else [],
            "history": [_step("booked", AppointmentStatus.BOOKED, start, texts.get("overbook_reason"))],
            "created_by": _actor_id(),
        },
    )
    try:
        await appointment.insert()
    except DuplicateKeyError as error:
        raise _taken_or(error, plan) from None
    return row_of(appointment)


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
    row = await _stored(appointment_id)
    _refuse(row, MOVABLE, version)
    if len(row["history"]) >= MAX_STEPS:
        raise InvalidState("The appointment was changed too often. Cancel it and book anew.")
    ids = {name: values.get(name, row.get(name)) for name in _PARTIES}
    chosen = {name: ids[name] for name in ("doctor_id", "room_id")}
    minutes = values.get("duration_minutes", (row["ends_at"] - row["starts_at"]) // timedelta(minutes=1))
    lane = _lane(row.get("overbook_reason"))
    own = frozenset(row.get("claims") or ())
    plan = await planned(ids, chosen, values["starts_at"], minutes, lane, own)
    step = _step("rescheduled", AppointmentStatus(row["status"]), plan.start, reason)
    change = _change(_times(plan), step, mark)
    try:
        return await _compare_and_set(row, version, MOVABLE, change, mark)
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


# --- what changes of an appointment have in common ------------------------------------------------


async def _stored(appointment_id: ObjectId) -> Row:
    rows: list[Row] = await Appointment.rows({"_id": appointment_id}, limit=1)
    if not rows:
        raise NotFound.at("input.id")
    return rows[0]


def _refuse(row: Row, states: frozenset[AppointmentStatus], version: int | None) -> None:
    """Raises INVALID_STATE unless `row` is in one of `states`, CONFLICT unless it has the `version` asked for."""
    status = AppointmentStatus(row["status"])
    if status not in states:
        steps = ", ".join(sorted(step.name for step in TRANSITIONS[status])) or "nothing"
        raise InvalidState(f"The appointment is {status.name}. What may follow: {steps}.")
    if version is not None and version != row["version"]:
        raise another_version()


async def _compare_and_set(
    row: Row,
    version: int | None,
    states: frozenset[AppointmentStatus],
    change: Mapping[str, Any],
    mark: RequestMark | None = None,
) -> Row:
    """Applies `change` if the appointment still is as `row` showed it; else says what is in the way.

    A unique index does not compare a document with itself, so a mark that is here already is looked for by hand.
    """
    asked: Row = {"_id": row["_id"], "version": row["version"], "status": {"$in": [state.value for state in states]}}
    if mark is not None:
        asked["requests.id"] = {"$ne": mark.id}
    stored = await Appointment.guarded().find_one_and_update(asked, change, return_document=ReturnDocument.AFTER)
    if stored is None:
        _refuse(await _stored(row["_id"]), states, version)
        raise another_version()
    return stored


def _change(values: Row, step: HistoryEntry, mark: RequestMark | None = None) -> Row:
    """The update that sets `values`, counts the version up and writes the history row, and the mark if any."""
    pushed = {"history": storable(step)}
    if mark is not None:
        pushed["requests"] = storable(mark)
    return {"$set": {**values, "updated_at": now()}, "$inc": {"version": 1}, "$push": pushed}


def _step(action: str, status: AppointmentStatus, starts_at: datetime, reason: str | None) -> HistoryEntry:
    return HistoryEntry(by=_actor_id(), action=action, status=status, starts_at=starts_at, reason=reason)


def _actor_id() -> Any:
    actor = current_scope().actor
    return actor.user_id if actor is not None else None


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
