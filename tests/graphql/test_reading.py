"""What is read is what was asked for, in as many commands for a hundred rows as for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.fixtures.clinics import Client, MakeClinic, Server
from tests.fixtures.commands import Commands


@pytest.fixture
async def filled(make_clinic: MakeClinic, server: Server) -> Client:
    """The admin of a clinic with twelve doctors, of three specializations each, and twelve patients."""
    client = await server.sign_in(await make_clinic())
    fields = [
        (
            await client.gql(
                "mutation($input: CreateSpecializationInput!) { createSpecialization(input: $input) { id } }",
                input={"name": f"Field {i}"},
            )
        ).data["createSpecialization"]["id"]
        for i in range(5)
    ]
    for i in range(12):
        await client.gql(
            "mutation($input: CreateStaffInput!) { createStaff(input: $input) { id } }",
            input={
                "kind": "DOCTOR",
                "name": f"Doctor {i:02}",
                "specializationIds": [fields[(i + n) % 5] for n in range(3)],
            },
        )
        await client.gql(
            "mutation($input: CreatePatientInput!) { createPatient(input: $input) { id } }",
            input={"givenName": "Pat", "familyName": f"Number {i:02}"},
        )
    return client


def read_by(commands: Commands, collection: str) -> list[Mapping[str, Any]]:
    """The projections of the finds on a collection."""
    return [command["projection"] for command in commands.on(collection) if "find" in command]


@pytest.mark.parametrize(
    ("selection", "projection"),
    [
        ("{ edges { node { name } } }", {"_id": 1, "name": 1, "name_key": 1}),
        ("{ edges { node { id kind } } }", {"_id": 1, "kind": 1, "name_key": 1}),
        ("{ edges { cursor } }", {"_id": 1, "name_key": 1}),
        ("{ pageInfo { endCursor } }", {"_id": 1, "name_key": 1}),
        ("{ edges { node { hasAccount } } }", {"_id": 1, "user_id": 1, "name_key": 1}),
        ("{ edges { node { specializations { name } } } }", {"_id": 1, "specialization_ids": 1, "name_key": 1}),
        ("{ edges { ...E } } fragment E on StaffEdge { node { ... on Staff { email } } }", None),
    ],
)
async def test_a_list_reads_the_columns_asked_for(
    filled: Client, commands: Commands, selection: str, projection: Mapping[str, int] | None
) -> None:
    query, _, fragment = selection.partition(" fragment ")
    await filled.gql(f"{{ staff {query} }}" + (f" fragment {fragment}" if fragment else ""))

    assert read_by(commands, "staff") == [projection or {"_id": 1, "email": 1, "name_key": 1}]


async def test_one_reads_the_columns_asked_for(filled: Client, commands: Commands) -> None:
    edges = (await filled.gql("{ patients(first: 1) { edges { node { id } } } }")).data["patients"]["edges"]
    commands.clear()

    await filled.gql("query($id: ID!) { patient(id: $id) { name } }", id=edges[0]["node"]["id"])

    assert read_by(commands, "patients") == [{"given_name": 1, "family_name": 1}]


async def test_related_rows_are_read_with_their_own_columns(filled: Client, commands: Commands) -> None:
    await filled.gql("{ patients { edges { node { record { code } } } } }")

    assert read_by(commands, "patient_records") == [{"_id": 0, "code": 1, "patient_id": 1}]


@pytest.mark.parametrize(
    "query",
    [
        """query($n: Int!) { staff(first: $n, filter: {kind: DOCTOR}) {
            totalCount edges { node { name specializations { name } } } } }""",
        "query($n: Int!) { patients(first: $n) { edges { node { name record { code } } } } }",
        "query($n: Int!) { staff(first: $n) { edges { node { access { status role { name permissions } } } } } }",
        """query($n: Int!) { patients(first: $n) { edges { node {
            appointments(first: 3) { edges { node { doctor { name specializations { name } } } } } } } } }""",
    ],
)
async def test_the_number_of_commands_does_not_grow_with_the_page(
    filled: Client, commands: Commands, query: str
) -> None:
    sent = []
    for rows in (2, 12):
        commands.clear()
        answer = await filled.gql(query, n=rows)
        (connection,) = answer.data.values()
        assert len(connection["edges"]) == rows
        sent.append(commands.asked())

    assert sent[1] <= sent[0]  # what was remembered of the first page may even be spared
