"""Makes up patients: the same ones for the same clinic in every run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from random import Random
from typing import Any

from bson import ObjectId

from app.services.changes import build
from app.services.demo.names import Region
from app.services.demo.plans import ClinicPlan, SharedPatient
from models import Patient
from models.patient import Sex
from models.values import now, search_key

_ALLERGIES = (
    ("Penicillin", "Rash", False),
    ("Peanuts", "Swelling of the throat", True),
    ("Ibuprofen", "Wheezing", False),
    ("Latex", "Itching", False),
    ("Bee venom", "Anaphylaxis", True),
)
_RELATIONSHIPS = ("Mother", "Father", "Spouse", "Partner", "Daughter", "Son", "Neighbour")
_OLDEST_DAYS = 92 * 365
_KNOWN_DAYS = 700


def demo_patients(plan: ClinicPlan, rng: Random) -> list[Patient]:
    """The clinic's patients, not yet stored; the shared ones come first. The clinic must be in scope."""
    made = [_shared(person) for person in plan.shared]
    return [*made, *_regulars(plan, rng)]


def _shared(person: SharedPatient) -> Patient:
    values = {name: getattr(person, name) for name in SharedPatient.__slots__}
    return _keyed({**values, "id": ObjectId()})


def _keyed(values: dict[str, Any]) -> Patient:
    patient: Patient = build(Patient, values, at="")
    return patient.keyed()


def _regulars(plan: ClinicPlan, rng: Random) -> Iterator[Patient]:
    for number in range(plan.patients - len(plan.shared)):
        yield _keyed(_person(plan.region, rng, number))


def _person(region: Region, rng: Random, number: int) -> dict[str, Any]:
    sex = rng.choices((Sex.FEMALE, Sex.MALE, Sex.OTHER), (51, 48, 1))[0]
    given = rng.choice(region.male if sex is Sex.MALE else region.female)
    family = rng.choice(region.family)
    known_since = now() - timedelta(days=rng.randrange(_KNOWN_DAYS), minutes=rng.randrange(1440))
    return {
        "id": ObjectId(),
        "given_name": given,
        "family_name": family,
        "birth_date": _birthday(rng),
        "sex": sex,
        "phone": rng.choice(region.phones).format(rng.randrange(100)) if rng.random() < 0.85 else None,
        "email": _email(given, family, number) if rng.random() < 0.6 else None,
        "address": _address(region, rng),
        "contacts": [_contact(region, rng, family)] if rng.random() < 0.25 else [],
        "allergies": [_allergy(rng)] if rng.random() < 0.15 else [],
        "created_at": known_since,
        "updated_at": known_since,
    }


def _birthday(rng: Random) -> str:
    """Some more children and old people than chance would give, as at a clinic."""
    age_days = int(_OLDEST_DAYS * rng.betavariate(1.1, 1.2))
    return (date.today() - timedelta(days=age_days + 1)).isoformat()  # noqa: DTZ011 - a made-up day


def _email(given: str, family: str, number: int) -> str:
    name = ".".join(search_key(part).replace("'", "") for part in (given, family))
    return f"{name}{number}@example.com"


def _address(region: Region, rng: Random) -> dict[str, str]:
    city, state, zip_code = rng.choice(region.places)
    street = f"{rng.choice(region.streets)} {rng.randrange(1, 240)}"
    return {"street": street, "city": city, "state": state, "zip_code": zip_code, "country": region.country}


def _contact(region: Region, rng: Random, family: str) -> dict[str, str]:
    given = rng.choice(region.female + region.male)
    phone = rng.choice(region.phones).format(rng.randrange(100))
    return {"name": f"{given} {family}", "relationship": rng.choice(_RELATIONSHIPS), "phone": phone}


def _allergy(rng: Random) -> dict[str, Any]:
    substance, reaction, severe = rng.choice(_ALLERGIES)
    return {"substance": substance, "reaction": reaction, "severe": severe}
