"""Whom the lines of a file may be beside: by the rules of `patients.possible_duplicates`, for many at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from app.services.patients import NUMBERS
from app.tenancy.sealing import blind, sealed_in
from models import Patient, PatientRecord

Row = dict[str, Any]
Sign = tuple[str, str]
"""What people who may be the same have in common: which column, and its normalised value."""

PHONE, EMAIL, BIRTH = "phone", "email", "birth_date"


def signs_of(patient: Patient, numbers: Mapping[str, str]) -> list[Sign]:
    """The signs of a patient who is not stored yet; `numbers` are those of cards, as they are on them."""
    found: list[Sign] = []
    if patient.phone_key:
        found.append((PHONE, patient.phone_key))
    if patient.email:
        found.append((EMAIL, patient.email))
    if patient.birth_date:
        found.append((BIRTH, f"{patient.birth_date} {patient.name_key}"))
    return [*found, *((name, normal(name, numbers[name])) for name in NUMBERS if numbers.get(name))]


def normal(name: str, number: str) -> str:
    """The number of a card as it is compared."""
    return sealed_in(PatientRecord.guarded_name())[name].normal(number)


async def known_signs(patients: Sequence[Patient], numbers: Sequence[Mapping[str, str]]) -> dict[Sign, str]:
    """Of the signs of these, those that patients of the clinic in scope bear, each with the id of one."""
    found: dict[Sign, str] = {}
    phones = [one.phone_key for one in patients if one.phone_key]
    emails = [one.email for one in patients if one.email]
    born = [(one.birth_date, one.name_key) for one in patients if one.birth_date]
    for column, sign, values in (("phone_key", PHONE, phones), ("email", EMAIL, emails)):
        if values:
            for row in await Patient.rows({column: {"$in": values}}, projection={column: 1}):
                found[sign, row[column]] = str(row["_id"])
    if born:
        alike = {"birth_date": {"$in": [day for day, _ in born]}, "name_key": {"$in": [name for _, name in born]}}
        for row in await Patient.rows(alike, projection={"birth_date": 1, "name_key": 1}):
            found[BIRTH, f"{row['birth_date']} {row['name_key']}"] = str(row["_id"])
    return found | await _known_numbers(numbers)


async def _known_numbers(numbers: Sequence[Mapping[str, str]]) -> dict[Sign, str]:
    found: dict[Sign, str] = {}
    for name in NUMBERS:
        asked = [await blind(PatientRecord, name, one[name]) for one in numbers if one.get(name)]
        if not asked:
            continue
        [column] = asked[0]
        values = [value for one in asked for value in one[column]["$in"]]
        columns = {name: 1, "patient_id": 1}
        for row in await PatientRecord.rows({column: {"$in": values}}, projection=columns):
            found[name, normal(name, row[name])] = str(row["patient_id"])
    return found


@dataclass(slots=True)
class Seen:
    """Signs of the lines so far, 8 bytes of a digest each: two that differ are taken for the same once in 10^9 files
    of 100,000 lines, which costs a warning."""

    lines: dict[int, int] = field(default_factory=dict)

    def line_of(self, sign: Sign) -> int | None:
        """The first line that bore the sign."""
        return self.lines.get(_short(sign))

    def add(self, signs: Iterable[Sign], line: int) -> None:
        for sign in signs:
            self.lines.setdefault(_short(sign), line)


def _short(sign: Sign) -> int:
    return int.from_bytes(blake2b("\0".join(sign).encode(), digest_size=8).digest())
