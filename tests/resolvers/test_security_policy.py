"""What a clinic asks of sessions: a second factor, shorter sessions. It holds at once, and locks nobody out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.tenancy.crossing import tenant_scope
from models import AuditEntry, AuditPending, Tenant
from tests.fixtures.clinics import PASSWORD, Client, Clinic, MakeClinic, Server
from tests.resolvers.second_factor_calls import DISABLE, VIEWER, enrolled, heard, log_in
from tests.resolvers.test_session import PATIENTS, SWITCH, also_works_at
from tests.server_process import server_process

FIELDS = "version secondFactorRequired sessionHours idleMinutes emailDomains peopleWithoutSecondFactor"
POLICY = f"{{ securityPolicy {{ {FIELDS} }} }}"
UPDATE = f"mutation($input: UpdateSecurityPolicyInput!) {{ updateSecurityPolicy(input: $input) {{ {FIELDS} }} }}"
LEVELS = "{ myClinics { role } sessions { id } secondFactors { recoveryCodesLeft } }"
CREATE = 'mutation { createPatient(input: {givenName: "No", familyName: "Entry"}) { id } }'


@pytest.fixture(scope="module")
def second_process(server: Server) -> Iterator[str]:
    with server_process(server.settings) as address:
        yield address


async def update(client: Client, **changes: Any) -> Any:
    version = (await client.gql(POLICY)).data["securityPolicy"]["version"]
    return await client.gql(UPDATE, input={"version": version, **changes})


async def required_at(server: Server, clinic: Clinic) -> Client:
    """The admin, who enrolled and then turned the requirement on."""
    admin = await server.sign_in(clinic)
    await enrolled(admin)
    assert not (await update(admin, secondFactorRequired=True)).errors
    await heard(server, clinic, second_factor=True)
    return admin


async def test_a_clinic_begins_without_a_policy_and_hears_who_lacks_a_second_factor(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)

    before = (await admin.gql(POLICY)).data["securityPolicy"]
    await enrolled(admin)
    after = (await admin.gql(POLICY)).data["securityPolicy"]

    assert before["peopleWithoutSecondFactor"] == len(clinic.emails)
    assert after["peopleWithoutSecondFactor"] == len(clinic.emails) - 1
    assert {name: before[name] for name in ("secondFactorRequired", "sessionHours", "idleMinutes", "emailDomains")} == {
        "secondFactorRequired": False,
        "sessionHours": None,
        "idleMinutes": None,
        "emailDomains": [],
    }


async def test_changes_are_checked_kept_and_told_to_the_audit(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)

    wrong = await update(admin, sessionHours=0, idleMinutes=1, emailDomains=["not a domain"])
    assert (await Tenant.get(clinic.tenant.key)).security.idle_minutes is None  # type: ignore[union-attr]
    good = await update(admin, sessionHours=10, idleMinutes=30, emailDomains=["Clinic.Example.com"])
    stale = await admin.gql(UPDATE, input={"version": 1, "idleMinutes": 60})
    cleared = await update(admin, sessionHours=None)

    assert set(wrong.paths) == {"input.sessionHours", "input.idleMinutes", "input.emailDomains.0"}
    assert good.data["updateSecurityPolicy"]["emailDomains"] == ["clinic.example.com"]
    assert (stale.codes, stale.paths) == (["CONFLICT"], ["input.version"])
    told = cleared.data["updateSecurityPolicy"]
    assert (told["sessionHours"], told["idleMinutes"]) == (None, 30)
    async with tenant_scope(clinic.ref):
        written = await AuditEntry.find({"action": "security_policy.change"}).to_list()
        pending = await AuditPending.find({"entry.action": "security_policy.change"}).to_list()
    assert len(written) + len(pending) == 2


async def test_nobody_asks_others_for_what_their_own_session_has_not(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)

    refused = await update(admin, secondFactorRequired=True)

    assert refused.codes == ["INVALID_STATE"]
    assert (await admin.gql(POLICY)).data["securityPolicy"]["secondFactorRequired"] is False
    await enrolled(admin)
    assert (await update(admin, secondFactorRequired=True)).data["updateSecurityPolicy"]["secondFactorRequired"]
    assert (await admin.gql(PATIENTS)).status == 200


async def test_without_the_factor_nothing_of_the_clinic_opens_and_the_way_to_it_stays_open(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    nurse = await server.sign_in(clinic, "nurse")
    admin = await required_at(server, clinic)

    for query in (PATIENTS, CREATE):
        answer = await nurse.gql(query)
        assert (answer.status, answer.codes) == (403, ["FORBIDDEN"])
        assert answer.errors[0]["extensions"]["secondFactorRequired"] is True
        assert not any((answer.body["data"] or {}).values())
    assert (await admin.gql(PATIENTS)).data["patients"]["totalCount"] == 0
    viewer = (await nurse.gql(VIEWER)).data["viewer"]
    assert (viewer["role"], viewer["secondFactor"], viewer["secondFactorRequired"]) == (None, False, True)
    assert not (await nurse.gql(LEVELS)).errors

    await enrolled(nurse)

    viewer = (await nurse.gql(VIEWER)).data["viewer"]
    assert (viewer["role"], viewer["secondFactor"], viewer["secondFactorRequired"]) == ("nurse", True, False)
    assert (await nurse.gql(PATIENTS)).status == 200


async def test_signing_in_there_leads_to_enrolment(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    await required_at(server, clinic)

    answer = await log_in(server, clinic, "doctor")

    told = answer.data["login"]
    assert told["viewer"] == {"role": None, "secondFactor": False, "secondFactorRequired": True, "clinic": None}
    doctor = server.client(clinic.host, told["token"])
    assert (await doctor.gql(PATIENTS)).codes == ["FORBIDDEN"]
    await enrolled(doctor)
    assert (await doctor.gql(PATIENTS)).status == 200, "the clinic need not be entered anew"


async def test_a_session_from_another_clinic_enters_and_may_do_nothing_before_it_has_one(
    server: Server, make_clinic: MakeClinic
) -> None:
    lax, strict = await make_clinic(), await make_clinic()
    await also_works_at(lax, strict, "doctor")
    await required_at(server, strict)
    there = server.client(strict.host, (await server.sign_in(lax, "doctor")).token)

    switched = (await there.gql(SWITCH)).data["switchTenant"]
    there.token = switched["token"]

    assert switched["viewer"] == {"role": None, "clinic": None}
    assert (await there.gql(PATIENTS)).codes == ["FORBIDDEN"]
    await enrolled(there)
    assert (await there.gql(PATIENTS)).status == 200


async def test_strangers_do_not_learn_what_the_clinic_asks(server: Server, make_clinic: MakeClinic) -> None:
    clinic, other = await make_clinic(), await make_clinic()
    await required_at(server, clinic)
    stranger = server.client(clinic.host, (await server.sign_in(other)).token)

    assert (await stranger.gql(VIEWER)).data["viewer"]["secondFactorRequired"] is False
    assert (await stranger.gql(SWITCH)).codes == ["FORBIDDEN"]


async def test_turning_ones_factor_off_closes_the_clinic_and_locks_nobody_out(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    app = await enrolled(admin)
    await update(admin, secondFactorRequired=True)
    await heard(server, clinic, second_factor=True)

    await admin.gql(DISABLE, input={"password": PASSWORD, "code": app.recovery[0]})

    assert (await admin.gql(PATIENTS)).codes == ["FORBIDDEN"]
    assert (await update_directly(admin)).codes == ["FORBIDDEN"]
    await enrolled(admin)
    assert (await admin.gql(PATIENTS)).status == 200


async def update_directly(client: Client) -> Any:
    return await client.gql(UPDATE, input={"version": 1, "secondFactorRequired": False})


async def test_a_change_holds_at_once_in_every_process(
    server: Server, make_clinic: MakeClinic, second_process: str
) -> None:
    clinic = await make_clinic()
    nurse, admin = await server.sign_in(clinic, "nurse"), await server.sign_in(clinic)
    await enrolled(admin)

    async def elsewhere() -> int:
        headers = {"Host": clinic.host, "X-Polyclinic-Client": "tests", "Authorization": f"Bearer {nurse.token}"}
        async with httpx.AsyncClient(base_url=second_process, trust_env=False) as other:
            return (await other.post("/graphql", json={"query": PATIENTS}, headers=headers)).status_code

    assert await elsewhere() == (await nurse.gql(PATIENTS)).status == 200
    await update(admin, secondFactorRequired=True)
    await heard(server, clinic, second_factor=True)
    await asyncio.sleep(0.25)  # the other process hears of it by a watch of its own

    assert await elsewhere() == (await nurse.gql(PATIENTS)).status == 403
