"""Makes a data set ready for a run: what earlier runs wrote is taken away, and somebody signs in at each clinic."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pymongo
from bson import ObjectId
from pymongo import AsyncMongoClient, IndexModel

from app.auth.sessions import open_session
from app.config import Settings
from app.db.documents import init_documents
from app.db.schema import apply_schema
from app.tenancy.directory import ref_of
from app.tenancy.scope import Database, Scope, open_scope
from benchmarks.data.settings import bench_settings
from benchmarks.data.shapes import Clinic, day, subdomain
from benchmarks.data.sizes import Size
from benchmarks.servers.common import AUDIT
from models import ALL_DOCUMENTS, Appointment, AuditAnchor, AuditEntry, AuditPending, RateBucket, Session, Tenant, User

WRITTEN_BY_RUNS = (AuditEntry, AuditPending, AuditAnchor, RateBucket, Session)


async def tidy(folder: Path, uri: str, size: Size) -> None:
    """Takes away bookings, sessions and audit of earlier runs. No server may run on the data set meanwhile."""
    settings = bench_settings(folder, uri, size.database)
    async with AsyncMongoClient[dict[str, Any]](uri, tz_aware=True) as client:
        place = client[size.database]
        with pymongo.timeout(None):
            for document in WRITTEN_BY_RUNS:
                await place[document.guarded_name()].drop()
            await place[AUDIT].drop()
            await place[AUDIT].create_indexes(_audit_indexes())
            await _unbook(place, size)
        await apply_schema(client[settings.mongodb_database], force=True)


def _audit_indexes() -> list[IndexModel]:
    """Those of the audit, but for the chain's own."""
    return [one for one in AuditEntry.Settings.indexes if one.document["name"] != "seq"]


async def _unbook(place: Database, size: Size) -> None:
    booked = {"starts_at": {"$gte": day(size.full_days + 1)}}
    async for tenant in place[Tenant.guarded_name()].find({}, {"_id": 1}):
        await place[Appointment.guarded_name()].delete_many({"tenant_id": tenant["_id"], **booked})


async def sign_in(folder: Path, uri: str, size: Size, clinics: Sequence[int]) -> list[tuple[Clinic, str]]:
    """The clinics of these numbers, each with the token of a session of its admin."""
    settings = bench_settings(folder, uri, size.database)
    async with AsyncMongoClient[dict[str, Any]](uri, tz_aware=True) as client:
        await init_documents(client[size.database], ALL_DOCUMENTS)
        with open_scope(Scope(request_id="bench")):
            return [await _signed_in(number, settings) for number in clinics]


async def _signed_in(number: int, settings: Settings) -> tuple[Clinic, str]:
    tenant = await Tenant.find_one({"subdomain": subdomain(number)})
    user = await User.find_one({"email": f"ada@{subdomain(number)}.example.com"})
    assert tenant is not None
    assert user is not None
    opened = await open_session(user, settings, clinic=ref_of(tenant), address="127.0.0.1", device="bench")
    return Clinic(number, ObjectId(tenant.key)), opened.token


async def take_back(uri: str, size: Size, booked: ObjectId) -> None:
    """Removes one booking, so that another server can make it too."""
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncMongoClient[dict[str, Any]](uri))
        await client[size.database][Appointment.guarded_name()].delete_one({"_id": booked})
