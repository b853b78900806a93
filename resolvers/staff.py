"""Staff profiles and specializations."""

from __future__ import annotations

import strawberry

from app.graphql.fields import related, row_type, stored
from app.permissions import Permission
from models import Specialization, Staff
from models.staff import StaffKind
from resolvers.values import described

described(
    StaffKind,
    "What somebody does at the clinic.",
    ADMIN="Runs the clinic.",
    DOCTOR="Treats patients.",
    NURSE="Cares for patients.",
    RECEPTIONIST="Receives patients and books.",
    ACCOUNTANT="Handles money.",
    MEDICAL_REPRESENTATIVE="Represents a maker of medicines.",
    OTHER="Something else.",
)


@row_type(
    "Specialization", model=Specialization, read=Permission.SPECIALIZATION_READ, description="A field of medicine."
)
class SpecializationType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    name: str = stored(description="Name.")
    description: str | None = stored(description="What it covers.")


@row_type("Staff", model=Staff, read=Permission.STAFF_READ, description="Somebody who works at the clinic.")
class StaffType:
    id: strawberry.ID = stored("_id", description="Opaque id of the profile.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    kind: StaffKind = stored(description="What they do.")
    name: str = stored(description="Name.")
    email: str | None = stored(description="E-mail address for the clinic's use.")
    phone: str | None = stored(description="Phone number.")
    title: str | None = stored(description="Title, such as Dr.")
    specializations: list[SpecializationType] = related(
        lambda: SpecializationType, key="specialization_ids", many=True, description="Their fields of medicine."
    )
