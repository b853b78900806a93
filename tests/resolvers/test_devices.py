"""A person's devices: shown without giving anything away, and each one ended from any other at once."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from app.auth.sessions import handle_of
from app.auth.tokens import STAFF, tokens_of
from tests.fixtures.clinics import Client, MakeClinic, Server
from tests.resolvers.test_session import PATIENTS, VIEWER
from tests.server_process import server_process

SESSIONS = "{ sessions { id device address openedAt lastSeenAt expiresAt secondFactor current } }"
REVOKE = "mutation($input: RevokeSessionInput!) { revokeSession(input: $input) }"


@pytest.fixture(scope="module")
def second_process(server: Server) -> Iterator[str]:
    with server_process(server.settings) as address:
        yield address


def name_in(server: Server, client: Client) -> str:
    assert client.token is not None
    claims = tokens_of(server.settings, STAFF).read(client.token)
    assert claims is not None
    name: str = claims.session_id
    return name


async def own_handle(client: Client) -> str:
    [current] = [one for one in (await client.gql(SESSIONS)).data["sessions"] if one["current"]]
    found: str = current["id"]
    return found


async def test_the_devices_of_a_person_are_listed_for_them_alone(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    phone, desk = await server.sign_in(clinic), await server.sign_in(clinic)
    await server.sign_in(clinic, "nurse")

    answer = await phone.gql(SESSIONS)

    shown = answer.data["sessions"]
    assert [one["current"] for one in shown].count(True) == 1
    assert {one["id"] for one in shown} == {handle_of(name_in(server, one)) for one in (phone, desk)}
    assert all(one["device"].startswith("python-httpx/") for one in shown)
    assert all(one["address"].startswith("127.1.") for one in shown)
    assert all(one["openedAt"] <= one["lastSeenAt"] < one["expiresAt"] for one in shown)
    for client in (phone, desk):
        assert name_in(server, client) not in answer.response.text, "the real name would make half a token"


async def test_sessions_that_are_over_are_not_listed(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    phone, desk = await server.sign_in(clinic), await server.sign_in(clinic)
    await desk.gql("mutation { logout }")

    assert len((await phone.gql(SESSIONS)).data["sessions"]) == 1


async def test_a_lost_device_is_out_at_once_in_every_process(
    server: Server, make_clinic: MakeClinic, second_process: str
) -> None:
    clinic = await make_clinic()
    lost, phone = await server.sign_in(clinic), await server.sign_in(clinic)

    async def elsewhere(client: Client) -> list[str]:
        headers = {"Host": clinic.host, "X-Polyclinic-Client": "tests", "Authorization": f"Bearer {client.token}"}
        async with httpx.AsyncClient(base_url=second_process, trust_env=False) as other:
            answer = await other.post("/graphql", json={"query": PATIENTS}, headers=headers)
        return [error["extensions"]["code"] for error in answer.json().get("errors", [])]

    assert await elsewhere(lost) == []
    assert (await phone.gql(REVOKE, input={"sessionId": await own_handle(lost)})).data == {"revokeSession": True}

    assert await elsewhere(lost) == ["UNAUTHENTICATED"]
    assert (await lost.gql(PATIENTS)).codes == ["UNAUTHENTICATED"]
    assert await elsewhere(phone) == []
    assert (await phone.gql(VIEWER)).data["viewer"] is not None


async def test_another_persons_session_is_answered_as_one_that_does_not_exist(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    admin, nurse = await server.sign_in(clinic), await server.sign_in(clinic, "nurse")
    theirs, real_name = await own_handle(nurse), name_in(server, nurse)

    for tried in (theirs, real_name, name_in(server, admin), "f" * 24, "", "\u00e9", "$ne"):
        answer = await admin.gql(REVOKE, input={"sessionId": tried})
        assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.sessionId"])
        assert answer.errors[0]["message"] == "Not found."

    assert (await nurse.gql(VIEWER)).data["viewer"] is not None
    assert (await admin.gql(VIEWER)).data["viewer"] is not None


async def test_ending_ones_own_session_signs_out(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic)
    handle = await own_handle(client)

    answer = await client.gql(
        f'mutation {{ revokeSession(input: {{sessionId: "{handle}"}}) '
        'createPatient(input: {givenName: "After", familyName: "Sign-out"}) { id } }'
    )

    assert answer.body["data"] == {"revokeSession": True, "createPatient": None}
    assert answer.codes == ["UNAUTHENTICATED"]
    assert "Max-Age=0" in answer.response.headers["set-cookie"]
    assert (await client.gql(VIEWER)).data == {"viewer": None}
