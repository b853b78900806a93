"""Specializations. What they share with other named things is in `test_catalog`."""

from __future__ import annotations

from tests.fixtures.clinics import Client

CREATE = """mutation($input: CreateSpecializationInput!) { createSpecialization(input: $input) {
    id version name description } }"""
UPDATE = """mutation($input: UpdateSpecializationInput!) { updateSpecialization(input: $input) {
    version name description } }"""


async def test_absent_values_stay_and_null_clears(admin: Client) -> None:
    made = (await admin.gql(CREATE, input={"name": "Immunology", "description": "Defences"})).data
    id = made["createSpecialization"]["id"]

    renamed = await admin.gql(UPDATE, input={"id": id, "version": 1, "name": "Immunologie"})
    cleared = await admin.gql(UPDATE, input={"id": id, "version": 2, "description": None})

    assert renamed.data["updateSpecialization"] == {"version": 2, "name": "Immunologie", "description": "Defences"}
    assert cleared.data["updateSpecialization"] == {"version": 3, "name": "Immunologie", "description": None}


async def test_staff_and_services_keep_an_archived_one(admin: Client) -> None:
    id = (await admin.gql(CREATE, input={"name": "Oncology"})).data["createSpecialization"]["id"]
    staff = await admin.gql(
        "mutation($input: CreateStaffInput!) { createStaff(input: $input) { id } }",
        input={"kind": "DOCTOR", "name": "Onno", "specializationIds": [id]},
    )

    await admin.gql(
        "mutation($input: ArchiveInput!) { archiveSpecialization(input: $input) { id } }",
        input={"id": id, "version": 1},
    )

    shown = await admin.gql(
        "query($id: ID!) { staffMember(id: $id) { specializations { name archivedAt } } }",
        id=staff.data["createStaff"]["id"],
    )
    (specialization,) = shown.data["staffMember"]["specializations"]
    assert specialization["name"] == "Oncology"
    assert specialization["archivedAt"] is not None
