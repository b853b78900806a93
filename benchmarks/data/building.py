"""Builds a data set into a database, or finds it there: `await ensure(folder, uri, size, report)`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pymongo
from bson import ObjectId
from pymongo import AsyncMongoClient, WriteConcern
from pymongo.asynchronous.client_session import AsyncClientSession

from app.auth.passwords import hash_password
from app.config import Settings
from app.db.documents import init_documents
from app.db.schema import apply_schema
from app.db.transactions import in_transaction
from app.services.audit_chain import drain as drain_audit
from app.services.audit_chain import use_audit_keys
from app.services.onboarding import open_clinic, read_form
from app.services.tenant_keys import use_tenant_keys
from app.tenancy.scope import Database, Scope, open_scope
from benchmarks.data import shapes
from benchmarks.data.settings import bench_settings
from benchmarks.data.sizes import Size
from models import (
    ALL_DOCUMENTS,
    Appointment,
    AvailabilityRule,
    Counter,
    Patient,
    PatientRecord,
    Room,
    Service,
    Staff,
    Tenant,
    User,
)
from models import Settings as ClinicSettings
from models.base import GuardedDocument
from models.tenant import SubscriptionStatus

VERSION = 2
"""Raised when the same models are to be filled in another way."""
MARK = "bench_data"
BATCH = 2_000
HORIZON_DAYS = 730
PASSWORD = "nobody signs in by this 42"
LARGE: tuple[type[GuardedDocument], ...] = (Patient, PatientRecord, Appointment)
"""Filled before their indexes are built, which is faster."""
Report = Callable[[str], None]
Documents = Sequence[tuple[type[GuardedDocument], Iterable[shapes.Row]]]


def fingerprint(size: Size) -> str:
    """Changes with the size, with `VERSION` and with the fields of what is stored."""
    fields = {one.guarded_name(): sorted(one.model_fields) for one, _ in documents_of(_ANY, size)}
    return hashlib.sha256(repr((VERSION, size, sorted(fields.items()))).encode()).hexdigest()[:16]


async def ensure(folder: Path, uri: str, size: Size, report: Report) -> None:
    """Leaves the data set complete, with the indexes that the models have now.

    One that is there and of this version is kept; one that a killed process left half done is built anew.
    """
    settings = bench_settings(folder, uri, size.database)
    async with AsyncMongoClient[dict[str, Any]](uri, tz_aware=True) as client:
        place = client[size.database]
        mark = await place[MARK].find_one({"_id": "data"})
        complete = mark is not None and mark["fingerprint"] == fingerprint(size)
        if complete:
            report(f"Data: {size}, as built before")
            await apply_schema(client[settings.mongodb_database])
            return
        await client.drop_database(size.database)
        report(f"Data: building {size}")
        started = time.monotonic()
        await _build(client, settings, size, report)
        await place[MARK].insert_one({"_id": "data", "fingerprint": fingerprint(size)})
        report(f"Data: done in {time.monotonic() - started:.0f} s")


async def _build(client: AsyncMongoClient[dict[str, Any]], settings: Settings, size: Size, report: Report) -> None:
    place = client[size.database]
    use_audit_keys(settings)
    await apply_schema(client[settings.mongodb_database])
    await init_documents(place, ALL_DOCUMENTS)
    for document in LARGE:
        await place[document.guarded_name()].drop_indexes()
    keys = use_tenant_keys(settings)
    hashed = await hash_password(PASSWORD)
    try:
        with pymongo.timeout(None):
            for number in range(size.clinics):
                await _fill(place, await _opened(number, hashed), size)
                if (number + 1) % max(1, size.clinics // 10) == 0:
                    report(f"Data: {number + 1} of {size.clinics} clinics")
    finally:
        await drain_audit()
        await keys.close()
    report("Data: building indexes")
    await apply_schema(client[settings.mongodb_database], force=True)


async def _opened(number: int, password_hash: str) -> shapes.Clinic:
    """Opens the clinic as anybody would, with an admin, the roles and the settings."""
    name = shapes.subdomain(number)
    email = f"ada@{name}.example.com"
    admin = {"name": "Ada Admin", "email": email, "password": PASSWORD}
    form = read_form(
        {"name": f"Clinic {number:04}", "subdomain": name, "settings": {"timezone": "UTC"}, "admin": admin}
    )
    user = User(id=ObjectId(), email=form.admin.email, name=form.admin.name, password_hash=password_hash)

    clinic = ObjectId()  # the same when the transaction is tried again

    async def work(session: AsyncClientSession) -> ObjectId:
        return (await open_clinic(form, user, session, clinic=clinic)).tenant.key

    with open_scope(Scope(request_id="bench")):
        return shapes.Clinic(number, await in_transaction(work))


async def _fill(place: Database, clinic: shapes.Clinic, size: Size) -> None:
    quick = place.with_options(write_concern=WriteConcern(w=1))
    for document, rows in documents_of(clinic, size):
        stored = quick[document.guarded_name()]
        for batch in _batches(rows):
            await stored.insert_many(batch, ordered=False)
    settings = quick[ClinicSettings.guarded_name()]
    await settings.update_one({"tenant_id": clinic.tenant}, {"$set": {"booking_horizon_days": HORIZON_DAYS}})
    endless = {"subscription.status": SubscriptionStatus.ACTIVE.value, "subscription.expires_at": None}
    await quick[Tenant.guarded_name()].update_one({"_id": clinic.tenant}, {"$set": endless})


def documents_of(clinic: shapes.Clinic, size: Size) -> Documents:
    """Everything of a clinic but what opening it has made, in the order in which it is stored."""
    return (
        (Staff, shapes.doctors(clinic)),
        (AvailabilityRule, shapes.rules(clinic)),
        (Room, shapes.rooms(clinic)),
        (Service, shapes.services(clinic)),
        (Counter, shapes.counters(clinic, size)),
        (Patient, shapes.patients(clinic, size)),
        (PatientRecord, shapes.records(clinic, size)),
        (Appointment, shapes.appointments(clinic, size)),
    )


_ANY = shapes.Clinic(0, ObjectId(bytes(12)))


def _batches(rows: Iterable[shapes.Row]) -> Iterator[list[shapes.Row]]:
    left = iter(rows)
    while batch := list(islice(left, BATCH)):
        yield batch
