"""The catalogue of medicines. What it shares with other named things is in `test_catalog`."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.fixtures.clinics import Client, Clinic
from tests.fixtures.people import SignedIn

FIELDS = "{ id version name form strength atcCode ingredients active archivedAt }"
CREATE = f"mutation($input: CreateMedicineInput!) {{ createMedicine(input: $input) {FIELDS} }}"
UPDATE = f"mutation($input: UpdateMedicineInput!) {{ updateMedicine(input: $input) {FIELDS} }}"
ARCHIVE = f"mutation($input: ArchiveInput!) {{ archiveMedicine(input: $input) {FIELDS} }}"
LIST = "query($filter: MedicineFilter) { medicines(first: 100, filter: $filter) { edges { node { name } } } }"


def valid(**changes: Any) -> dict[str, Any]:
    return {"name": f"Med {uuid4().hex[:12]}", "form": "TABLET", "ingredients": ["metformin"], **changes}


async def create(client: Client, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = (await client.gql(CREATE, input=valid(**changes))).data["createMedicine"]
    return made


async def names(client: Client, **filter: Any) -> list[str]:
    answer = await client.gql(LIST, filter=filter)
    return [edge["node"]["name"] for edge in answer.data["medicines"]["edges"]]


async def test_a_medicine_is_found_by_each_level_of_its_code_and_by_its_substances(admin: Client) -> None:
    made = await create(admin, atcCode=" a10ba02 ", strength="500 mg", ingredients=["Metformín", "sitagliptin"])
    assert (made["atcCode"], made["active"]) == ("A10BA02", True)
    for code in ("A", "A10", "A10B", "A10BA", "A10BA02", "a10ba"):
        assert made["name"] in await names(admin, atcCode=code)
    for code in ("A1", "A10BA0", "B", "A10BB"):
        assert made["name"] not in await names(admin, atcCode=code)
    assert made["name"] in await names(admin, ingredient="METFORMIN")
    assert made["name"] not in await names(admin, ingredient="metfor")


async def test_what_follows_from_code_and_substances_follows_their_changes(admin: Client) -> None:
    made = await create(admin, atcCode="A10BA02")
    input = {"id": made["id"], "version": 1, "atcCode": "C09AA02", "ingredients": [f"enal {made['name']}"]}
    assert (await admin.gql(UPDATE, input=input)).data["updateMedicine"]["version"] == 2
    assert made["name"] in await names(admin, atcCode="C09")
    assert made["name"] not in await names(admin, atcCode="A10")
    assert [made["name"]] == await names(admin, ingredient=f"enal {made['name']}")
    await admin.gql(UPDATE, input={"id": made["id"], "version": 2, "atcCode": None})
    assert made["name"] not in await names(admin, atcCode="C09")


async def test_a_name_may_be_there_once_for_each_form_and_strength(admin: Client) -> None:
    made = await create(admin, strength="5 mg")
    await create(admin, name=made["name"], strength="10 mg")
    await create(admin, name=made["name"], strength="5 mg", form="CAPSULE")
    again = await admin.gql(CREATE, input=valid(name=made["name"].upper(), strength="5 mg"))
    assert (again.codes, again.paths) == (["CONFLICT"], ["input.name"])
    archived = (await admin.gql(ARCHIVE, input={"id": made["id"], "version": 1})).data["archiveMedicine"]
    assert (archived["active"], bool(archived["archivedAt"])) == (False, True)
    await create(admin, name=made["name"], strength="5 mg")


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"atcCode": "A1"}, "input.atcCode"),
        ({"atcCode": "A10BA023"}, "input.atcCode"),
        ({"atcCode": ""}, "input.atcCode"),
        ({"ingredients": []}, "input.ingredients"),
        ({"ingredients": ["x"] * 21}, "input.ingredients"),
        ({"ingredients": ["ok", " "]}, "input.ingredients.1"),
        ({"name": "x"}, "input.name"),
        ({"strength": "x" * 61}, "input.strength"),
    ],
    ids=str,
)
async def test_bad_values_are_refused_at_their_path(admin: Client, wrong: dict[str, Any], path: str) -> None:
    answer = await admin.gql(CREATE, input=valid(**wrong))
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])


async def test_doctors_and_nurses_look_and_do_not_change(signed_in: SignedIn, clinic_a: Clinic) -> None:
    for role in ("doctor", "nurse"):
        client = await signed_in(clinic_a, role)
        assert not (await client.gql(LIST)).errors
        assert (await client.gql(CREATE, input=valid())).codes == ["FORBIDDEN"]
