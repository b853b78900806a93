"""The patient's session token: another key, audience and type than staff's; neither is ever read as the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from bson import ObjectId

from app.auth.tokens import TokenKind, key


@dataclass(frozen=True, slots=True)
class PatientClaims:
    """What a patient's token names: session, patient, and the one clinic where it is good."""

    session_id: ObjectId
    patient_id: ObjectId
    clinic_id: ObjectId

    def as_claims(self) -> dict[str, Any]:
        return {"sid": str(self.session_id), "sub": str(self.patient_id), "tenant": str(self.clinic_id)}

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> Self:
        return cls(key(claims["sid"]), key(claims["sub"]), key(claims["tenant"]))


PATIENT: TokenKind[PatientClaims] = TokenKind(
    "polyclinic:patient", "patient", b"patient-session", ("sid", "sub", "tenant"), PatientClaims
)
