"""The check of clinics' documents finds each fault that can be planted past the guard, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId
from pymongo import AsyncMongoClient

from app.config import Settings
from app.db.schema import apply_schema
from app.services.tenant_checks import Finding, check_columns
from app.tenancy.scope import Database
from models import ALL_DOCUMENTS
from models.values import now
from tests.fixtures.clinics import Server

A, B = ObjectId(), ObjectId()


@dataclass(frozen=True, slots=True)
class Place:
    """A database of its own with the schema and two clinics `A` and `B`, each with a room, a role and a patient."""

    database: Database
    client: AsyncMongoClient[dict[str, Any]]
    settings: Settings
    ids: Mapping[str, ObjectId]

    async def plant(self, collection: str, **fields: Any) -> ObjectId:
        """Stores a document that no validator would let in; unique fields get values of their own."""
        id = ObjectId()
        raw = self.database.get_collection(collection)
        await raw.insert_one(
            {"_id": id, "name": str(id), "name_key": str(id), **fields}, bypass_document_validation=True
        )
        return id

    async def found(self) -> list[Finding]:
        return await check_columns(self.client, self.settings, database=self.database)

    async def problems(self) -> list[tuple[str, str, int]]:
        return [(one.collection, one.problem, one.count) for one in await self.found()]


@pytest_asyncio.fixture(scope="module")
async def schema(settings: Settings, server: Server) -> AsyncIterator[Place]:
    async with AsyncMongoClient[dict[str, Any]](settings.mongodb_uri, tz_aware=True) as client:
        database = client[f"{settings.mongodb_database}_checks"]
        await apply_schema(database)
        yield Place(database, client, settings, {})


@pytest_asyncio.fixture
async def place(schema: Place) -> AsyncIterator[Place]:
    names = [document.guarded_name() for document in ALL_DOCUMENTS]
    for name in names:
        await schema.database[name].delete_many({})
    await schema.database["tenants"].insert_many(
        [{"_id": A, "subdomain": "aa", "name": "A"}, {"_id": B, "subdomain": "bb", "name": "B"}]
    )
    ids: dict[str, ObjectId] = {}
    for letter, owner in (("a", A), ("b", B)):
        ids[f"room_{letter}"] = await schema.plant("rooms", tenant_id=owner)
        ids[f"role_{letter}"] = await schema.plant("roles", tenant_id=owner)
        ids[f"staff_{letter}"] = await schema.plant("staff", tenant_id=owner)
        ids[f"patient_{letter}"] = await schema.plant("patients", tenant_ids=[owner])
    ids["user"] = await schema.plant("users", email="a@example.com")
    yield Place(schema.database, schema.client, schema.settings, ids)


async def test_sound_data_has_no_findings(place: Place) -> None:
    ids = place.ids
    await place.plant("patients", tenant_ids=[A, B], archived_in=[B])
    await place.plant("appointments", tenant_id=A, patient_id=ids["patient_a"], doctor_id=ids["staff_a"], room_id=None)
    await place.plant("memberships", user_id=ids["user"], clinic_id=A, role_id=ids["role_a"], staff_id=None)
    await place.plant("sessions", user_id=ids["user"], clinic_ids=[A, B], expires_at=now() + timedelta(days=1))
    await place.plant("tombstones", subdomain="gone", tenant_id_was=ObjectId())
    await place.plant("platform_audit", tenant=ObjectId())

    assert await place.problems() == []


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "tenant_id is missing"),
        ({"tenant_id": None}, "tenant_id is null"),
        ({"tenant_id": str(A)}, "tenant_id is not an id but string"),
        ({"tenant_id": [A]}, "tenant_id is not an id but array"),
        ({"tenant_id": ObjectId("0" * 24)}, f"belongs to no clinic that exists: {'0' * 24}"),
    ],
)
@pytest.mark.parametrize("collection", ["rooms", "audit_entries", "counters"])
async def test_a_document_without_its_clinic(
    place: Place, collection: str, fields: dict[str, Any], problem: str
) -> None:
    planted = await place.plant(collection, **fields)

    (found,) = await place.found()

    assert (found.collection, found.problem, found.count) == (collection, problem, 1)
    assert found.examples == (str(planted),)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "tenant_ids is missing or not a list"),
        ({"tenant_ids": A}, "tenant_ids is missing or not a list"),
        ({"tenant_ids": None}, "tenant_ids is missing or not a list"),
        ({"tenant_ids": []}, "tenant_ids is empty"),
        ({"tenant_ids": [A, "b"]}, "tenant_ids holds something else than ids"),
        ({"tenant_ids": [A, A]}, "tenant_ids names a clinic twice"),
        ({"tenant_ids": [A, ObjectId("0" * 24)]}, f"is shared with no clinic that exists: {'0' * 24}"),
        ({"tenant_ids": [A], "archived_in": [B]}, "archived_in names a clinic that does not share it"),
    ],
)
async def test_a_shared_document_with_wrong_clinics(place: Place, fields: dict[str, Any], problem: str) -> None:
    await place.plant("patients", **fields)

    assert await place.problems() == [("patients", problem, 1)]


Plant = Callable[[Place], Awaitable[Any]]


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        (
            lambda p: p.plant("appointments", tenant_id=A, room_id=p.ids["room_b"]),
            ("appointments", "room_id points outside of its clinic, in rooms"),
        ),
        (
            lambda p: p.plant("appointments", tenant_id=A, patient_id=p.ids["patient_b"]),
            ("appointments", "patient_id points outside of its clinic, in patients"),
        ),
        (
            lambda p: p.plant("staff", tenant_id=A, specialization_ids=[ObjectId()]),
            ("staff", "specialization_ids points to nothing in specializations"),
        ),
        (
            lambda p: p.plant("memberships", user_id=p.ids["user"], clinic_id=A, role_id=p.ids["role_b"]),
            ("memberships", "role_id points outside of its clinic, in roles"),
        ),
        (
            lambda p: p.plant("memberships", user_id=ObjectId(), clinic_id=A),
            ("memberships", "user_id points to nothing in users"),
        ),
        (
            lambda p: p.plant("sessions", user_id=p.ids["user"], clinic_ids=[A, ObjectId()]),
            ("sessions", "clinic_ids points to nothing in tenants"),
        ),
    ],
)
async def test_a_reference_that_leaves_its_clinic(place: Place, plant: Plant, expected: tuple[str, str]) -> None:
    await plant(place)

    assert await place.problems() == [(*expected, 1)]


async def test_many_wrong_ones_are_one_finding_with_some_examples(place: Place) -> None:
    for _ in range(12):
        await place.plant("appointments", tenant_id=A, room_id=place.ids["room_b"], patient_id=place.ids["patient_b"])

    found = await place.found()

    assert [one.count for one in found] == [12, 12]
    assert all(1 <= len(one.examples) <= 5 for one in found)


async def test_a_collection_that_no_model_knows_of(place: Place) -> None:
    await place.plant("forgotten", tenant_id=A)
    try:
        assert await place.problems() == [("forgotten", "is not a registered collection", 1)]
    finally:
        await place.database.drop_collection("forgotten")


async def test_a_missing_validator_and_a_missing_index(place: Place, settings: Settings) -> None:
    await place.database.command("collMod", "rooms", validator={})
    await place.database["patients"].drop_index("name")
    try:
        assert sorted(await place.problems()) == [
            ("patients", "missing index name", 1),
            ("rooms", "different validator", 1),
        ]
    finally:
        await apply_schema(place.database, force=True)
