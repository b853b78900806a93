"""What clinics see of each other's patients, and of those that they share."""

from __future__ import annotations

import itertools

from tests.fixtures.clinics import Client, MakeClinic, Server
from tests.resolvers.patient_calls import ARCHIVE, LIST, NOTES, NOWHERE, ONE, RESTORE, UPDATE, found, register, share


async def test_a_patient_of_another_clinic_does_not_exist(admin: Client, stranger: Client) -> None:
    theirs = await register(stranger, notes="theirs")

    for id, query in itertools.product((theirs["id"], NOWHERE, "nonsense"), (UPDATE, NOTES, ARCHIVE, RESTORE)):
        values = {"version": 1, "givenName": "Mine"} if query == UPDATE else {}
        values |= {"version": 1, "notes": "mine"} if query == NOTES else {}
        answer = await admin.gql(query, input={"id": id, **values})
        assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.id"])
        assert answer.errors[0]["message"] == "Not found."
    assert (await admin.gql(ONE, id=theirs["id"])).codes == ["NOT_FOUND"]
    assert (await stranger.gql(ONE, id=theirs["id"])).data["patient"] == theirs


async def test_a_shared_patient_has_one_set_of_demographics_and_a_record_at_each(
    make_clinic: MakeClinic, server: Server
) -> None:
    here, there = await make_clinic(), await make_clinic()
    us, them = await server.sign_in(here), await server.sign_in(there)
    made = await register(us, notes="ours alone", familyName="Shared")
    assert await found(them) == []

    await share(made, here, there)

    seen = (await them.gql(ONE, id=made["id"])).data["patient"]
    assert {**seen, "record": None} == {**made, "record": None}
    assert seen["record"]["code"] != made["record"]["code"]
    assert seen["record"]["notes"] is None
    changed = await them.gql(UPDATE, input={"id": made["id"], "version": 1, "phone": "+12125550777"})
    assert changed.data["updatePatient"]["version"] == 2
    assert (await us.gql(ONE, id=made["id"])).data["patient"]["phone"] == "+12125550777"
    await them.gql(NOTES, input={"id": made["id"], "version": 1, "notes": "theirs alone"})
    assert (await us.gql(ONE, id=made["id"])).data["patient"]["record"] == made["record"]


async def test_each_clinic_archives_for_itself(make_clinic: MakeClinic, server: Server) -> None:
    here, there = await make_clinic(), await make_clinic()
    us, them = await server.sign_in(here), await server.sign_in(there)
    made = await register(us, familyName="Shared")
    await share(made, here, there)

    await them.gql(ARCHIVE, input={"id": made["id"]})

    assert (await found(them), await found(them, status="ARCHIVED")) == ([], [made["id"]])
    assert (await found(us), await found(us, status="ARCHIVED")) == ([made["id"]], [])
    assert (await us.gql(ONE, id=made["id"])).data["patient"]["record"]["archivedAt"] is None
    await us.gql(ARCHIVE, input={"id": made["id"]})
    await them.gql(RESTORE, input={"id": made["id"]})
    assert (await found(them), await found(us)) == ([made["id"]], [])


async def test_the_code_of_another_clinics_record_finds_nobody(make_clinic: MakeClinic, server: Server) -> None:
    here, there = await make_clinic(), await make_clinic()
    us, them = await server.sign_in(here), await server.sign_in(there)
    made = await register(us)
    await share(made, here, there)

    assert await found(us, made["record"]["code"]) == [made["id"]]
    assert await found(them, made["record"]["code"]) == []


async def test_no_answer_and_no_command_of_the_client_names_the_sharing_clinics(
    make_clinic: MakeClinic, server: Server
) -> None:
    here, there = await make_clinic(), await make_clinic()
    us = await server.sign_in(here)
    made = await register(us)
    await share(made, here, there)

    for answer in (
        await us.gql(ONE, id=made["id"]),
        await us.gql(LIST, filter={"search": made["familyName"]}),
        await us.gql(UPDATE, input={"id": made["id"], "version": 1, "sex": "MALE"}),
        await us.gql(ARCHIVE, input={"id": made["id"]}),
        await us.gql("query($id: ID!) { patient(id: $id) { tenantIds } }", id=made["id"]),
    ):
        text = answer.response.text
        assert str(there.tenant.id) not in text
        assert there.tenant.subdomain not in text
