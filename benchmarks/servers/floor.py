"""The floor: the same answers from the bare driver and orjson on Starlette, without GraphQL.

Each answer is written by hand for its question; relations are read once per level by `$in`, with projections. It
knows no permissions, no audit of reads and no limits: nothing that serves GraphQL in Python from this database can be
expected to be faster.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Any

import orjson
from bson import ObjectId
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.servers.common import (
    AUDIT,
    Row,
    audit_row,
    booking,
    bounds,
    client,
    clinics,
    cursor,
    database_name,
    tenant_of,
)

SHOWN = {"starts_at": 1, "status": 1, "reason": 1}
PATIENT = {"given_name": 1, "family_name": 1, "phone": 1}
Answer = Callable[[Any, ObjectId, Row], Awaitable[Row]]


def _person(row: Row) -> Row:
    name = f"{row['given_name']} {row['family_name']}"
    return {"id": str(row["_id"]), "name": name, "phone": row["phone"]}


def _doctor(row: Row) -> Row:
    return {"id": str(row["_id"]), "name": row["name"]}


def _appointment(row: Row) -> Row:
    return {
        "id": str(row["_id"]),
        "startsAt": row["starts_at"],
        "status": row["status"].upper(),
        "reason": row.get("reason"),
    }


async def day(place: Any, tenant: ObjectId, variables: Row) -> Row:
    """A clinic's day with patients and doctors: three reads."""
    where = {"tenant_id": tenant, "starts_at": bounds(date.fromisoformat(variables["day"]))}
    wanted = {**SHOWN, "patient_id": 1, "doctor_id": 1}
    rows = await place["appointments"].find(where, wanted).sort([("starts_at", 1), ("_id", 1)]).limit(51).to_list()
    more, rows = len(rows) > 50, rows[:50]
    patients, doctors = await asyncio.gather(
        _by_id(place["patients"], "tenant_ids", tenant, {row["patient_id"] for row in rows}, PATIENT),
        _by_id(place["staff"], "tenant_id", tenant, {row["doctor_id"] for row in rows}, {"name": 1}),
    )
    edges = [
        {
            "node": {
                **_appointment(row),
                "patient": _person(patients[row["patient_id"]]),
                "doctor": _doctor(doctors[row["doctor_id"]]),
            }
        }
        for row in rows
    ]
    end = cursor(rows[-1]) if rows else None
    return {"appointments": {"edges": edges, "pageInfo": {"hasNextPage": more, "endCursor": end}}}


async def _by_id(collection: Any, owner: str, tenant: ObjectId, ids: set[ObjectId], wanted: Row) -> dict[ObjectId, Row]:
    rows = await collection.find({"_id": {"$in": list(ids)}, owner: tenant}, wanted).to_list()
    return {row["_id"]: row for row in rows}


async def patient(place: Any, tenant: ObjectId, variables: Row) -> Row:
    """A patient with their appointments: two reads, side by side."""
    key = ObjectId(variables["id"])
    where = {"tenant_id": tenant, "patient_id": key}
    latest = place["appointments"].find(where, SHOWN).sort([("starts_at", -1), ("_id", -1)]).limit(10)
    found, rows = await asyncio.gather(
        place["patients"].find_one({"_id": key, "tenant_ids": tenant}, PATIENT), latest.to_list()
    )
    edges = [{"node": _appointment(row)} for row in rows]
    return {"patient": {**_person(found), "appointments": {"edges": edges}}}


async def alive(_place: Any, _tenant: ObjectId, _variables: Row) -> Row:
    """Nothing but the way there and back."""
    return {"__typename": "Query"}


async def book(place: Any, tenant: ObjectId, variables: Row) -> Row:
    """Looks up who meets whom, then stores appointment and audit row side by side."""
    given = variables["input"]
    patient_id, doctor_id = ObjectId(given["patientId"]), ObjectId(given["doctorId"])
    starts = datetime.fromisoformat(given["startsAt"])
    found, doctor = await asyncio.gather(
        place["patients"].find_one({"_id": patient_id, "tenant_ids": tenant}, PATIENT),
        place["staff"].find_one({"_id": doctor_id, "tenant_id": tenant}, {"name": 1}),
    )
    row = booking(tenant, patient_id, doctor_id, starts, given["reason"])
    told = audit_row(tenant, patient_id, "createAppointment", ("appointments", "patients"))
    await asyncio.gather(place["appointments"].insert_one(row), place[AUDIT].insert_one(told))
    return {"createAppointment": {**_appointment(row), "patient": _person(found), "doctor": _doctor(doctor)}}


ANSWERS: dict[str, Answer] = {"Day": day, "Patient": patient, "Alive": alive, "Book": book}


async def answer(request: Request) -> Response:
    """Goes by the operation's name; the document is not read."""
    asked = orjson.loads(await request.body())
    place = request.app.state.client[database_name()]
    found = await ANSWERS[asked["operationName"]](place, tenant_of(request), asked.get("variables") or {})
    return Response(orjson.dumps({"data": found}), media_type="application/json")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with client() as connected:
        app.state.client = connected
        app.state.clinics = await clinics(connected)
        gc.collect()
        gc.freeze()  # what was loaded at the start is never looked through again
        yield


def create_app() -> Starlette:
    """The application, for uvicorn's `--factory`."""
    return Starlette(routes=[Route("/graphql", answer, methods=["POST"])], lifespan=lifespan)
