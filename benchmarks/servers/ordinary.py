"""A Strawberry and Beanie server as their documentation has it: documents for rows, async resolvers for relations.

Relations are read by Strawberry's `DataLoader`, as its guide recommends, with whole documents and no projection.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Any

import strawberry
from beanie import Document, PydanticObjectId, init_beanie
from beanie.operators import In
from bson import ObjectId
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.dataloader import DataLoader

from benchmarks.servers.common import AUDIT, audit_row, booking, bounds, client, clinics, cursor, database_name


class StepDocument(BaseModel):
    """A step of an appointment."""

    at: datetime
    by: PydanticObjectId | None = None
    by_patient: bool = False
    action: str
    status: str
    starts_at: datetime
    reason: str | None = None


class AppointmentDocument(Document):
    """The stored appointment."""

    tenant_id: PydanticObjectId
    patient_id: PydanticObjectId
    doctor_id: PydanticObjectId
    room_id: PydanticObjectId | None = None
    service_id: PydanticObjectId | None = None
    starts_at: datetime
    ends_at: datetime
    status: str
    reason: str | None = None
    notes: str | None = None
    overbook_reason: str | None = None
    cancel_reason: str | None = None
    claims: list[str] | None = None
    requests: list[dict[str, str]] = []
    history: list[StepDocument] = []
    created_by: PydanticObjectId | None = None
    version: int = 1
    created_at: datetime
    updated_at: datetime

    class Settings:
        name = "appointments"


class AddressDocument(BaseModel):
    """A postal address."""

    street: str | None = None
    city: str | None = None
    state: str | None = None
    zip_code: str | None = None
    country: str | None = None


class PatientDocument(Document):
    """The stored patient."""

    tenant_ids: list[PydanticObjectId]
    given_name: str
    family_name: str
    name_key: str
    given_key: str
    birth_date: str | None = None
    sex: str
    phone: str | None = None
    phone_key: str | None = None
    email: str | None = None
    address: AddressDocument
    contacts: list[dict[str, Any]] = []
    allergies: list[dict[str, Any]] = []
    version: int = 1
    created_at: datetime
    updated_at: datetime

    class Settings:
        name = "patients"


class StaffDocument(Document):
    """The stored profile."""

    tenant_id: PydanticObjectId
    kind: str
    name: str
    name_key: str
    user_id: PydanticObjectId | None = None
    email: str | None = None
    phone: str | None = None
    title: str | None = None
    license_number: str | None = None
    bio: str | None = None
    specialization_ids: list[PydanticObjectId] = []
    version: int = 1
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None

    class Settings:
        name = "staff"


class AuditDocument(Document):
    """The stored audit row."""

    tenant_id: PydanticObjectId
    at: datetime
    user_id: PydanticObjectId | None = None
    action: str
    result: str
    patient_ids: list[PydanticObjectId]
    collections: list[str]
    subject: str | None = None
    request_id: str
    address: str

    class Settings:
        name = AUDIT


@strawberry.enum
class AppointmentStatus(enum.Enum):
    HELD = "held"
    REQUESTED = "requested"
    BOOKED = "booked"
    CHECKED_IN = "checked_in"
    FULFILLED = "fulfilled"
    CANCELLED = "cancelled"
    NO_SHOW = "no_show"
    ENTERED_IN_ERROR = "entered_in_error"


class Context(dict[str, Any]):
    """The clinic, and the loaders of one request."""

    def __init__(self, tenant: ObjectId) -> None:
        super().__init__()
        self.tenant = tenant
        self.patients: DataLoader[PydanticObjectId, PatientDocument | None] = DataLoader(self._patients)
        self.doctors: DataLoader[PydanticObjectId, StaffDocument | None] = DataLoader(self._doctors)

    async def _patients(self, keys: list[PydanticObjectId]) -> list[PatientDocument | None]:
        found = await PatientDocument.find({"tenant_ids": self.tenant}, In(PatientDocument.id, keys)).to_list()
        by_id = {one.id: one for one in found}
        return [by_id.get(key) for key in keys]

    async def _doctors(self, keys: list[PydanticObjectId]) -> list[StaffDocument | None]:
        found = await StaffDocument.find({"tenant_id": self.tenant}, In(StaffDocument.id, keys)).to_list()
        by_id = {one.id: one for one in found}
        return [by_id.get(key) for key in keys]


Info = strawberry.Info[Context, None]


@strawberry.type
class Doctor:
    id: strawberry.ID
    name: str


@strawberry.type
class PageInfo:
    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class Patient:
    id: strawberry.ID
    name: str
    phone: str | None

    @strawberry.field
    async def appointments(self, info: Info, first: int = 20) -> Connection:
        query = AppointmentDocument.find({"tenant_id": info.context.tenant, "patient_id": ObjectId(self.id)})
        return connection(await query.sort("-starts_at", "-_id").limit(first + 1).to_list(), first)

    @classmethod
    def of(cls, document: PatientDocument) -> Patient:
        name = f"{document.given_name} {document.family_name}"
        return cls(id=strawberry.ID(str(document.id)), name=name, phone=document.phone)


@strawberry.type
class Appointment:
    id: strawberry.ID
    starts_at: datetime
    status: AppointmentStatus
    reason: str | None
    document: strawberry.Private[AppointmentDocument]

    @strawberry.field
    async def patient(self, info: Info) -> Patient | None:
        found = await info.context.patients.load(self.document.patient_id)
        return Patient.of(found) if found else None

    @strawberry.field
    async def doctor(self, info: Info) -> Doctor | None:
        found = await info.context.doctors.load(self.document.doctor_id)
        return Doctor(id=strawberry.ID(str(found.id)), name=found.name) if found else None

    @classmethod
    def of(cls, document: AppointmentDocument) -> Appointment:
        return cls(
            id=strawberry.ID(str(document.id)),
            starts_at=document.starts_at,
            status=AppointmentStatus(document.status),
            reason=document.reason,
            document=document,
        )


@strawberry.type
class Edge:
    cursor: str
    node: Appointment


@strawberry.type
class Connection:
    edges: list[Edge]
    page_info: PageInfo


def connection(documents: list[AppointmentDocument], first: int) -> Connection:
    """A page of `first`, of which one more was read."""
    shown = documents[:first]
    edges = [
        Edge(cursor=cursor({"starts_at": one.starts_at, "_id": one.id}), node=Appointment.of(one)) for one in shown
    ]
    end = edges[-1].cursor if edges else None
    return Connection(edges=edges, page_info=PageInfo(has_next_page=len(documents) > first, end_cursor=end))


@strawberry.input
class AppointmentFilter:
    day: date


@strawberry.input
class CreateAppointmentInput:
    patient_id: strawberry.ID
    doctor_id: strawberry.ID
    starts_at: datetime
    reason: str | None = None


@strawberry.type
class Query:
    @strawberry.field
    async def appointments(self, info: Info, filter: AppointmentFilter, first: int = 20) -> Connection:
        query = AppointmentDocument.find({"tenant_id": info.context.tenant, "starts_at": bounds(filter.day)})
        return connection(await query.sort("starts_at", "_id").limit(first + 1).to_list(), first)

    @strawberry.field
    async def patient(self, info: Info, id: strawberry.ID) -> Patient:
        found = await PatientDocument.find_one({"_id": ObjectId(id), "tenant_ids": info.context.tenant})
        if found is None:
            raise ValueError("not found")
        return Patient.of(found)


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def create_appointment(self, info: Info, input: CreateAppointmentInput) -> Appointment:
        tenant, patient, doctor = info.context.tenant, ObjectId(input.patient_id), ObjectId(input.doctor_id)
        row = booking(tenant, patient, doctor, input.starts_at, input.reason)
        document = AppointmentDocument.model_validate(row)
        await document.insert()
        told = audit_row(tenant, patient, "createAppointment", ("appointments", "patients"))
        await AuditDocument.model_validate(told).insert()
        return Appointment.of(document)


class Server(GraphQL[Context, None]):
    """Strawberry's own view."""

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        known: dict[str, ObjectId] = request.app.state.clinics
        return Context(known[request.headers["host"].partition(".")[0]])


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with client() as connected:
        documents = [AppointmentDocument, PatientDocument, StaffDocument, AuditDocument]
        await init_beanie(database=connected[database_name()], document_models=documents, skip_indexes=True)
        app.state.clinics = await clinics(connected)
        yield


def create_app() -> Starlette:
    """The application, for uvicorn's `--factory`."""
    view = Server(strawberry.Schema(Query, Mutation), graphql_ide=None)
    return Starlette(routes=[Route("/graphql", view)], lifespan=lifespan)
