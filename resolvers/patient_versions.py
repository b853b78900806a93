"""Which demographics of a patient were changed, when, and by whom of this clinic."""

from __future__ import annotations

from datetime import date, datetime

import strawberry
from strawberry.utils.str_converters import to_camel_case

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, row_type, stored
from app.graphql.inputs import object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from models import PatientVersion
from models.patient import Sex
from resolvers.base import Resolver
from resolvers.patients import AllergyType, ContactType
from resolvers.values import AddressType, day


@row_type("DemographicsBefore", description="What the demographics that a change touched were before it.")
class DemographicsBeforeType:
    given_name: str | None = stored(description="Given name.")
    family_name: str | None = stored(description="Family name.")
    birth_date: date | None = day("birth_date", "Day of birth.")
    sex: Sex | None = stored(description="Administrative sex.")
    phone: str | None = stored(description="Phone number.")
    email: str | None = stored(description="E-mail address.")
    address: AddressType | None = stored(description="Postal address.")
    contacts: list[ContactType] | None = stored(description="Whom to call.")
    allergies: list[AllergyType] | None = stored(description="Known allergies.")


def _camel(row: Row) -> list[str]:
    return [to_camel_case(name) for name in row["fields"]]


@row_type(
    "PatientVersion",
    model=PatientVersion,
    read=Permission.PATIENT_READ,
    description="A change of a patient's demographics.",
)
class PatientVersionType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    at: datetime = stored(description="When.")
    patient_version: int = stored(description="The version of the patient that it made.")
    by_another_clinic: bool = stored("elsewhere", description="Whether another clinic made it; which one is not told.")
    changed_by: str | None = stored("person_name", description="Who of this clinic made it.")
    changed: list[str] = computed("fields", by=_camel, description="The fields that were changed.")
    before: DemographicsBeforeType = stored(description="What they were before; null for those that were not changed.")


@strawberry.type
class PatientVersionQuery(Resolver):
    @field(Permission.PATIENT_READ, description="Changes of a patient's demographics, the latest first.")
    async def patient_history(
        self, info: Info, patient_id: strawberry.ID, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PatientVersionType]:
        where = {"patient_id": object_id(patient_id, "patientId")}
        sort = [("at", -1), ("_id", -1)]
        return await self.page(info, PatientVersionType, where=where, sort=sort, first=first, after=after)
