"""What the servers of the comparison share: which clinic a host names, claims, and how times are written."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from bson import ObjectId
from pymongo import AsyncMongoClient
from starlette.requests import Request

from app.services.scheduling.claims import claims_for

Row = dict[str, Any]
AUDIT = "bench_audit"
"""Where all but Polyclinic write their audit rows: the same fields and indexes, without a chain."""


def client() -> AsyncMongoClient[Row]:
    """A client as an ordinary server has one."""
    return AsyncMongoClient(os.environ["MONGODB_URI"], tz_aware=True, w="majority")


def database_name() -> str:
    """The data set that is served."""
    return os.environ["MONGODB_DATABASE"]


async def clinics(connected: AsyncMongoClient[Row]) -> dict[str, ObjectId]:
    """Every clinic's id by subdomain, read once at the start."""
    found = connected[database_name()]["tenants"].find({}, {"subdomain": 1})
    return {row["subdomain"]: row["_id"] async for row in found}


def tenant_of(request: Request) -> ObjectId:
    """The clinic that the host names. Raises KeyError for none."""
    known: dict[str, ObjectId] = request.app.state.clinics
    return known[request.headers["host"].partition(".")[0]]


def bounds(day: date) -> Row:
    """The condition on `starts_at` for a day; the clinics' clocks show UTC."""
    begins = datetime.combine(day, time(), UTC)
    return {"$gte": begins, "$lt": begins + timedelta(days=1)}


def cursor(row: Row) -> str:
    """A place in the list, opaque."""
    return base64.urlsafe_b64encode(f"{row['starts_at'].timestamp()}:{row['_id']}".encode()).decode()


def booking(tenant: ObjectId, patient: ObjectId, doctor: ObjectId, starts: datetime, reason: str | None) -> Row:
    """A new appointment of a usual slot, as it is stored."""
    moment = datetime.now(UTC)
    ends = starts + timedelta(minutes=15)
    step = {"at": moment, "by": None, "by_patient": False, "action": "booked", "status": "booked"}
    return {
        "_id": ObjectId(),
        "tenant_id": tenant,
        "patient_id": patient,
        "doctor_id": doctor,
        "room_id": None,
        "service_id": None,
        "starts_at": starts,
        "ends_at": ends,
        "status": "booked",
        "reason": reason,
        "notes": None,
        "overbook_reason": None,
        "cancel_reason": None,
        "claims": claims_for(
            doctor=str(doctor), room=None, patient=str(patient), tenant=str(tenant), start=starts, end=ends
        ),
        "requests": [],
        "history": [{**step, "starts_at": starts, "reason": None}],
        "created_by": None,
        "version": 1,
        "created_at": moment,
        "updated_at": moment,
    }


def audit_row(tenant: ObjectId, patient: ObjectId, action: str, collections: Sequence[str]) -> Row:
    """Who did what, of the size that Polyclinic writes."""
    return {
        "_id": ObjectId(),
        "tenant_id": tenant,
        "at": datetime.now(UTC),
        "user_id": None,
        "action": action,
        "result": "ok",
        "patient_ids": [patient],
        "collections": list(collections),
        "subject": None,
        "request_id": ObjectId().binary.hex(),
        "address": "127.0.0.1",
    }
