"""What was taken away is gone in every process, for every request that begins after the answer to whoever took it.

Two server processes are asked without a pause meanwhile, so that requests of all kinds share their reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from models import Membership, Tenant, User
from models.user import UserStatus
from tests.fixtures.clinics import Answer, Client, Clinic, MakeClinic, Server
from tests.fixtures.operators import MakeOperator
from tests.fixtures.portal import Visit
from tests.resolvers.second_factor_calls import enrolled
from tests.resolvers.test_operators import REASON, STATUS
from tests.resolvers.test_portal import DISABLE as CLOSE_PORTAL
from tests.resolvers.test_roles import UPDATE as UPDATE_ROLE
from tests.resolvers.test_security_policy import UPDATE as UPDATE_POLICY
from tests.resolvers.test_staff import change_role, remove, role_id
from tests.resolvers.test_staff_access import DISABLE, of
from tests.server_process import server_process

ROOMS = "{ rooms { totalCount } }"
AT_ONCE = 8
AFTERWARDS = 3
"""So many requests each of those who ask makes after the change was answered."""

Change = Callable[[Server, Clinic], Awaitable[Answer | None]]


@pytest.fixture(scope="module")
def second_process(server: Server) -> Iterator[str]:
    with server_process(server.settings) as address:
        yield address


@asynccontextmanager
async def in_both(server: Server, second_process: str, clinic: Clinic, token: str) -> AsyncIterator[list[Client]]:
    """A client of this process's application and one of the other's, in the same session."""
    async with httpx.AsyncClient(base_url=second_process, headers={"host": clinic.host}, timeout=30) as http:
        yield [server.client(clinic.host, token), Client(http, token)]


async def asked_meanwhile(
    clients: list[Client], query: str, change: Callable[[], Awaitable[object]]
) -> tuple[list[Answer], list[Answer]]:
    """The answers to requests that began before the change was asked for, and to those that began after its answer."""
    before: list[Answer] = []
    after: list[Answer] = []
    asked, answered = asyncio.Event(), asyncio.Event()

    async def ask(client: Client) -> None:
        left = AFTERWARDS
        while left:
            await asyncio.sleep(0)  # an answer that asks no database comes without giving up the thread
            began_after, began_before = answered.is_set(), not asked.is_set()
            answer = await client.gql(query)
            if began_after:
                after.append(answer)
                left -= 1
            elif began_before and not asked.is_set():
                before.append(answer)

    async def act() -> None:
        while len(before) < 4 * AT_ONCE:
            await asyncio.sleep(0.01)
        asked.set()
        await change()
        answered.set()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(act())
        for client in clients * AT_ONCE:
            group.create_task(ask(client))
    return before, after


async def access_removed(server: Server, clinic: Clinic) -> Answer:
    removed: Answer = await remove(await server.sign_in(clinic), clinic, "nurse")
    return removed


async def access_disabled(server: Server, clinic: Clinic) -> Answer:
    return await (await server.sign_in(clinic)).gql(DISABLE, input=of(clinic, "nurse"))


async def other_role(server: Server, clinic: Clinic) -> Answer:
    changed: Answer = await change_role(await server.sign_in(clinic), clinic, "nurse", "accountant")
    return changed


async def role_made_less(server: Server, clinic: Clinic) -> Answer:
    admin = await server.sign_in(clinic)
    nurse = {"id": await role_id(clinic, "nurse"), "version": 1}
    return await admin.gql(UPDATE_ROLE, input={**nurse, "permissions": ["patient:read"]})


async def signed_out_everywhere(server: Server, clinic: Clinic) -> Answer:
    return await (await server.sign_in(clinic, "nurse")).gql("mutation { signOutEverywhere }")


async def second_factor_asked_for(server: Server, clinic: Clinic) -> Answer:
    admin = await server.sign_in(clinic)
    await enrolled(admin)
    return await admin.gql(UPDATE_POLICY, input={"version": 1, "secondFactorRequired": True})


async def person_disabled(server: Server, clinic: Clinic) -> None:
    """As somebody does it who edits the database by hand."""
    await User.find_one({"email": clinic.emails["nurse"]}).update({"$set": {"status": UserStatus.DISABLED.value}})


async def membership_deleted(server: Server, clinic: Clinic) -> None:
    user = await User.find_one({"email": clinic.emails["nurse"]})
    assert user is not None
    await Membership.find_one({"user_id": user.id}).delete()


CHANGES: dict[Change, str] = {
    access_removed: "TENANT_MISMATCH",
    access_disabled: "TENANT_MISMATCH",
    other_role: "FORBIDDEN",
    role_made_less: "FORBIDDEN",
    signed_out_everywhere: "UNAUTHENTICATED",
    second_factor_asked_for: "FORBIDDEN",
    person_disabled: "UNAUTHENTICATED",
    membership_deleted: "TENANT_MISMATCH",
}


@pytest.mark.parametrize(("change", "code"), CHANGES.items(), ids=lambda one: getattr(one, "__name__", one))
async def test_no_process_serves_a_right_that_was_taken_away(
    server: Server, second_process: str, make_clinic: MakeClinic, change: Change, code: str
) -> None:
    clinic = await make_clinic()
    nurse = await server.sign_in(clinic, "nurse")

    async def act() -> None:
        answer = await change(server, clinic)
        assert answer is None or not answer.errors, answer.body

    async with in_both(server, second_process, clinic, nurse.token or "") as clients:
        before, after = await asked_meanwhile(clients, ROOMS, act)

    assert all(answer.data for answer in before)
    assert {tuple(answer.codes) for answer in after} == {(code,)}


async def test_nobody_who_is_signed_in_is_served_at_a_clinic_that_was_suspended(
    server: Server, second_process: str, make_clinic: MakeClinic, make_operator: MakeOperator, visit: Visit
) -> None:
    clinic, operator = await make_clinic(), await make_operator()
    nurse, visitor = await server.sign_in(clinic, "nurse"), await visit(clinic)

    async def suspend() -> None:
        tenant = await Tenant.get(clinic.tenant.key)
        assert tenant is not None
        asked = {"tenantId": str(tenant.id), "version": tenant.version, "reason": REASON, "status": "SUSPENDED"}
        assert not (await operator.client.gql(STATUS, input=asked)).errors

    async with (
        in_both(server, second_process, clinic, nurse.token or "") as staff,
        in_both(server, second_process, clinic, visitor.token) as patients,
    ):
        _, after = await asked_meanwhile([*staff, *patients], "{ viewer { name } }", suspend)

    assert {(answer.status, *answer.codes) for answer in after} == {(404, "TENANT_NOT_FOUND")}


async def test_a_patient_whose_portal_is_closed_is_served_by_no_process(
    server: Server, second_process: str, make_clinic: MakeClinic, visit: Visit
) -> None:
    clinic = await make_clinic()
    visitor, admin = await visit(clinic), await server.sign_in(clinic)
    mine = {"patientId": str(visitor.patient_id)}

    async def close() -> None:
        assert not (await admin.gql(CLOSE_PORTAL, input=mine)).errors

    async with in_both(server, second_process, clinic, visitor.token) as clients:
        before, after = await asked_meanwhile(clients, "{ patientAppointments { totalCount } }", close)

    assert all(answer.data for answer in before)
    assert {tuple(answer.codes) for answer in after} == {("UNAUTHENTICATED",)}
