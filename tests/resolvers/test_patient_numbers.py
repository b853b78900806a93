"""National ids and insurance numbers: the clinic finds patients by them, and nobody else learns anything."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import bson
import pytest
from bson import ObjectId

from app.tenancy.scope import Database
from tests.fixtures.clinics import Client, Clinic
from tests.fixtures.commands import Commands
from tests.fixtures.people import SignedIn
from tests.resolvers.patient_calls import CREATE, DUPLICATES, NOWHERE, ONE, family, found, register

UPDATE_RECORD = """mutation($input: UpdatePatientRecordInput!) { updatePatientRecord(input: $input) {
    id record { version nationalId insurer insuranceNumber notes } } }"""


def number() -> str:
    return f"AB {uuid4().int % 10**9:09}-X"


def otherwise(text: str) -> str:
    """The same number, written in another way."""
    return text.replace(" ", "").replace("-", ".").lower()


async def test_numbers_are_kept_shown_and_stored_closed(admin: Client, raw: Database, commands: Commands) -> None:
    national, insured = number(), number()
    made = await register(admin, nationalId=national, insurer="Aetna", insuranceNumber=insured, notes="Quiet room")
    shown = (await admin.gql(ONE, id=made["id"])).data["patient"]["record"]
    assert made["record"] == shown
    assert (shown["nationalId"], shown["insurer"], shown["insuranceNumber"]) == (national, "Aetna", insured)
    row = await raw["patient_records"].find_one({"patient_id": ObjectId(made["id"])})
    assert row is not None
    assert row["insurer"] == "Aetna"
    sent = b"".join(bson.encode(dict(command)) for _, command in commands.seen)
    for secret in (national, insured, "Quiet room", otherwise(national)):
        assert secret.encode() not in bson.encode(row)
        assert secret.encode() not in sent


async def test_a_patient_is_found_by_the_whole_number_however_it_is_written(admin: Client) -> None:
    national, insured = number(), number()
    made = await register(admin, nationalId=national, insuranceNumber=insured)
    for text in (national, otherwise(national), insured, otherwise(insured), made["record"]["code"]):
        assert await found(admin, text) == [made["id"]], text
    for text in (national[:-1], national[1:], f"{national}1"):
        assert await found(admin, text) == [], "a part of a number finds nobody"


async def test_another_clinic_finds_its_own_patient_by_the_same_number(admin: Client, stranger: Client) -> None:
    national = number()
    ours, theirs = await register(admin, nationalId=national), await register(stranger, nationalId=national)
    assert await found(admin, national) == [ours["id"]]
    assert await found(stranger, national) == [theirs["id"]]


async def test_two_clinics_store_different_traces_of_one_number(admin: Client, stranger: Client, raw: Database) -> None:
    national = number()
    ids = [ObjectId((await register(client, nationalId=national))["id"]) for client in (admin, stranger)]
    rows = await raw["patient_records"].find({"patient_id": {"$in": ids}}).to_list()
    assert len({bytes(row["national_id_index"][0]) for row in rows}) == 2


async def test_whoever_registers_is_warned_of_the_same_number_here_and_not_elsewhere(
    admin: Client, stranger: Client
) -> None:
    national, insured = number(), number()
    made = await register(admin, nationalId=national, insuranceNumber=insured)
    stranger_to_it = {"givenName": "Somebody", "familyName": family()}
    for values in ({"nationalId": otherwise(national)}, {"insuranceNumber": insured}):
        answer = await admin.gql(DUPLICATES, input={**stranger_to_it, **values})
        assert [one["id"] for one in answer.data["possibleDuplicates"]] == [made["id"]]
        assert (await stranger.gql(DUPLICATES, input={**stranger_to_it, **values})).data["possibleDuplicates"] == []
    assert (await admin.gql(DUPLICATES, input=stranger_to_it)).data["possibleDuplicates"] == []


async def test_numbers_are_changed_and_cleared_by_their_version(admin: Client) -> None:
    old, new = number(), number()
    made = await register(admin, nationalId=old, insurer="Aetna", notes="stays")

    async def change(version: int, **values: Any) -> Any:
        return await admin.gql(UPDATE_RECORD, input={"id": made["id"], "version": version, **values})

    changed = (await change(1, nationalId=new)).data["updatePatientRecord"]["record"]
    assert changed == {"version": 2, "nationalId": new, "insurer": "Aetna", "insuranceNumber": None, "notes": "stays"}
    assert (await found(admin, old), await found(admin, new)) == ([], [made["id"]])
    stale = await change(1, nationalId=old)
    assert (stale.codes, stale.paths) == (["CONFLICT"], ["input.version"])
    assert await found(admin, new) == [made["id"]]
    cleared = (await change(2, nationalId=None)).data["updatePatientRecord"]["record"]
    assert (cleared["nationalId"], cleared["version"]) == (None, 3)
    assert await found(admin, new) == []


async def test_of_two_changes_of_one_version_one_wins(admin: Client) -> None:
    made = await register(admin)
    answers = await asyncio.gather(
        *(
            admin.http.post(
                "/graphql",
                headers={"X-Polyclinic-Client": "tests", "Authorization": f"Bearer {admin.token}"},
                json={
                    "query": UPDATE_RECORD,
                    "variables": {"input": {"id": made["id"], "version": 1, "nationalId": number()}},
                },
            )
            for _ in range(4)
        )
    )
    codes = [answer.json().get("errors", [{}])[0].get("extensions", {}).get("code") for answer in answers]
    assert sorted(codes, key=str) == ["CONFLICT"] * 3 + [None]


@pytest.mark.parametrize("name", ["nationalId", "insuranceNumber"])
@pytest.mark.parametrize("value", ["x" * 65, "1-2", "--- ---", "line\nbreak 1234", "zero\x00width 1234"], ids=repr)
async def test_a_number_that_cannot_be_one_is_refused_with_its_path(admin: Client, name: str, value: str) -> None:
    made = await register(admin)
    last = family()
    created = await admin.gql(CREATE, input={"givenName": "A", "familyName": last, name: value})
    assert (created.codes, created.paths) == (["VALIDATION_FAILED"], [f"input.{name}"])
    assert await found(admin, last) == []
    changed = await admin.gql(UPDATE_RECORD, input={"id": made["id"], "version": 1, name: value})
    assert (changed.codes, changed.paths) == (["VALIDATION_FAILED"], [f"input.{name}"])
    assert (await admin.gql(ONE, id=made["id"])).data["patient"]["record"][name] is None


async def test_rights_and_clinics_bound_who_changes_them(
    admin: Client, stranger: Client, signed_in: SignedIn, clinic_a: Clinic
) -> None:
    national = number()
    made = await register(admin, nationalId=national)
    input = {"id": made["id"], "version": 1, "nationalId": number()}
    assert (await (await signed_in(clinic_a, "accountant")).gql(UPDATE_RECORD, input=input)).codes == ["FORBIDDEN"]
    absent = await stranger.gql(UPDATE_RECORD, input={**input, "id": NOWHERE})
    theirs = await stranger.gql(UPDATE_RECORD, input=input)
    assert (theirs.codes, theirs.paths) == (absent.codes, absent.paths) == (["NOT_FOUND"], ["input.id"])
    assert (await admin.gql(ONE, id=made["id"])).data["patient"]["record"]["nationalId"] == national
