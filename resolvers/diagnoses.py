"""Diagnoses as visits and medical records show them."""

from __future__ import annotations

import strawberry

from app.graphql.fields import row_type, stored
from models.diagnosis import Certainty, CodingSystem
from resolvers.values import described

described(
    CodingSystem,
    "The classification that a code is of.",
    ICD_10="The WHO's ICD-10.",
    ICD_10_CM="ICD-10-CM, of the United States.",
    ICD_10_GM="ICD-10-GM, of Germany.",
    ICD_11="The WHO's ICD-11.",
    TEXT="None: the diagnosis is in plain words.",
)
described(
    Certainty,
    "How sure a diagnosis is, as HL7 FHIR's condition-ver-status tells apart.",
    UNCONFIRMED="Not enough is known.",
    PROVISIONAL="Held for the time being.",
    DIFFERENTIAL="One of several that may be it.",
    CONFIRMED="Sure enough.",
    REFUTED="Ruled out.",
)


@row_type("Diagnosis", description="What somebody has.")
class DiagnosisType:
    system: CodingSystem = stored(description="The classification that the code is of.")
    edition: str | None = stored(description="The year of its edition.")
    code: str | None = stored(description="The code.")
    text: str = stored(description="The diagnosis in words.")
    certainty: Certainty = stored(description="How sure it is.")
    primary: bool = stored(description="Whether it is the main one of its visit.")


@strawberry.input(name="DiagnosisInput", description="What somebody has, by a code of an edition or in plain words.")
class DiagnosisInput:
    text: str = strawberry.field(description="The diagnosis in words.")
    system: CodingSystem = strawberry.field(
        default=CodingSystem.TEXT, description="The classification that the code is of."
    )
    edition: str | None = strawberry.field(default=None, description="The year of its edition; a code needs one.")
    code: str | None = strawberry.field(default=None, description="The code.")
    certainty: Certainty = strawberry.field(default=Certainty.CONFIRMED, description="How sure it is.")
    primary: bool = strawberry.field(default=False, description="Whether it is the main one.")
