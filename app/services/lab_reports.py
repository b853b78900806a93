"""The body of a laboratory's delivery: camelCase on the wire, every complaint at its path."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from app.errors import ValidationFailed
from app.services.changes import build
from models.lab import MAX_OBSERVATIONS, Identifier, Instant, LabPanel, LabReport, Observation, ReportedPatient
from models.values import now

AHEAD = timedelta(days=1)
"""So far a laboratory's clock may be ahead."""

_WIRE = ConfigDict(alias_generator=to_camel, validate_by_alias=True, validate_by_name=False)


def _text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be text: an instant in ISO 8601 with its offset")
    return value


Moment = Annotated[Instant, BeforeValidator(_text)]


class _Patient(ReportedPatient):
    model_config = _WIRE


class _Panel(LabPanel):
    model_config = _WIRE


class _Observation(Observation):
    model_config = _WIRE


class DeliveryForm(LabReport):
    """One event of a laboratory: what it calls it, and the report."""

    model_config = _WIRE

    event_id: Identifier
    patient: _Patient
    panel: _Panel
    performed_at: Moment
    reported_at: Moment
    observations: list[_Observation] = Field(min_length=1, max_length=MAX_OBSERVATIONS)  # type: ignore[assignment]

    def report(self) -> LabReport:
        """The report as it is stored."""
        return LabReport(**self.model_dump(exclude={"event_id"}))


def read_delivery(body: Mapping[str, Any]) -> DeliveryForm:
    """The event in a JSON body. Raises VALIDATION_FAILED with the path of all that is wrong."""
    form: DeliveryForm = build(DeliveryForm, body, at="")
    if form.reported_at > now() + AHEAD:
        raise ValidationFailed.at("reportedAt", "lies in the future")
    return form
