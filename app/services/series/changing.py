"""Moving or calling off one appointment of a series, or that one and all that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from bson import ObjectId
from pymongo import UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import Conflict, InvalidState, SeriesTaken
from app.services import booking
from app.services.appointment_steps import change, refuse, step, stored
from app.services.changes import Row, another_version, checked, row_of
from app.services.idempotency import mark_of, once
from app.services.scheduling.diary import clinic_zone
from app.services.scheduling.rekey import moved_under
from app.services.series.booking import MAX_TRIES, PARTIES, committed, refuse_obstructed, rule_of, series_of
from app.services.series.planning import SeriesPlan, planned
from app.services.series.recurrence import shifted
from models import Appointment, AppointmentSeries
from models.appointment import MOVABLE, AppointmentStatus, HistoryEntry, RequestMark
from models.appointment_series import MOST_DATES
from models.values import now

_OPEN = [status.value for status in MOVABLE]


class SeriesScope(StrEnum):
    """How much of a series a change is about."""

    THIS = "this"
    THIS_AND_FOLLOWING = "this_and_following"


async def cancel(appointment_id: ObjectId, version: int | None, scope: SeriesScope, reason: str) -> Row:
    """Calls off an appointment of a series, or it and all that follow, at once; answers with the series' row.

    Raises INVALID_STATE for an appointment of no series or one that is over, CONFLICT for another version.
    """
    reason = checked(HistoryEntry, {"reason": reason})["reason"]
    pivot = await _pivot(appointment_id)
    if scope is SeriesScope.THIS:
        await booking.cancel(appointment_id, version, reason)
        return await _series(pivot["series_id"])
    refuse(pivot, MOVABLE, version)
    cancelled = AppointmentStatus.CANCELLED

    async def work(session: AsyncClientSession) -> Row:
        rows = await _following(pivot, session)
        updates = []
        for row in rows:
            values = {"status": cancelled.value, "cancel_reason": reason}
            update = change(values, step("cancelled", cancelled, row["starts_at"], reason))
            updates.append(_held_to(row, {**update, "$unset": {"claims": ""}}))
        await _all(updates, session)
        return await _end(pivot, session)

    return await in_transaction(work)


async def reschedule(
    appointment_id: ObjectId, version: int, scope: SeriesScope, values: Mapping[str, Any], *, key: str | None = None
) -> Row:
    """Moves an appointment of a series, or it and all that follow by the same rule; answers with the series' row.

    `values` are those of `booking.reschedule`. With `THIS_AND_FOLLOWING` those that follow become a series of their
    own, counted on from the new start, and nothing moves unless everything can. Raises what `booking.reschedule` and
    `create` raise, and INVALID_STATE for an appointment of no series.
    """
    pivot = await _pivot(appointment_id)
    if scope is SeriesScope.THIS:
        await booking.reschedule(appointment_id, version, values, key=key)
        return await _series(pivot["series_id"])
    asked = {**values, "appointment_id": appointment_id, "version": version}
    mark = mark_of("rescheduleAppointmentSeries", key, asked)
    return await once(AppointmentSeries, mark, lambda: _move(pivot, version, values, mark))


async def _move(pivot: Row, version: int, values: Mapping[str, Any], mark: RequestMark | None) -> Row:
    reason = checked(HistoryEntry, {"reason": values.get("reason")})["reason"]
    refuse(pivot, MOVABLE, version)
    before = await _series(pivot["series_id"])
    for _ in range(MAX_TRIES):
        rows = await _following(pivot, None)
        plan = await _replanned(before, pivot, rows, values)
        refuse_obstructed(plan)
        series = series_of(plan, before.get("reason"), mark, continues_id=before["_id"])
        moves = _moves(series, plan, rows, reason)

        async def work(
            session: AsyncClientSession,
            series: AppointmentSeries = series,
            rows: Sequence[Row] = rows,
            moves: Sequence[UpdateOne] = moves,
        ) -> None:
            await series.insert(session=session)
            # First all give their time up: one may move to where the next one still is.
            await _all([UpdateOne({"_id": row["_id"]}, {"$unset": {"claims": ""}}) for row in rows], session)
            await _all(moves, session)
            await _end(pivot, session)

        if await committed(lambda work=work: in_transaction(work)):  # type: ignore[misc]
            await moved_under(plan.diary.doctor_id, plan.person)
            return row_of(series)
    raise SeriesTaken(())


async def _replanned(before: Row, pivot: Row, rows: Sequence[Row], values: Mapping[str, Any]) -> SeriesPlan:
    """The plan of those that follow, from the new start on."""
    ids = {name: values.get(name, pivot.get(name)) for name in PARTIES}
    chosen = {name: ids[name] for name in ("doctor_id", "room_id")}
    minutes = values.get("duration_minutes", (pivot["ends_at"] - pivot["starts_at"]) // timedelta(minutes=1))
    own = frozenset(claim for row in rows for claim in row.get("claims") or ())
    rule = rule_of({name: value for name, value in before["rule"].items() if value is not None})
    start = values["starts_at"]
    zone = clinic_zone()
    moved = shifted(rule, date.fromisoformat(pivot["series_day"]), start.astimezone(zone).date(), len(rows))
    return await planned(ids, chosen, moved, start, minutes, own)


def _moves(series: AppointmentSeries, plan: SeriesPlan, rows: Sequence[Row], reason: str | None) -> list[UpdateOne]:
    """Each of those that follow, in the order of their days, goes to the next date of the plan."""
    moves = []
    for row, one in zip(rows, plan.dates, strict=True):
        values = {
            "starts_at": one.start,
            "ends_at": one.end,
            "doctor_id": plan.diary.doctor_id,
            "room_id": plan.ids.get("room_id"),
            "series_id": series.id,
            "series_day": one.day.isoformat(),
            "claims": plan.claims(one),
        }
        taken = step("rescheduled", AppointmentStatus(row["status"]), one.start, reason)
        moves.append(_held_to(row, change(values, taken)))
    return moves


async def _pivot(appointment_id: ObjectId) -> Row:
    row = await stored(appointment_id, at="input.appointmentId")
    if row.get("series_id") is None:
        raise InvalidState("The appointment belongs to no series.")
    return row


async def _series(series_id: ObjectId) -> Row:
    rows: list[Row] = await AppointmentSeries.rows({"_id": series_id}, limit=1)
    if not rows:
        raise InvalidState("The series of this appointment is gone: change the appointment alone.")
    return rows[0]


async def _following(pivot: Row, session: AsyncClientSession | None) -> list[Row]:
    """The appointment and those of its series that follow by the series' days and can still be moved."""
    where = {
        "series_id": pivot["series_id"],
        "series_day": {"$gte": pivot["series_day"]},
        "status": {"$in": _OPEN},
        "starts_at": {"$gt": now()},
    }
    columns = ["starts_at", "ends_at", "status", "version", "claims", "series_day"]
    rows = await Appointment.rows(where, projection=columns, limit=MOST_DATES, session=session)
    kept = [row for row in rows if row["_id"] == pivot["_id"] and row["version"] == pivot["version"]]
    if not kept:
        raise another_version() if pivot["starts_at"] > now() else InvalidState("The appointment has begun already.")
    return sorted(rows, key=lambda row: (row["series_day"], row["starts_at"]))


def _held_to(row: Row, update: Row) -> UpdateOne:
    return UpdateOne({"_id": row["_id"], "version": row["version"], "status": {"$in": _OPEN}}, update)


async def _all(updates: Sequence[UpdateOne], session: AsyncClientSession) -> None:
    """Raises CONFLICT when one of the appointments was changed meanwhile; the transaction must then end."""
    done = await Appointment.guarded().bulk_write(list(updates), session=session)
    if done.matched_count != len(updates):
        raise Conflict("An appointment of the series was changed in the meantime. Load it again.")


async def _end(pivot: Row, session: AsyncClientSession) -> Row:
    """The series has no dates any more from the appointment's own day on."""
    series = await AppointmentSeries.change(
        pivot["series_id"], None, {"ended_before": pivot["series_day"]}, session=session
    )
    return row_of(series)
