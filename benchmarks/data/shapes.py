"""One clinic's documents as MongoDB holds them: exactly what the models would store, made a hundred times faster.

The tests compare each with what its model makes of it. Ids are worked out from clinic and number, so whoever asks
need not look them up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import Decimal128, ObjectId

from app.services.scheduling.claims import claims_for
from benchmarks.data.people import generator, person
from benchmarks.data.sizes import DOCTORS, PER_DAY, REGULAR_SHARE, Size
from models.appointment import AppointmentStatus
from models.values import search_key

Row = dict[str, Any]

FIRST_DAY = datetime(2025, 1, 6, tzinfo=UTC)
"""The day of the first appointments. All of the data lies in the past, whenever it is built."""
WRITTEN = datetime(2025, 1, 1, 8, tzinfo=UTC)
OPENS = timedelta(hours=8)
SLOT = timedelta(minutes=15)
BETWEEN = timedelta(minutes=45)
REASONS = ("Cough for a week", "Blood pressure check", "Back pain", "Test results", "New prescription", "Yearly check")
_PLAIN_ADDRESS = {"street": None, "city": "New York", "state": "NY", "zip_code": "10003", "country": "US"}


def made_id(kind: str, clinic: int, number: int) -> ObjectId:
    """The id of the clinic's `number`-th document of that kind; `kind` is one letter."""
    return ObjectId(kind.encode() + bytes(3) + clinic.to_bytes(4, "big") + number.to_bytes(4, "big"))


@dataclass(frozen=True, slots=True)
class Clinic:
    """A clinic of the data set. `number` counts from 0, `tenant` is its id."""

    number: int
    tenant: ObjectId

    def patient(self, number: int) -> ObjectId:
        return made_id("p", self.number, number)

    def doctor(self, number: int) -> ObjectId:
        return made_id("d", self.number, number)

    def room(self, number: int) -> ObjectId:
        return made_id("r", self.number, number)

    def service(self) -> ObjectId:
        return made_id("s", self.number, 0)


def subdomain(clinic: int) -> str:
    """The clinic's name in hosts."""
    return f"clinic-{clinic:04}"


def day(number: int) -> datetime:
    """The midnight at which the `number`-th day with appointments begins; every clinic's clocks show UTC."""
    return FIRST_DAY + timedelta(days=number)


def _written() -> Row:
    return {"version": 1, "created_at": WRITTEN, "updated_at": WRITTEN}


def _named(id: ObjectId, clinic: Clinic, name: str) -> Row:
    return {"_id": id, "tenant_id": clinic.tenant, "name": name, "name_key": search_key(name), **_written()}


def doctors(clinic: Clinic) -> list[Row]:
    """Staff profiles without an account."""
    rng = generator(clinic.number)
    more = {"user_id": None, "email": None, "phone": None, "license_number": None, "bio": None, "archived_at": None}
    return [
        {
            **_named(clinic.doctor(number), clinic, f"Dr. {person(rng).name}"),
            "kind": "doctor",
            "title": "Dr.",
            "specialization_ids": [],
            **more,
        }
        for number in range(DOCTORS)
    ]


def rules(clinic: Clinic) -> list[Row]:
    """Working hours around the clock, so that whatever the load books can be booked."""
    hours = {"tenant_id": clinic.tenant, "starts": "00:00", "ends": "24:00", "valid_from": None, "valid_until": None}
    return [
        {"_id": made_id("h", clinic.number, number * 7 + weekday), **hours, **_written()}
        | {"doctor_id": clinic.doctor(number), "weekday": weekday}
        for number in range(DOCTORS)
        for weekday in range(7)
    ]


def rooms(clinic: Clinic) -> list[Row]:
    """One for each doctor."""
    return [
        {
            **_named(clinic.room(number), clinic, f"Room {number + 1}"),
            "kind": "consultation",
            "floor": str(number // 4),
            "notes": None,
            "archived_at": None,
        }
        for number in range(DOCTORS)
    ]


def services(clinic: Clinic) -> list[Row]:
    """A single one."""
    return [
        {
            **_named(clinic.service(), clinic, "Consultation"),
            "code": "C1",
            "description": None,
            "duration_minutes": int(SLOT.total_seconds()) // 60,
            "price": {"amount": Decimal128("80.00"), "currency": "USD"},
            "specialization_id": None,
            "category_id": None,
            "archived_at": None,
        }
    ]


def counters(clinic: Clinic, size: Size) -> list[Row]:
    """How far the clinic's patient codes have come."""
    return [
        {
            "_id": made_id("c", clinic.number, 0),
            "tenant_id": clinic.tenant,
            "name": "patient_code",
            "value": size.patients,
        }
    ]


def patients(clinic: Clinic, size: Size) -> Iterator[Row]:
    """The clinic's patients, whom no other clinic shares."""
    rng = generator(clinic.number + 1_000_000)
    for number in range(size.patients):
        one = person(rng)
        yield {
            "_id": clinic.patient(number),
            "tenant_ids": [clinic.tenant],
            "given_name": one.given_name,
            "family_name": one.family_name,
            "name_key": one.name_key,
            "given_key": one.given_key,
            "birth_date": one.birth_date,
            "sex": one.sex.value,
            "phone": one.phone,
            "phone_key": one.phone_key,
            "email": f"patient{number}@{subdomain(clinic.number)}.example.com",
            "address": dict(_PLAIN_ADDRESS),
            "contacts": [],
            "allergies": [],
            **_written(),
        }


def records(clinic: Clinic, size: Size) -> Iterator[Row]:
    """What the clinic keeps of each patient."""
    unset = ("external_id", "national_id", "insurance_number", "notes", "archived_at")
    for number in range(size.patients):
        yield {
            "_id": made_id("q", clinic.number, number),
            "tenant_id": clinic.tenant,
            "patient_id": clinic.patient(number),
            "code": f"P-{number + 1:06}",
            "insurer": "Atlas Health",
            "status": "active",
            **dict.fromkeys(unset),
            **_written(),
        }


def appointments(clinic: Clinic, size: Size) -> Iterator[Row]:
    """`PER_DAY` a day, at most one for each doctor and patient at a time."""
    for number in range(size.appointments):
        yield appointment(clinic, size, number)


def patient_of(size: Size, number: int) -> int:
    """Whose the `number`-th appointment is: one in five is of the few who come often."""
    turn, rest = divmod(number, REGULAR_SHARE)
    if rest == 0 and size.regulars:
        return turn % size.regulars
    others = number - turn - 1
    return size.regulars + others % (size.patients - size.regulars)


def appointment(clinic: Clinic, size: Size, number: int) -> Row:
    """The clinic's `number`-th appointment."""
    days, place = divmod(number, PER_DAY)
    turn, doctor = divmod(place, DOCTORS)
    starts = FIRST_DAY + timedelta(days=days) + OPENS + turn * BETWEEN
    patient = clinic.patient(patient_of(size, number))
    status = _status(number)
    booked = {
        "at": WRITTEN,
        "by": None,
        "by_patient": False,
        "action": "booked",
        "status": AppointmentStatus.BOOKED.value,
        "starts_at": starts,
        "reason": None,
    }
    return {
        "_id": made_id("a", clinic.number, number),
        "tenant_id": clinic.tenant,
        "patient_id": patient,
        "doctor_id": clinic.doctor(doctor),
        "room_id": clinic.room(doctor),
        "service_id": clinic.service(),
        "starts_at": starts,
        "ends_at": starts + SLOT,
        "status": status.value,
        "reason": REASONS[number % len(REASONS)] if number % 11 else None,
        "notes": None,
        "overbook_reason": None,
        "cancel_reason": "Cannot come that day" if status is AppointmentStatus.CANCELLED else None,
        "claims": None if status is AppointmentStatus.CANCELLED else _claims(clinic, doctor, patient, starts),
        "series_id": None,
        "series_day": None,
        "requests": [],
        "history": [booked],
        "created_by": None,
        **_written(),
    }


def _status(number: int) -> AppointmentStatus:
    match number % 20:
        case 7:
            return AppointmentStatus.CANCELLED
        case 13:
            return AppointmentStatus.NO_SHOW
        case _:
            return AppointmentStatus.FULFILLED


def _claims(clinic: Clinic, doctor: int, patient: ObjectId, starts: datetime) -> list[str]:
    return claims_for(
        doctor=str(clinic.doctor(doctor)),
        room=str(clinic.room(doctor)),
        patient=str(patient),
        tenant=str(clinic.tenant),
        start=starts,
        end=starts + SLOT,
    )
