"""Access that is switched off, given back or given up: at once, never above one's own, and one admin always stays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.tenancy.crossing import tenant_scope
from models import AuditEntry, AuditPending, Membership, Role, RolePermission, User
from models.user import MembershipStatus, UserStatus
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server

DISABLE = "mutation($input: StaffAccessInput!) { disableStaffAccess(input: $input) { id access { status } } }"
ENABLE = "mutation($input: StaffAccessInput!) { enableStaffAccess(input: $input) { id access { status } } }"
REMOVE = "mutation($input: RemoveStaffAccessInput!) { removeStaffAccess(input: $input) { id access { status } } }"
CHANGE_ROLE = "mutation($input: ChangeStaffRoleInput!) { changeStaffRole(input: $input) { id } }"
LEAVE = "mutation { leaveClinic }"
PATIENTS = "{ patients { totalCount } }"
SWITCH = "mutation { switchTenant { token } }"


def of(clinic: Clinic, who: str) -> dict[str, str]:
    return {"staffId": str(clinic.staff[who].id)}


async def role_id(clinic: Clinic, name: str) -> str:
    async with tenant_scope(clinic.ref):
        role = await Role.find_one({"name": name})
    assert role is not None
    return str(role.id)


async def two_admins(server: Server, make_clinic: MakeClinic) -> tuple[Clinic, Client, Client]:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    input = {**of(clinic, "doctor"), "roleId": await role_id(clinic, "admin")}
    assert not (await admin.gql(CHANGE_ROLE, input=input)).errors
    return clinic, admin, await server.sign_in(clinic, "doctor")


async def admins_of(clinic: Clinic) -> int:
    return await Membership.guarded().count_documents(
        {"clinic_id": clinic.tenant.key, "role": "admin", "status": MembershipStatus.ACTIVE.value}
    )


async def acts_at(clinic: Clinic) -> list[str]:
    async with tenant_scope(clinic.ref):
        waiting = [row["entry"]["action"] for row in await AuditPending.rows({})]
        return [*[row["action"] for row in await AuditEntry.rows({})], *waiting]


async def test_somebody_disabled_is_out_with_their_next_request_and_back_when_enabled(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    admin, nurse = await server.sign_in(clinic), await server.sign_in(clinic, "nurse")
    assert not (await nurse.gql(PATIENTS)).errors

    off = (await admin.gql(DISABLE, input=of(clinic, "nurse"))).data["disableStaffAccess"]
    assert off["access"] == {"status": "DISABLED"}
    assert (await nurse.gql(PATIENTS)).codes == ["TENANT_MISMATCH"]
    assert (await nurse.gql(SWITCH)).codes == ["FORBIDDEN"]
    assert (await nurse.gql("{ myClinics { role } }")).data == {"myClinics": []}
    assert (await (await server.sign_in(clinic, "nurse")).gql(PATIENTS)).codes == ["TENANT_MISMATCH"]

    on = (await admin.gql(ENABLE, input=of(clinic, "nurse"))).data["enableStaffAccess"]
    assert on["access"] == {"status": "ACTIVE"}
    assert not (await nurse.gql(PATIENTS)).errors
    assert {"membership.disable", "membership.enable"} <= set(await acts_at(clinic))


async def test_only_the_fitting_step_is_taken(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    nurse = of(clinic, "nurse")
    assert (await admin.gql(ENABLE, input=nurse)).codes == ["NOT_FOUND"]
    await admin.gql(DISABLE, input=nurse)
    assert (await admin.gql(DISABLE, input=nurse)).codes == ["NOT_FOUND"]
    assert (await admin.gql(REMOVE, input=nurse)).data["removeStaffAccess"]["access"] == {"status": "REMOVED"}
    assert (await admin.gql(ENABLE, input=nurse)).codes == ["NOT_FOUND"]


async def test_nobody_switches_off_or_on_what_stands_above_them(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    async with tenant_scope(clinic.ref):
        nurse = await Role.find_one({"name": "nurse"})
        assert nurse is not None
        await RolePermission.guarded().update_one(
            {"role_id": nurse.key, "resource": "staff"}, {"$set": {"actions": ["read", "manage"]}}
        )
    manager = await server.sign_in(clinic, "nurse")

    async def may(step: str, who: str) -> bool:
        answer = await manager.gql(step.replace("access { status }", ""), input=of(clinic, who))
        assert answer.codes in ([], ["FORBIDDEN"])
        assert bool(answer.errors) is ("stands above" in str(answer.body) or "permits more" in str(answer.body))
        return not answer.errors

    assert not await may(DISABLE, "admin")
    assert not await may(DISABLE, "doctor")
    await admin.gql(DISABLE, input=of(clinic, "doctor"))
    assert not await may(ENABLE, "doctor")
    assert await may(DISABLE, "receptionist")
    assert not await may(ENABLE, "receptionist"), "a receptionist may do what this nurse may not: giving back is giving"
    assert await may(DISABLE, "nurse")


async def test_a_role_that_is_gone_is_not_given_back(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    await admin.gql(DISABLE, input=of(clinic, "nurse"))
    async with tenant_scope(clinic.ref):
        await Role.guarded().delete_one({"name": "nurse"})
    assert (await admin.gql(ENABLE, input=of(clinic, "nurse"))).codes == ["INVALID_STATE"]


async def test_whoever_leaves_is_out_even_within_the_same_request(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    nurse = await server.sign_in(clinic, "nurse")
    answer = await nurse.gql("mutation { leaveClinic signOutEverywhere }")
    assert answer.body["data"] == {"leaveClinic": True, "signOutEverywhere": None}
    assert answer.codes == ["UNAUTHENTICATED"]
    assert (await nurse.gql(PATIENTS)).codes == ["TENANT_MISMATCH"]
    assert (await nurse.gql(LEAVE)).codes == ["FORBIDDEN"]
    assert "membership.leave" in await acts_at(clinic)


async def test_leaving_one_clinic_leaves_the_other_as_it_is(
    server: Server, make_clinic: MakeClinic, clinic_b: Clinic
) -> None:
    clinic = await make_clinic()
    nurse = await server.sign_in(clinic, "nurse")
    abroad = server.client(clinic_b.host, nurse.token)
    assert (await abroad.gql(LEAVE)).codes == ["FORBIDDEN"]
    assert (await server.client("polyclinic.test", nurse.token).gql(LEAVE)).codes == ["TENANT_NOT_FOUND"]
    assert not (await nurse.gql(PATIENTS)).errors


@pytest.mark.parametrize("step", ["leave", "disable"])
async def test_the_last_admin_stays(server: Server, make_clinic: MakeClinic, step: str) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    refused = await (admin.gql(LEAVE) if step == "leave" else admin.gql(DISABLE, input=of(clinic, "admin")))
    assert refused.codes == ["INVALID_STATE"]
    assert not (await admin.gql(PATIENTS)).errors


@pytest.mark.parametrize("step", ["leave", "disable", "demote"])
async def test_an_admin_who_can_sign_in_stays_even_beside_one_who_cannot(
    server: Server, make_clinic: MakeClinic, step: str
) -> None:
    clinic, one, _ = await two_admins(server, make_clinic)
    out = await User.find_one({"email": clinic.emails["doctor"]})
    assert out is not None
    await User.guarded().update_one({"_id": out.key}, {"$set": {"status": UserStatus.DISABLED.value}})
    nurse = await role_id(clinic, "nurse")

    refused = await {
        "leave": lambda: one.gql(LEAVE),
        "disable": lambda: one.gql(DISABLE, input=of(clinic, "admin")),
        "demote": lambda: one.gql(CHANGE_ROLE, input={**of(clinic, "admin"), "roleId": nurse}),
    }[step]()

    assert refused.codes == ["INVALID_STATE"]
    assert not (await one.gql(PATIENTS)).errors


async def test_two_admins_who_go_at_once_leave_one_behind(server: Server, make_clinic: MakeClinic) -> None:
    """Twenty rounds of two: leaving, switching each other off, demoting each other, each against each."""
    clinic, one, two = await two_admins(server, make_clinic)
    nurse = await role_id(clinic, "nurse")
    names = ("admin", "doctor")

    def acts(client: Client, own: str, other: str) -> list[Any]:
        return [
            lambda: client.gql(LEAVE),
            lambda: client.gql(DISABLE, input=of(clinic, other)),
            lambda: client.gql(CHANGE_ROLE, input={**of(clinic, other), "roleId": nurse}),
            lambda: client.gql(CHANGE_ROLE, input={**of(clinic, own), "roleId": nurse}),
        ]

    memberships = await Membership.rows({"clinic_id": clinic.tenant.key, "role": "admin"})
    firsts, seconds = acts(one, *names), acts(two, *reversed(names))
    for turn in range(20):
        first, second = firsts[turn % 4], seconds[(turn // 4 + turn) % 4]
        answers = await asyncio.gather(first(), second())
        assert await admins_of(clinic) >= 1, [answer.body for answer in answers]
        for row in memberships:  # both are admins again
            await Membership.guarded().update_one(
                {"_id": row["_id"]},
                {"$set": {"role": "admin", "role_id": row["role_id"], "status": "active"}, "$inc": {"version": 1}},
            )
