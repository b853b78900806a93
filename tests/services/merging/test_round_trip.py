"""The law of merging: nothing is lost, and what was merged and taken apart is what it was, document by document."""

from __future__ import annotations

from typing import Any

import pytest_asyncio
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.services.merging.moving import movable
from app.tenancy.crossing import tenant_scope
from models import TENANT_DOCUMENTS, Appointment, PatientRecord
from models.references import Reference, pointers_of
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.resolvers.merge_calls import kept, merged, unmerged
from tests.resolvers.patient_calls import register
from tests.services.merging.filing import KINDS, Filing

Row = dict[str, Any]

KIND = st.sampled_from(KINDS)
SLOT = st.none() | st.integers(0, 3)
HOLDINGS = st.lists(st.tuples(KIND, st.booleans()), max_size=25)
"""Kind, and whether it is the duplicate's."""


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture
async def admin(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic)


def flat(held: dict[str, dict[Any, Row]]) -> dict[tuple[str, Any], Row]:
    return {(name, id): row for name, rows in held.items() for id, row in rows.items()}


def passed(row: Row, source: str, target: str) -> Row:
    """The row as another patient's: what names the patient, and nothing else, is different."""

    def renamed(value: Any) -> Any:
        if isinstance(value, list):
            return [renamed(one) for one in value]
        if isinstance(value, ObjectId):
            return ObjectId(target) if value == ObjectId(source) else value
        return value.replace(f":{source}:", f":{target}:") if isinstance(value, str) else value

    return {name: renamed(value) for name, value in row.items()}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None)
@given(
    holdings=HOLDINGS,
    slots=st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=4, unique=True),
    later=st.lists(KIND, max_size=6),
)
async def test_what_is_merged_and_taken_apart_is_what_it_was(
    admin: Client, clinic: Clinic, holdings: list[Any], slots: list[Any], later: list[Any]
) -> None:
    survivor, duplicate = await register(admin, email="a@example.com"), await register(admin, notes="Theirs")
    pair = {False: ObjectId(survivor["id"]), True: ObjectId(duplicate["id"])}
    filing = Filing()
    async with tenant_scope(clinic.ref):
        for model, theirs in holdings:
            await filing.file(model, pair[theirs])
        for slot, theirs in slots:
            await filing.file(Appointment, pair[theirs], slot=slot)
    before = flat(await kept(clinic, survivor, duplicate, changes=True))

    made = await merged(admin, survivor, duplicate)

    together = flat(await kept(clinic, survivor, changes=True))
    for (name, id), row in before.items():
        if name in ("patients", "patient_records"):
            continue
        expected = passed(row, duplicate["id"], survivor["id"])
        found = together[name, id]
        found.pop("known_as", None), expected.pop("known_as", None)
        if name == "appointments":  # the time of one who was booked twice in the past is claimed once
            assert set(found.pop("claims") or ()) <= set(expected.pop("claims") or ())
        assert found == expected, name
    async with tenant_scope(clinic.ref):
        for model in later:
            await filing.file(model, ObjectId(survivor["id"]))
    added = {key: row for key, row in flat(await kept(clinic, survivor, changes=True)).items() if key not in before}

    await unmerged(admin, made)

    apart = flat(await kept(clinic, survivor, duplicate, changes=True))
    assert {key: apart.get(key) for key in before} == before
    assert {name for name, _ in apart.keys() - before.keys() - added.keys()} <= {"patient_versions"}
    assert {key: apart[key] for key in added} == added


async def test_each_kind_of_document_goes_along_and_comes_back(admin: Client, clinic: Clinic) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    filing = Filing()
    async with tenant_scope(clinic.ref):
        for model in KINDS:
            await filing.file(model, ObjectId(duplicate["id"]))
    before = await kept(clinic, survivor, duplicate, changes=True)

    made = await merged(admin, survivor, duplicate)

    moved = await kept(clinic, survivor, changes=True)
    for model, id, _ in filing.filed:
        assert moved[model.guarded_name()][id][str(model.patient_column)] == ObjectId(survivor["id"]), model
    assert await kept(clinic, duplicate, changes=True) == {}
    await unmerged(admin, made)
    assert await kept(clinic, survivor, duplicate, changes=True) == before


def test_whatever_names_a_patient_is_among_what_moves() -> None:
    """A document that named a patient within a value of its own would be left behind."""
    told_of = {"audit_entries"}
    for model in TENANT_DOCUMENTS:
        named = {one.path for one in pointers_of(model) if one.mark == Reference("patients")}
        if named and model.guarded_name() not in told_of:
            assert named == {model.patient_column}, model
            assert model in movable() or model is PatientRecord
            assert not str(model.model_fields[str(model.patient_column)].annotation).startswith("list"), model
