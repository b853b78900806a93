"""All that must be known before a booking can be planned: one command, which the bookings of a clinic share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from bson import ObjectId

from app.errors import NotFound
from app.services.changes import Row
from app.services.scheduling.claims import MAX_DURATION
from app.services.scheduling.diary import Diary, clinic_zone, overlapping, weekly
from app.services.scheduling.opening import closures_of, not_over, opening_rules
from app.services.scheduling.parties import COLUMNS, patient_here
from app.services.scheduling.slots import Absence
from app.shared_commands import SharedCommands
from app.tenancy.scope import Place, open_scope
from models import AvailabilityRule, Closure, Patient, Settings, TimeOff
from models.together import Part, read_together
from models.values import now

_RULE = {"doctor_id": 1, "weekday": 1, "starts": 1, "ends": 1, "valid_from": 1, "valid_until": 1}
_ABSENCE = {"doctor_id": 1, "starts_at": 1, "ends_at": 1}
_CLOSURE = {"first_day": 1, "last_day": 1}
_SETTINGS = {"slot_minutes": 1, "booking_horizon_days": 1, "opening_hours": 1}
_USUAL = {name: Settings.model_fields[name].get_default(call_default_factory=True) for name in _SETTINGS}


class Asked(NamedTuple):
    """What a booking that begins at `start` brings together. None stands for what is not to be looked up."""

    doctor_id: ObjectId
    start: datetime
    room_id: ObjectId | None = None
    service_id: ObjectId | None = None
    patient_id: ObjectId | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the clinic has of it: the rows that were looked up by the names of their ids, None for what it has not; the
    doctor's diary, and their absences while the booking may last."""

    parties: Mapping[str, Row | None]
    diary: Diary
    absences: Sequence[Absence]


class _Found(NamedTuple):
    """What is stored for one booking; shared, as its read is."""

    parties: Mapping[str, Row | None]
    settings: Row
    rules: Sequence[Row]
    absences: Sequence[Row]
    closures: Sequence[Row]


async def facts(asked: Asked) -> Facts:
    """What the clinic in scope has at this moment, by a read that began after this call.

    Raises NOT_FOUND for a clinic without settings.
    """
    place = Place.here()
    found = await _facts.get(asked, place=place, at=place.name)
    if found is None:
        raise NotFound("The clinic has no settings.")
    parties = dict(found.parties)
    if asked.patient_id is not None:
        parties["patient_id"] = await patient_here(asked.patient_id, parties["patient_id"])
    zone = clinic_zone()
    diary = Diary(
        doctor_id=asked.doctor_id,
        zone=zone,
        rules=[weekly(rule) for rule in found.rules],
        step=timedelta(minutes=found.settings["slot_minutes"]),
        horizon_days=found.settings["booking_horizon_days"],
        now=now(),
        opening=opening_rules(found.settings["opening_hours"]),
        closures=closures_of(found.closures, zone),
    )
    return Facts(parties, diary, [Absence(row["starts_at"], row["ends_at"]) for row in found.absences])


async def _read(place: Place, asked: Sequence[Asked]) -> Mapping[Asked, _Found]:
    with open_scope(place.scope("bookings")):
        found = await read_together(*_parts(asked))
    settings = found[Settings]
    by_id = {name: {row["_id"]: row for row in found.get(model, ())} for name, model in _models().items()}
    rules, absences = _by_doctor(found[AvailabilityRule]), _by_doctor(found[TimeOff])
    return {
        one: _Found(
            {name: rows.get(id) for name, rows in by_id.items() if (id := getattr(one, name)) is not None},
            _USUAL | settings[0],
            rules.get(one.doctor_id, ()),
            [row for row in absences.get(one.doctor_id, ()) if _overlaps(row, one.start)],
            found[Closure],
        )
        for one in asked
        if settings
    }


def _models() -> Mapping[str, Any]:
    return {**{name: model for name, (model, _) in COLUMNS.items()}, "patient_id": Patient}


def _parts(asked: Sequence[Asked]) -> list[Part]:
    """The parts of one command; a kind of thing that nobody asks for is none of them."""
    doctors = list({one.doctor_id for one in asked})
    starts = [one.start for one in asked]
    parts = [
        Part(model, {"_id": {"$in": list(ids)}}, columns)
        for name, (model, columns) in COLUMNS.items()
        if (ids := {id for one in asked if (id := getattr(one, name)) is not None})
    ]
    if patients := {one.patient_id for one in asked if one.patient_id is not None}:
        active = {"$and": [{"_id": {"$in": list(patients)}}, Patient.active_here()]}
        parts.append(Part(Patient, active, {"_id": 1}))
    away = overlapping({"$in": doctors}, min(starts), max(starts) + MAX_DURATION)
    return [
        *parts,
        Part(Settings, {}, _SETTINGS),
        Part(AvailabilityRule, {"doctor_id": {"$in": doctors}}, _RULE),
        Part(TimeOff, away, _ABSENCE),
        Part(Closure, not_over(), _CLOSURE),
    ]


def _by_doctor(rows: Iterable[Row]) -> Mapping[ObjectId, list[Row]]:
    found: dict[ObjectId, list[Row]] = {}
    for row in rows:
        found.setdefault(row["doctor_id"], []).append(row)
    return found


def _overlaps(absence: Row, start: datetime) -> bool:
    """Whether it meets the longest booking that could begin at `start`."""
    return bool(absence["starts_at"] < start + MAX_DURATION and absence["ends_at"] > start)


_facts: SharedCommands[Asked, _Found] = SharedCommands(_read)
