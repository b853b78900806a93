"""The id that a merged patient had leads to the survivor's lists: no record looks empty because an id is an old one."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from tests.contracts._schema import Place, RootField, places, root_fields
from tests.contracts._values import variables
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.resolvers.merge_calls import merged, unmerged
from tests.resolvers.patient_calls import register
from tests.services.merging.filing import KINDS, Filing

OF_ONE = (("patientId",), ("filter", "patientId"))
NOT_REDIRECTED = {"erasurePreview", "portalAccount"}
"""What comes before a writing, which needs the survivor's id; and what has a test of its own below."""
ANSWERS = {"careHistory": "{ kind at }", "patientBalance": "{ sums { open { amount } } }"}
COUNTED = "{ totalCount edges { node { __typename } } }"
named = partial(pytest.mark.parametrize, ids=str)


def asked_by_patient() -> list[tuple[RootField, Place]]:
    """The queries for staff that are about one patient, and where they take the id."""
    return [
        (root, place)
        for root in root_fields()
        for place in places(root)
        if not root.is_mutation and place.path in OF_ONE and root.name not in NOT_REDIRECTED
    ]


BY_PATIENT = asked_by_patient()
LISTS = [(root, place) for root, place in BY_PATIENT if root.is_connection and root.model in KINDS]


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture
async def admin(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic)


async def told(client: Client, root: RootField, place: Place, patient: str) -> Any:
    selection = COUNTED if root.is_connection else ANSWERS.get(root.name, "{ __typename }")
    given = variables(root, lambda _place: patient, place, patient)
    return (await client.gql(root.document(selection), **given)).data[root.name]


async def test_every_list_of_a_patient_is_the_survivors_by_the_old_id(admin: Client, clinic: Clinic) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    async with tenant_scope(clinic.ref):
        filing = Filing()
        for model in KINDS:
            await filing.file(model, ObjectId(duplicate["id"]))
    before = {root.name: await told(admin, root, place, duplicate["id"]) for root, place in LISTS}
    made = await merged(admin, survivor, duplicate)

    for root, place in BY_PATIENT:
        old, new = [await told(admin, root, place, one["id"]) for one in (duplicate, survivor)]
        if root.name != "auditLog":  # where each look is one entry more
            assert old == new, root
    found = {root.name: await told(admin, root, place, duplicate["id"]) for root, place in LISTS}
    assert {name for name, page in found.items() if not page["totalCount"]} == {
        name for name, page in before.items() if not page["totalCount"]
    }

    await unmerged(admin, made)
    assert {root.name: await told(admin, root, place, duplicate["id"]) for root, place in LISTS} == before


def test_the_walk_sees_what_is_asked_by_patient() -> None:
    names = {root.name for root, _ in BY_PATIENT}
    assert len(names) > 30
    assert names >= {"medicalRecords", "careHistory", "invoices", "patientBalance", "stockMovements", "sharedHistory"}


async def test_a_history_that_is_nobodys_is_not_found(admin: Client) -> None:
    answer = await admin.gql("query($id: ID!) { careHistory(patientId: $id) { kind } }", id=str(ObjectId()))
    assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["patientId"])


async def test_access_to_the_portal_is_told_by_the_old_id(admin: Client) -> None:
    survivor, duplicate = await register(admin), await register(admin, email="ana@example.com")
    enable = "mutation($id: ID!) { enablePortal(input: {patientId: $id, channel: EMAIL}) { id } }"
    account = (await admin.gql(enable, id=duplicate["id"])).data["enablePortal"]
    await merged(admin, survivor, duplicate)

    look = "query($id: ID!) { portalAccount(patientId: $id) { id } }"
    assert (await admin.gql(look, id=duplicate["id"])).data["portalAccount"] == account
