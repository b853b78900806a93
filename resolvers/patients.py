"""Patients: the exemplar of a resource. Demographics are shared between clinics, the record is this clinic's own."""

from __future__ import annotations

from datetime import date, datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import Maybe

from app.errors import ValidationFailed
from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.inputs import given, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection, Sort
from app.graphql.related_pages import After, First, related_page
from app.graphql.selection import columns, projection
from app.permissions import Permission
from app.services import patients as service
from models import Patient, PatientRecord
from models.patient import RecordStatus, Sex
from resolvers.base import Resolver, shown
from resolvers.values import AddressInput, AddressType, day

if TYPE_CHECKING:
    from resolvers.appointments import AppointmentType


def full_name(row: Row) -> str:
    """Given name, then family name."""
    return f"{row['given_name']} {row['family_name']}"


@row_type("Contact", description="Somebody to call for the patient.")
class ContactType:
    name: str = stored(description="Name.")
    relationship: str | None = stored(description="What they are to the patient.")
    phone: str = stored(description="Phone number.")


@row_type("Allergy", description="What the patient reacts to.")
class AllergyType:
    substance: str = stored(description="The substance.")
    reaction: str | None = stored(description="What happens.")
    severe: bool = stored(description="Whether it endangers life.")


@row_type(
    "PatientRecord",
    model=PatientRecord,
    read=Permission.PATIENT_READ,
    description="What this clinic keeps of a patient.",
)
class PatientRecordType:
    version: int = stored(description="Grows with each change; send it back when changing the notes.")
    code: str = stored(description="The clinic's own code (medical record number).")
    status: RecordStatus = stored(description="Whether the clinic still sees the patient.")
    notes: str | None = stored(description="The clinic's notes on the patient; no other clinic sees them.")
    registered_at: datetime = stored("created_at", description="When the patient came to this clinic.")
    archived_at: datetime | None = stored(description="When the record was archived.")


def _appointment_type() -> type:
    from resolvers.appointments import AppointmentType

    return AppointmentType


@row_type("Patient", model=Patient, read=Permission.PATIENT_READ, description="A patient's demographics.")
class PatientType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    name: str = computed("given_name", "family_name", by=full_name, description="Full name.")
    given_name: str = stored(description="Given name.")
    family_name: str = stored(description="Family name.")
    birth_date: date | None = day("birth_date", "Day of birth.")
    sex: Sex = stored(description="Administrative sex.")
    phone: str | None = stored(description="Phone number, as given.")
    email: str | None = stored(description="E-mail address.")
    address: AddressType = stored(description="Postal address.")
    contacts: list[ContactType] = stored(description="Whom to call.")
    allergies: list[AllergyType] = stored(description="Known allergies.")
    created_at: datetime = stored(description="When the demographics were first written.")
    updated_at: datetime = stored(description="When they were last changed.")
    record: PatientRecordType | None = related(
        lambda: PatientRecordType, key="_id", foreign="patient_id", description="What this clinic keeps."
    )
    appointments: Connection[Annotated[AppointmentType, strawberry.lazy("resolvers.appointments")]] = related_page(
        _appointment_type,
        foreign="patient_id",
        sort=[("starts_at", -1), ("_id", -1)],
        description="The patient's appointments at this clinic, the latest first.",
    )


@strawberry.enum(description="The order of a list of patients.")
class PatientSort(Enum):
    NAME_ASC = strawberry.enum_value("name_asc", description="By family name, A first.")
    NAME_DESC = strawberry.enum_value("name_desc", description="By family name, Z first.")
    NEWEST = strawberry.enum_value("newest", description="The latest registered first.")
    OLDEST = strawberry.enum_value("oldest", description="The first registered first.")


ORDERS: dict[PatientSort, Sort] = {
    PatientSort.NAME_ASC: [("name_key", 1), ("_id", 1)],
    PatientSort.NAME_DESC: [("name_key", -1), ("_id", -1)],
    PatientSort.NEWEST: [("created_at", -1), ("_id", -1)],
    PatientSort.OLDEST: [("created_at", 1), ("_id", 1)],
}


@strawberry.input(description="Which patients to list. All conditions must hold.")
class PatientFilter:
    search: str | None = strawberry.field(
        default=None, description="Beginning of a name (either order), phone number, e-mail address, or code."
    )
    birth_date: date | None = strawberry.field(default=None, description="Born on this day.")
    status: RecordStatus | None = strawberry.field(
        default=None, description="Of this status here. Without it: those not archived."
    )


@strawberry.input(name="ContactInput", description="Somebody to call for the patient.")
class ContactInput:
    name: str = strawberry.field(description="Name.")
    phone: str = strawberry.field(description="Phone number.")
    relationship: str | None = strawberry.field(default=None, description="What they are to the patient.")


@strawberry.input(name="AllergyInput", description="What the patient reacts to.")
class AllergyInput:
    substance: str = strawberry.field(description="The substance.")
    reaction: str | None = strawberry.field(default=None, description="What happens.")
    severe: bool = strawberry.field(default=False, description="Whether it endangers life.")


@strawberry.input(description="A new patient of this clinic.")
class CreatePatientInput:
    given_name: str = strawberry.field(description="Given name.")
    family_name: str = strawberry.field(description="Family name.")
    birth_date: date | None = strawberry.field(default=None, description="Day of birth.")
    sex: Sex = strawberry.field(default=Sex.UNKNOWN, description="Administrative sex.")
    phone: str | None = strawberry.field(default=None, description="Phone number.")
    email: str | None = strawberry.field(default=None, description="E-mail address.")
    address: AddressInput | None = strawberry.field(default=None, description="Postal address.")
    contacts: list[ContactInput] | None = strawberry.field(default=None, description="Whom to call.")
    allergies: list[AllergyInput] | None = strawberry.field(default=None, description="Known allergies.")
    notes: str | None = strawberry.field(default=None, description="The clinic's own notes.")


@strawberry.input(description="Changes to a patient. What is left out stays as it is; null clears it.")
class UpdatePatientInput:
    id: strawberry.ID = strawberry.field(description="The patient.")
    version: int = strawberry.field(description="The version that the change is based on.")
    given_name: Maybe[str] = strawberry.field(description="Given name.")
    family_name: Maybe[str] = strawberry.field(description="Family name.")
    birth_date: Maybe[date | None] = strawberry.field(description="Day of birth.")
    sex: Maybe[Sex] = strawberry.field(description="Administrative sex.")
    phone: Maybe[str | None] = strawberry.field(description="Phone number.")
    email: Maybe[str | None] = strawberry.field(description="E-mail address.")
    address: Maybe[AddressInput] = strawberry.field(description="Postal address.")
    contacts: Maybe[list[ContactInput]] = strawberry.field(description="Whom to call; replaces the list.")
    allergies: Maybe[list[AllergyInput]] = strawberry.field(description="Known allergies; replaces the list.")


@strawberry.input(description="Which patient's record to archive or to restore here.")
class ArchivePatientInput:
    id: strawberry.ID = strawberry.field(description="The patient.")


@strawberry.input(description="The clinic's own notes on a patient.")
class UpdatePatientNotesInput:
    id: strawberry.ID = strawberry.field(description="The patient.")
    version: int = strawberry.field(description="The version of the patient's record that the change is based on.")
    notes: Maybe[str | None] = strawberry.field(description="The notes; null clears them.")


@strawberry.type
class PatientQuery(Resolver):
    @field(Permission.PATIENT_READ, description="One patient of this clinic.")
    async def patient(self, info: Info, id: strawberry.ID) -> PatientType:
        return await self.one(info, PatientType, id)

    @field(Permission.PATIENT_READ, description="The clinic's patients.")
    async def patients(
        self,
        info: Info,
        first: First = DEFAULT_PAGE,
        after: After = None,
        filter: PatientFilter | None = None,
        sort: PatientSort = PatientSort.NAME_ASC,
    ) -> Connection[PatientType]:
        chosen = filter or PatientFilter()
        where = await service.listed(
            search=chosen.search, born=chosen.birth_date, archived=chosen.status is RecordStatus.ARCHIVED
        )
        return await self.page(info, PatientType, where=where, sort=ORDERS[sort], first=first, after=after)

    @field(Permission.PATIENT_READ, description="Patients here who may be the same person as the one described.")
    async def possible_duplicates(self, info: Info, input: CreatePatientInput) -> list[PatientType]:
        wanted = projection(columns(info, PatientType))
        return shown(await service.possible_duplicates(given(input), wanted))


@strawberry.type
class PatientMutation(Resolver):
    @field(Permission.PATIENT_CREATE, description="Registers a patient and gives them the clinic's next code.")
    async def create_patient(self, info: Info, input: CreatePatientInput) -> PatientType:
        return shown(await service.register(given(input)))

    @field(Permission.PATIENT_UPDATE, description="Changes a patient's demographics.")
    async def update_patient(self, info: Info, input: UpdatePatientInput) -> PatientType:
        changes = given(input)
        key = object_id(changes.pop("id"), "input.id")
        return shown(await service.change(key, changes.pop("version"), changes))

    @field(Permission.PATIENT_UPDATE, description="Replaces the clinic's own notes on a patient.")
    async def update_patient_notes(self, info: Info, input: UpdatePatientNotesInput) -> PatientType:
        if input.notes is None:
            raise ValidationFailed.at("input.notes", "must be given; null clears them")
        await service.write_notes(object_id(input.id, "input.id"), input.version, input.notes.value)
        return await self.one(info, PatientType, input.id, path="input.id")

    @field(Permission.PATIENT_ARCHIVE, description="Puts a patient's record here away. Other clinics are untouched.")
    async def archive_patient(self, info: Info, input: ArchivePatientInput) -> PatientType:
        await service.archive(object_id(input.id, "input.id"))
        return await self.one(info, PatientType, input.id, path="input.id")

    @field(Permission.PATIENT_ARCHIVE, description="Brings an archived patient back into the lists.")
    async def restore_patient(self, info: Info, input: ArchivePatientInput) -> PatientType:
        await service.restore(object_id(input.id, "input.id"))
        return await self.one(info, PatientType, input.id, path="input.id")
