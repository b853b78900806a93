"""Enums that several kinds of orders share; import them from here, where they are declared."""

from __future__ import annotations

from models.imaging import Laterality
from models.lab_order import OrderPriority
from resolvers.values import described

__all__ = ["Laterality", "OrderPriority"]

described(
    OrderPriority,
    "How soon something is needed, as HL7 FHIR's request-priority tells apart.",
    ROUTINE="In the usual time.",
    URGENT="Sooner than usual.",
    ASAP="As soon as possible.",
    STAT="At once.",
)
described(Laterality, "Which side of the body.", LEFT="Left.", RIGHT="Right.", BOTH="Both.")
