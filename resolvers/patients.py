"""Patients: the exemplar of a resource. Demographics are shared between clinics, the record is this clinic's own."""

from __future__ import annotations

from datetime import date, datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import Maybe

from app.errors import NotFound, ValidationFailed
from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, loaded, related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection, Sort
from app.graphql.related_pages import After, First, related_page
from app.graphql.selection import columns, projection
from app.permissions import Permission
from app.services import patients as service
from app.services.merging import redirects
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
    version: int = stored(description="Grows with each change; send it back when changing the record.")
    code: str = stored(description="The clinic's own code (medical record number).")
    external_id: str | None = stored(description="By which the system that the patient came from knows them.")
    status: RecordStatus = stored(description="Whether the clinic still sees the patient.")
    national_id: str | None = stored(description="The number of the patient's identity card.")
    insurer: str | None = stored(description="Who insures the patient.")
    insurance_number: str | None = stored(description="The patient's number there.")
    notes: str | None = stored(description="The clinic's notes on the patient; no other clinic sees them.")
    registered_at: datetime = stored("created_at", description="When the patient came to this clinic.")
    archived_at: datetime | None = stored(description="When the record was archived.")


@row_type("FormerFile", description="A file that was merged into another one of the same patient.")
class FormerFileType:
    id: strawberry.ID = stored("former_id", description="The patient's id there; `patient` still takes it.")
    code: str = stored("former_code", description="The patient's code there.")
    merged_at: datetime = stored(description="When it was merged.")


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
    merged_from: list[FormerFileType] = loaded(
        "_id",
        by=redirects.merged_into,
        description="Files of the same patient that were merged into this one, the latest first: their ids and codes "
        "lead here.",
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


ALONG = {
    PatientSort.NAME_ASC: "name",
    PatientSort.NAME_DESC: "name",
    PatientSort.NEWEST: "created",
    PatientSort.OLDEST: "created",
}
"""The index of `models/patient.py` that has each order."""


@strawberry.input(description="Which patients to list. All conditions must hold.")
class PatientFilter:
    search: str | None = strawberry.field(
        default=None,
        description="Beginning of a name (either order), phone number or e-mail address; or a whole code (that of a "
        "merged file too), national id or insurance number.",
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
    national_id: str | None = strawberry.field(
        default=None, description="The number of the identity card; kept by this clinic alone."
    )
    insurer: str | None = strawberry.field(default=None, description="Who insures the patient.")
    insurance_number: str | None = strawberry.field(
        default=None, description="The patient's number there; kept by this clinic alone."
    )
    notes: str | None = strawberry.field(default=None, description="The clinic's own notes.")
    confirmed_duplicates: list[strawberry.ID] | None = strawberry.field(
        default=None,
        description="Possible duplicates that were looked at and are somebody else, none for an empty list. When "
        "given, a patient with any other possible duplicate is not registered: `CONFLICT` names them.",
    )


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


@strawberry.input(description="Changes to what this clinic keeps of a patient. What is left out stays; null clears it.")
class UpdatePatientRecordInput:
    id: strawberry.ID = strawberry.field(description="The patient.")
    version: int = strawberry.field(description="The version of the patient's record that the change is based on.")
    national_id: Maybe[str | None] = strawberry.field(description="The number of the identity card.")
    insurer: Maybe[str | None] = strawberry.field(description="Who insures the patient.")
    insurance_number: Maybe[str | None] = strawberry.field(description="The patient's number there.")


@strawberry.type
class PatientQuery(Resolver):
    @field(
        Permission.PATIENT_READ,
        description="One patient of this clinic; for the id of one who was merged, the patient into whom: `mergedFrom` "
        "names it then.",
    )
    async def patient(self, info: Info, id: strawberry.ID) -> PatientType:
        try:
            return await self.one(info, PatientType, id)
        except NotFound:
            survivor = await redirects.survivor_of(object_id(id, "id"))
            if survivor is None:
                raise
        return await self.one(info, PatientType, str(survivor))

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
        listed = await service.listed(
            search=chosen.search, born=chosen.birth_date, archived=chosen.status is RecordStatus.ARCHIVED
        )
        return await self.page(
            info,
            PatientType,
            where=listed.where,
            sort=ORDERS[sort],
            first=first,
            after=after,
            ways=listed.ways,
            along=listed.along or ALONG[sort],
        )

    @field(
        Permission.PATIENT_READ,
        description="Patients here who may be the person described, but for those confirmed already.",
    )
    async def possible_duplicates(self, info: Info, input: CreatePatientInput) -> list[PatientType]:
        wanted = projection(columns(info, PatientType))
        values = ids(given(input), "confirmed_duplicates")
        beside = values.pop("confirmed_duplicates", ())
        return shown(await service.possible_duplicates(values, wanted, beside=beside))


@strawberry.type
class PatientMutation(Resolver):
    @field(Permission.PATIENT_CREATE, description="Registers a patient and gives them the clinic's next code.")
    async def create_patient(self, info: Info, input: CreatePatientInput) -> PatientType:
        values = ids(given(input), "confirmed_duplicates")
        confirmed = values.pop("confirmed_duplicates", None)
        return shown(await service.register(values, confirmed=confirmed))

    @field(Permission.PATIENT_UPDATE, description="Changes a patient's demographics.")
    async def update_patient(self, info: Info, input: UpdatePatientInput) -> PatientType:
        changes = given(input)
        key = object_id(changes.pop("id"), "input.id")
        return shown(await service.change(key, changes.pop("version"), changes))

    @field(Permission.PATIENT_UPDATE, description="Replaces the clinic's own notes on a patient.")
    async def update_patient_notes(self, info: Info, input: UpdatePatientNotesInput) -> PatientType:
        if input.notes is None:
            raise ValidationFailed.at("input.notes", "must be given; null clears them")
        await service.change_own_record(object_id(input.id, "input.id"), input.version, {"notes": input.notes.value})
        return await self.one(info, PatientType, input.id, path="input.id")

    @field(Permission.PATIENT_UPDATE, description="Changes the card numbers that this clinic keeps of a patient.")
    async def update_patient_record(self, info: Info, input: UpdatePatientRecordInput) -> PatientType:
        changes = given(input)
        key = object_id(changes.pop("id"), "input.id")
        await service.change_own_record(key, changes.pop("version"), changes)
        return await self.one(info, PatientType, input.id, path="input.id")

    @field(Permission.PATIENT_ARCHIVE, description="Puts a patient's record here away. Other clinics are untouched.")
    async def archive_patient(self, info: Info, input: ArchivePatientInput) -> PatientType:
        await service.archive(object_id(input.id, "input.id"))
        return await self.one(info, PatientType, input.id, path="input.id")

    @field(Permission.PATIENT_ARCHIVE, description="Brings an archived patient back into the lists.")
    async def restore_patient(self, info: Info, input: ArchivePatientInput) -> PatientType:
        await service.restore(object_id(input.id, "input.id"))
        return await self.one(info, PatientType, input.id, path="input.id")
