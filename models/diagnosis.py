"""How a diagnosis is written down: by a classification in one of its editions, or in plain words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from models.values import Line, Value

MOST_DIAGNOSES = 50


class CodingSystem(StrEnum):
    """The classification that a code is of."""

    ICD_10 = "icd_10"
    ICD_10_CM = "icd_10_cm"
    ICD_10_GM = "icd_10_gm"
    ICD_11 = "icd_11"
    TEXT = "text"


class Certainty(StrEnum):
    """How sure the diagnosis is, as HL7 FHIR's condition-ver-status tells apart."""

    UNCONFIRMED = "unconfirmed"
    PROVISIONAL = "provisional"
    DIFFERENTIAL = "differential"
    CONFIRMED = "confirmed"
    REFUTED = "refuted"


FORMS: Mapping[CodingSystem, re.Pattern[str]] = {
    CodingSystem.ICD_10: re.compile(r"[A-Z]\d{2}(\.\d{1,2})?"),
    CodingSystem.ICD_10_CM: re.compile(r"[A-Z]\d[0-9A-Z](\.[0-9A-Z]{1,4})?"),
    CodingSystem.ICD_10_GM: re.compile(r"[A-Z]\d{2}(\.\d{1,2}|\.-)?[+*!]?"),
    CodingSystem.ICD_11: re.compile(r"[0-9A-HJ-NP-Z]{4}(\.[0-9A-HJ-NP-Z]{1,3})?"),
}
"""What a code looks like. Sources: WHO, ICD-10 volume 2, 2.4; CDC, ICD-10-CM guidelines I.A.2; BfArM, ICD-10-GM,
foreword; WHO, ICD-11 reference guide, 2.6 (stem codes)."""
Code = Annotated[str, StringConstraints(strip_whitespace=True, to_upper=True, min_length=3, max_length=10)]
Edition = Annotated[str, StringConstraints(pattern=r"^(19|20)\d{2}$")]
"""The year of the edition, for a code may mean something else in the next one."""


class Diagnosis(Value):
    """What somebody has. `text` says it in words, also beside a code."""

    system: CodingSystem = CodingSystem.TEXT
    edition: Edition | None = None
    code: Code | None = None
    text: Line
    certainty: Certainty = Certainty.CONFIRMED
    primary: bool = False

    @model_validator(mode="after")
    def _coded_as_its_system_has_it(self) -> Self:
        if self.system is CodingSystem.TEXT:
            if self.code is not None or self.edition is not None:
                raise ValueError("a diagnosis in plain words has neither code nor edition")
            return self
        if self.code is None or self.edition is None:
            raise ValueError("a coded diagnosis needs its code and the edition that this is of")
        if not FORMS[self.system].fullmatch(self.code):
            raise ValueError(f"this is no code of {self.system.name}")
        return self


def _one_primary(diagnoses: list[Diagnosis]) -> list[Diagnosis]:
    if sum(one.primary for one in diagnoses) > 1:
        raise ValueError("only one can be the primary one")
    return diagnoses


Diagnoses = Annotated[list[Diagnosis], Field(max_length=MOST_DIAGNOSES), AfterValidator(_one_primary)]
