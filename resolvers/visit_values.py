"""The enums and measured values of visits."""

from __future__ import annotations

from decimal import Decimal

import strawberry

from app.graphql.fields import row_type, stored
from models.visit import EncounterClass, VisitStatus
from resolvers.values import described

described(
    EncounterClass,
    "How patient and clinic met, as HL7's ActEncounterCode has it.",
    AMB="The patient came to the clinic (ambulatory).",
    EMER="An emergency.",
    FLD="Somewhere else, such as at an accident (field).",
    HH="At the patient's home.",
    IMP="The patient stayed overnight (inpatient).",
    OBSENC="The patient was watched for some hours.",
    PRENC="Before an admission.",
    SS="The patient stayed for the day only (short stay).",
    VR="By video, telephone or in writing (virtual).",
)
described(
    VisitStatus,
    "Where a visit stands.",
    OPEN="It is being written.",
    SIGNED="It is signed, and does not change any more.",
    AMENDED="It is signed, and something was added.",
    ENTERED_IN_ERROR="It should never have been written.",
)


@row_type("Vitals", description="What was measured.")
class VitalsType:
    temperature_celsius: Decimal | None = stored(description="Body temperature in °C.")
    systolic_mmhg: int | None = stored(description="Systolic blood pressure in mmHg.")
    diastolic_mmhg: int | None = stored(description="Diastolic blood pressure in mmHg.")
    heart_rate: int | None = stored(description="Heart beats a minute.")
    respiratory_rate: int | None = stored(description="Breaths a minute.")
    oxygen_saturation: int | None = stored(description="Oxygen saturation in %.")
    weight_kg: Decimal | None = stored(description="Weight in kg.")
    height_cm: Decimal | None = stored(description="Height in cm.")
    pain: int | None = stored(description="Pain from 0 to 10, as the patient says.")


@strawberry.input(name="VitalsInput", description="What was measured.")
class VitalsInput:
    temperature_celsius: Decimal | None = strawberry.field(default=None, description="Body temperature in °C.")
    systolic_mmhg: int | None = strawberry.field(default=None, description="Systolic blood pressure in mmHg.")
    diastolic_mmhg: int | None = strawberry.field(default=None, description="Diastolic blood pressure in mmHg.")
    heart_rate: int | None = strawberry.field(default=None, description="Heart beats a minute.")
    respiratory_rate: int | None = strawberry.field(default=None, description="Breaths a minute.")
    oxygen_saturation: int | None = strawberry.field(default=None, description="Oxygen saturation in %.")
    weight_kg: Decimal | None = strawberry.field(default=None, description="Weight in kg.")
    height_cm: Decimal | None = strawberry.field(default=None, description="Height in cm.")
    pain: int | None = strawberry.field(default=None, description="Pain from 0 to 10, as the patient says.")
