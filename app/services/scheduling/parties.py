"""Who and what an appointment brings together: found inside the clinic, and fit to be booked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from bson import ObjectId
from pydantic.alias_generators import to_camel

from app.errors import FieldError, NotFound, ValidationFailed
from app.services.changes import Row
from models import Patient, Room, Service, Staff
from models.staff import StaffKind

COLUMNS: Mapping[str, tuple[Any, Mapping[str, int]]] = {
    "doctor_id": (Staff, {"kind": 1, "user_id": 1, "archived_at": 1}),
    "room_id": (Room, {"archived_at": 1}),
    "service_id": (Service, {"archived_at": 1, "duration_minutes": 1}),
}
"""What must be known of each but of the patient, where it is kept."""

Parties = Mapping[str, Row]
"""Rows by `doctor_id`, `patient_id`, `room_id`, `service_id`."""


async def read_parties(ids: Mapping[str, ObjectId | None]) -> Mapping[str, Row | None]:
    """Reads what the ids (of anything but patients) name, all at once; None for what this clinic does not have.

    Ids that are None are left out.
    """
    wanted = {name: one for name, one in ids.items() if one is not None}
    rows = await asyncio.gather(*(_read(name, one) for name, one in wanted.items()))
    return dict(zip(wanted, rows, strict=True))


async def _read(name: str, one: ObjectId) -> Row | None:
    model, projection = COLUMNS[name]
    rows: list[Row] = await model.rows({"_id": one}, projection=projection, limit=1)
    return rows[0] if rows else None


async def patient_here(one: ObjectId, active: Row | None) -> Row | None:
    """The patient of that id, with what the read of this clinic's active patients gave for them.

    Which clinics archived a patient is never read; that this one did shows by asking a second time, without it.
    """
    await Patient.guarded().received([] if active is None else [active])
    if active is not None:
        return active
    rows = await Patient.rows({"_id": one}, projection={"_id": 1}, limit=1)
    return {**rows[0], "archived_at": True} if rows else None


def check_parties(rows: Mapping[str, Row | None], *, at: str = "input.") -> Parties:
    """The rows, all of them there and fit to be booked.

    Raises NOT_FOUND for what this clinic does not have, else VALIDATION_FAILED; paths begin with `at`.
    """
    parties = {name: row for name, row in rows.items() if row is not None}
    missing = [FieldError(at + to_camel(name), "Not found.") for name in rows if name not in parties]
    if missing:
        raise NotFound(fields=missing)
    unfit = [FieldError(at + to_camel(name), why) for name, row in parties.items() if (why := _unfit(row))]
    if unfit:
        raise ValidationFailed(fields=unfit)
    return parties


def _unfit(row: Row) -> str | None:
    if row.get("archived_at") is not None:
        return "is archived"
    if row.get("kind", StaffKind.DOCTOR) != StaffKind.DOCTOR:
        return "is not a doctor"
    return None


def person_of(doctor: Row) -> str:
    """The key under which a doctor's time is claimed: see `Staff.person`."""
    return str(doctor.get("user_id") or doctor["_id"])
