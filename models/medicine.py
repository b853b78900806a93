"""The clinic's catalogue of medicines: what is prescribed, dispensed and kept in stock."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints
from pymongo import ASCENDING, IndexModel

from models.base import TenantDocument, Versioned
from models.named import BY_NAME
from models.values import Line, Name

_ATC = re.compile(r"[A-Z](\d{2}([A-Z]([A-Z](\d{2})?)?)?)?")


def _atc(code: str) -> str:
    if not _ATC.fullmatch(code):
        raise ValueError("is not an ATC code")
    return code


AtcCode = Annotated[str, StringConstraints(strip_whitespace=True, to_upper=True), AfterValidator(_atc)]
"""A code of the WHO's Anatomical Therapeutic Chemical classification, of any of its five levels."""
Ingredient = Annotated[Line, StringConstraints(max_length=120)]
"""An active substance by its international nonproprietary name."""
ATC_LEVELS = (1, 3, 4, 5, 7)
"""How many characters of a code each level has."""


def atc_levels(code: str | None) -> list[str]:
    """The code's groups from the widest on, with itself: `A10BA02` is also `A`, `A10`, `A10B` and `A10BA`."""
    return [code[:length] for length in ATC_LEVELS if length <= len(code)] if code else []


class DosageForm(StrEnum):
    """What a medicine is given as."""

    TABLET = "tablet"
    CAPSULE = "capsule"
    ORAL_LIQUID = "oral_liquid"
    POWDER = "powder"
    INJECTION = "injection"
    DROPS = "drops"
    INHALER = "inhaler"
    SPRAY = "spray"
    CREAM = "cream"
    OINTMENT = "ointment"
    GEL = "gel"
    SOLUTION = "solution"
    PATCH = "patch"
    SUPPOSITORY = "suppository"
    PESSARY = "pessary"
    OTHER = "other"


class Medicine(Versioned, TenantDocument):
    """One form and strength of a medicine. Archived ones are prescribed no more and stay where they are named.

    `atc_levels` and `ingredient_keys` follow from code and ingredients: by them it is found and compared.
    """

    name: Name
    name_key: str
    form: DosageForm
    strength: Annotated[Line, StringConstraints(max_length=60)] | None = None
    atc_code: AtcCode | None = None
    atc_levels: list[str] = Field(default_factory=list)
    ingredients: list[Ingredient] = Field(min_length=1, max_length=20)
    ingredient_keys: list[str] = Field(default_factory=list)
    archived_at: datetime | None = None

    class Settings:
        name = "medicines"
        indexes = (
            BY_NAME,
            IndexModel(
                [("tenant_id", ASCENDING), ("name_key", ASCENDING), ("form", ASCENDING), ("strength", ASCENDING)],
                name="one_in_use",
                unique=True,
                partialFilterExpression={"archived_at": None},
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("atc_levels", ASCENDING), ("name_key", ASCENDING), ("_id", ASCENDING)],
                name="atc_name",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("ingredient_keys", ASCENDING), ("name_key", ASCENDING), ("_id", ASCENDING)],
                name="ingredient_name",
            ),
        )
