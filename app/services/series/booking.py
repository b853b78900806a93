"""Booking a series: all of its dates in one transaction, or none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from beanie import PydanticObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError, DuplicateKeyError

from app.db.transactions import in_transaction
from app.errors import SeriesTaken
from app.services.appointment_steps import actor_id, step
from app.services.changes import Row, build, checked, row_of
from app.services.idempotency import mark_of, once
from app.services.scheduling.rekey import keep_up_all
from app.services.series.planning import PlannedDate, SeriesPlan, planned
from models import Appointment, AppointmentSeries
from models.appointment import AppointmentStatus, RequestMark
from models.appointment_series import Recurrence

PARTIES = ("patient_id", "doctor_id", "room_id", "service_id")
MAX_TRIES = 5


class OnObstacle(StrEnum):
    """What to do about dates that cannot be booked."""

    REFUSE = "refuse"
    SKIP = "skip"


def rule_of(values: Mapping[str, Any], *, at: str = "input.rule") -> Recurrence:
    """The checked rule of an input."""
    rule: Recurrence = build(Recurrence, values, at=at)
    return rule


async def preview(values: Mapping[str, Any]) -> SeriesPlan:
    """What `create` would find now, date by date. Changes nothing."""
    return (await _plan(values)).offering()


async def create(values: Mapping[str, Any], on_obstacle: OnObstacle, *, key: str | None = None) -> Row:
    """Books a series; answers with its row.

    `values`: `patient_id, doctor_id, starts_at, rule`, and maybe `room_id, service_id, duration_minutes, reason`.
    Raises SLOT_TAKEN that names what is in the way of which dates, when any is (or all are, with `SKIP`);
    VALIDATION_FAILED or NOT_FOUND at `input.…`; IDEMPOTENCY_CONFLICT for a used `key` with another input.
    """
    mark = mark_of("createAppointmentSeries", key, {**values, "on_obstacle": on_obstacle.value})
    return await once(AppointmentSeries, mark, lambda: _create(values, on_obstacle, mark))


async def _plan(values: Mapping[str, Any]) -> SeriesPlan:
    ids = {name: values.get(name) for name in PARTIES}
    return await planned(ids, ids, rule_of(values["rule"]), values["starts_at"], values.get("duration_minutes"))


async def _create(values: Mapping[str, Any], on_obstacle: OnObstacle, mark: RequestMark | None) -> Row:
    reason = checked(AppointmentSeries, {"reason": values.get("reason")})["reason"]
    for _ in range(MAX_TRIES):
        plan = await _plan(values)
        refuse_obstructed(plan, on_obstacle)
        series = series_of(plan, reason, mark)
        appointments = [_appointment(series, plan, one) for one in plan.free]

        async def work(
            session: AsyncClientSession,
            series: AppointmentSeries = series,
            appointments: list[Appointment] = appointments,
        ) -> None:
            await series.insert(session=session)
            await Appointment.insert_many(appointments, session=session)

        if not await committed(lambda work=work: in_transaction(work)):  # type: ignore[misc]
            continue
        if await keep_up_all([one.key for one in appointments], plan.diary.doctor_id, plan.person):
            return row_of(series)
        await AppointmentSeries.guarded().delete_one({"_id": series.id})
    raise SeriesTaken(())


def refuse_obstructed(plan: SeriesPlan, on_obstacle: OnObstacle = OnObstacle.REFUSE) -> None:
    """Raises SLOT_TAKEN with what is in the way of which dates, when any is; with `SKIP`, when all are."""
    if plan.obstructed and (on_obstacle is OnObstacle.REFUSE or not plan.free):
        told = [(one.start, str(one.obstacle), one.alternatives) for one in plan.offering().obstructed]
        raise SeriesTaken(told)


async def committed(store: Callable[[], Awaitable[Any]]) -> bool:
    """Whether the dates could be stored; False when one of them was taken meanwhile."""
    try:
        await store()
    except (DuplicateKeyError, BulkWriteError) as error:
        if "claims" in _pattern(error):
            return False
        raise
    return True


def _pattern(error: DuplicateKeyError | BulkWriteError) -> Mapping[str, Any]:
    details: Any = error.details or {}
    failures: Sequence[Any] = (details, *details.get("writeErrors", ()))
    return next((one["keyPattern"] for one in failures if "keyPattern" in one), {})


def series_of(plan: SeriesPlan, reason: str | None, mark: RequestMark | None, **more: Any) -> AppointmentSeries:
    """The document of a planned series, not yet stored."""
    first = plan.dates[0].start.astimezone(plan.diary.zone)
    series: AppointmentSeries = build(
        AppointmentSeries,
        {
            **plan.ids,
            "id": PydanticObjectId(),
            "rule": plan.rule,
            "first_day": plan.dates[0].day,
            "starts": f"{first:%H:%M}",
            "minutes": int(plan.length.total_seconds()) // 60,
            "reason": reason,
            "skipped": [{"starts_at": one.start, "obstacle": one.obstacle} for one in plan.obstructed],
            "requests": [mark] if mark else [],
            "created_by": actor_id(),
            **more,
        },
    )
    return series


def _appointment(series: AppointmentSeries, plan: SeriesPlan, one: PlannedDate) -> Appointment:
    appointment: Appointment = build(
        Appointment,
        {
            **plan.ids,
            "id": PydanticObjectId(),
            "starts_at": one.start,
            "ends_at": one.end,
            "reason": series.reason,
            "series_id": series.id,
            "series_day": one.day,
            "claims": plan.claims(one),
            "history": [step("booked", AppointmentStatus.BOOKED, one.start, None)],
            "created_by": series.created_by,
        },
    )
    return appointment
