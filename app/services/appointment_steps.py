"""What every change of an appointment has in common: one comparison of version and state, and a row of history."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import InvalidState, NotFound
from app.services.changes import Row, another_version, storable
from app.tenancy.scope import current_scope
from models import Appointment
from models.appointment import TRANSITIONS, AppointmentStatus, HistoryEntry, RequestMark
from models.values import now


async def stored(appointment_id: ObjectId, *, at: str = "input.id", session: AsyncClientSession | None = None) -> Row:
    """The row of that id. Raises NOT_FOUND at `at`."""
    rows: list[Row] = await Appointment.rows({"_id": appointment_id}, limit=1, session=session)
    if not rows:
        raise NotFound.at(at)
    return rows[0]


def refuse(row: Row, states: Collection[AppointmentStatus], version: int | None) -> None:
    """Raises INVALID_STATE unless `row` is in one of `states`, CONFLICT unless it has the `version` asked for."""
    status = AppointmentStatus(row["status"])
    if status not in states:
        steps = ", ".join(sorted(one.name for one in TRANSITIONS[status])) or "nothing"
        raise InvalidState(f"The appointment is {status.name}. What may follow: {steps}.")
    if version is not None and version != row["version"]:
        raise another_version()


async def compare_and_set(
    row: Row,
    version: int | None,
    states: Collection[AppointmentStatus],
    update: Mapping[str, Any],
    mark: RequestMark | None = None,
    session: AsyncClientSession | None = None,
) -> Row:
    """Applies `update` if the appointment still is as `row` showed it; else says what is in the way.

    A unique index does not compare a document with itself, so a mark that is here already is looked for by hand.
    """
    asked: Row = {
        "_id": row["_id"],
        "patient_id": row["patient_id"],  # so that the guard knows whose it is without a look
        "version": row["version"],
        "status": {"$in": [state.value for state in states]},
    }
    if mark is not None:
        asked["requests.id"] = {"$ne": mark.id}
    changed = await Appointment.guarded().find_one_and_update(
        asked, update, return_document=ReturnDocument.AFTER, session=session
    )
    if changed is None:
        refuse(await stored(row["_id"], session=session), states, version)
        raise another_version()
    return changed


def change(values: Row, taken: HistoryEntry, mark: RequestMark | None = None) -> Row:
    """The update that sets `values`, counts the version up and writes the history row, and the mark if any."""
    pushed = {"history": storable(taken)}
    if mark is not None:
        pushed["requests"] = storable(mark)
    return {"$set": {**values, "updated_at": now()}, "$inc": {"version": 1}, "$push": pushed}


def step(action: str, status: AppointmentStatus, starts_at: datetime, reason: str | None) -> HistoryEntry:
    """The row of history for what whoever acts does now."""
    scope = current_scope()
    by_patient = scope.actor is None and scope.patient is not None
    return HistoryEntry(
        by=actor_id(), by_patient=by_patient, action=action, status=status, starts_at=starts_at, reason=reason
    )


def actor_id() -> Any:
    """The person of the staff who acts, if any."""
    actor = current_scope().actor
    return actor.user_id if actor is not None else None
