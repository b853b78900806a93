"""Made-up people: the same for the same clinic and number, everywhere and every time."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from app.services.demo.names import AMERICAN, GERMAN
from models.patient import Sex
from models.values import search_key

AREAS = (201, 212, 305, 312, 415, 503, 617, 646, 718, 917)
_FEMALE = AMERICAN.female + GERMAN.female
_MALE = AMERICAN.male + GERMAN.male
_FAMILY = AMERICAN.family + GERMAN.family
_KEYS = {name: search_key(name) for name in (*_FEMALE, *_MALE, *_FAMILY)}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, with what is derived of their names and number for search."""

    given_name: str
    family_name: str
    sex: Sex
    birth_date: str
    phone: str
    phone_key: str

    @property
    def name(self) -> str:
        """Given name, then family name."""
        return f"{self.given_name} {self.family_name}"

    @property
    def name_key(self) -> str:
        return f"{_KEYS[self.family_name]} {_KEYS[self.given_name]}"

    @property
    def given_key(self) -> str:
        return f"{_KEYS[self.given_name]} {_KEYS[self.family_name]}"


def generator(clinic: int) -> Random:
    """The generator of a clinic's people."""
    return Random(f"polyclinic-bench-{clinic}")


def person(rng: Random) -> Person:
    """The next one."""
    sex = Sex.FEMALE if rng.random() < 0.5 else Sex.MALE
    area, number = rng.choice(AREAS), rng.randrange(10_000)
    return Person(
        given_name=rng.choice(_FEMALE if sex is Sex.FEMALE else _MALE),
        family_name=rng.choice(_FAMILY),
        sex=sex,
        birth_date=f"{rng.randrange(1930, 2020)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}",
        phone=f"+1 {area} 555 {number:04}",
        phone_key=f"1{area}555{number:04}",
    )
