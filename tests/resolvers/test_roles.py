"""Roles: what they permit, who may change them, and that a change holds at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from bson import ObjectId

from app.permissions import ROLES, Permission
from app.tenancy.crossing import tenant_scope
from models import AuditEntry, Membership, Role, RolePermission
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.commands import Commands
from tests.fixtures.people import SignedIn

FIELDS = "{ id version name level description system permissions }"
CREATE = f"mutation($input: CreateRoleInput!) {{ createRole(input: $input) {FIELDS} }}"
UPDATE = f"mutation($input: UpdateRoleInput!) {{ updateRole(input: $input) {FIELDS} }}"
DELETE = "mutation($input: DeleteRoleInput!) { deleteRole(input: $input) }"
ROLES_QUERY = f"{{ roles(first: 100) {{ totalCount edges {{ node {FIELDS} }} }} }}"
CHANGE_STAFF_ROLE = "mutation($input: ChangeStaffRoleInput!) { changeStaffRole(input: $input) { id } }"
VIEWER = "{ viewer { role permissions } }"


async def create(client: Client, name: str, *permissions: str, level: int = 50) -> dict[str, Any]:
    answer = await client.gql(CREATE, input={"name": name, "level": level, "permissions": list(permissions)})
    made: dict[str, Any] = answer.data["createRole"]
    return made


async def roles(client: Client) -> dict[str, dict[str, Any]]:
    edges = (await client.gql(ROLES_QUERY)).data["roles"]["edges"]
    return {edge["node"]["name"]: edge["node"] for edge in edges}


async def give(admin: Client, clinic: Clinic, who: str, role: dict[str, Any]) -> None:
    answer = await admin.gql(CHANGE_STAFF_ROLE, input={"staffId": str(clinic.staff[who].id), "roleId": role["id"]})
    assert not answer.errors, answer.errors


async def permissions_of(client: Client) -> Sequence[str]:
    permissions: Sequence[str] = (await client.gql(VIEWER)).data["viewer"]["permissions"]
    return permissions


async def test_a_clinic_starts_with_the_five_roles(make_clinic: MakeClinic, server: Server) -> None:
    shown = await roles(await server.sign_in(await make_clinic()))

    assert list(shown) == ["admin", "doctor", "nurse", "pharmacist", "receptionist", "accountant"]
    for spec in ROLES:
        role = shown[spec.name]
        assert (role["level"], role["system"]) == (spec.level, True)
        assert set(role["permissions"]) == {right.value for right in spec.permissions}


async def test_the_catalogue_names_and_describes_each_right(admin: Client) -> None:
    shown = (await admin.gql("{ permissions { name resource action description } }")).data["permissions"]

    assert [one["name"] for one in shown] == [right.value for right in Permission]
    assert all(f"{one['resource']}:{one['action']}" == one["name"] for one in shown)
    assert len({one["description"] for one in shown}) == len(shown)


async def test_a_clinics_own_role_keeps_what_it_was_given(admin: Client) -> None:
    made = await create(admin, " Front Desk ", "patient:read", "patient:create", "patient:read")

    assert made["name"] == "front desk"
    assert (made["version"], made["level"], made["system"]) == (1, 50, False)
    assert made["permissions"] == ["patient:read", "patient:create"]
    one = await admin.gql(f"query($id: ID!) {{ role(id: $id) {FIELDS} }}", id=made["id"])
    assert one.data["role"] == made


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"name": "x"}, "input.name"),
        ({"name": "9lives"}, "input.name"),
        ({"name": "a\u202eb"}, "input.name"),
        ({"level": 0}, "input.level"),
        ({"level": 101}, "input.level"),
        ({"permissions": ["patient:read", "patient:fly"]}, "input.permissions.1"),
        ({"permissions": ["$where"]}, "input.permissions.0"),
        ({"permissions": ["room:read", "patient:archive"]}, "input.permissions.1"),
        ({"permissions": None}, "input.permissions"),
        ({"description": "two\nlines"}, "input.description"),
    ],
)
async def test_wrong_input_is_told_by_path_and_writes_nothing(
    admin: Client, commands: Commands, wrong: dict[str, Any], path: str
) -> None:
    answer = await admin.gql(CREATE, input={"name": "wrong one", "level": 5, "permissions": [], **wrong})

    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])
    assert commands.writes() == []


async def test_a_name_is_given_once(admin: Client) -> None:
    await create(admin, "taken one")
    other = await create(admin, "other one")

    again = await admin.gql(CREATE, input={"name": "Taken One", "level": 5, "permissions": []})
    admins = await admin.gql(CREATE, input={"name": "admin", "level": 5, "permissions": []})
    renamed = await admin.gql(UPDATE, input={"id": other["id"], "version": 1, "name": "taken one"})

    for answer in (again, admins, renamed):
        assert (answer.codes, answer.paths) == (["CONFLICT"], ["input.name"])


async def test_a_change_holds_on_its_members_next_request(make_clinic: MakeClinic, server: Server) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    made = await create(admin, "helper", "patient:read", "room:read")
    await give(admin, clinic, "nurse", made)
    nurse = await server.sign_in(clinic, "nurse")
    assert await permissions_of(nurse) == ["patient:read", "room:read"]

    changed = await admin.gql(
        UPDATE, input={"id": made["id"], "version": 1, "name": "aide", "permissions": ["room:read", "service:read"]}
    )

    assert changed.data["updateRole"] == {
        **made,
        "version": 2,
        "name": "aide",
        "permissions": ["room:read", "service:read"],
    }
    viewer = (await nurse.gql(VIEWER)).data["viewer"]
    assert viewer == {"role": "aide", "permissions": ["room:read", "service:read"]}
    member = await Membership.find_one({"staff_id": clinic.staff["nurse"].id})
    assert member is not None
    assert member.role == "aide"


async def test_a_new_member_of_a_changed_role_gets_what_it_permits_now(make_clinic: MakeClinic, server: Server) -> None:
    """Rights are cached by the membership's version; a newcomer's may equal one from before the change."""
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    nurse = await server.sign_in(clinic, "nurse")
    assert "visit:write" in await permissions_of(nurse)  # the role is now known for a membership of version 1
    role = (await roles(admin))["nurse"]
    await admin.gql(UPDATE, input={"id": role["id"], "version": 1, "permissions": ["patient:read"]})

    newcomer = await Membership.find_one({"staff_id": clinic.staff["doctor"].id})
    assert newcomer is not None
    await Membership.guarded().update_one(
        {"_id": newcomer.id}, {"$set": {"role_id": ObjectId(role["id"]), "role": "nurse", "version": 1}}
    )

    assert await permissions_of(await server.sign_in(clinic, "doctor")) == ["patient:read"]


async def test_seeded_roles_may_be_tuned_but_not_renamed_and_the_admins_not_at_all(
    make_clinic: MakeClinic, server: Server
) -> None:
    admin = await server.sign_in(await make_clinic())
    seeded = await roles(admin)
    nurse, admins = seeded["nurse"]["id"], seeded["admin"]["id"]

    tuned = await admin.gql(UPDATE, input={"id": nurse, "version": 1, "permissions": [], "description": "Tuned"})
    refused = [
        await admin.gql(UPDATE, input={"id": nurse, "version": 2, "name": "matron"}),
        await admin.gql(UPDATE, input={"id": nurse, "version": 2, "level": 70}),
        await admin.gql(UPDATE, input={"id": admins, "version": 1, "permissions": []}),
        await admin.gql(UPDATE, input={"id": admins, "version": 1, "description": "Me"}),
        await admin.gql(DELETE, input={"id": nurse, "version": 2}),
        await admin.gql(DELETE, input={"id": admins, "version": 1}),
    ]

    assert tuned.data["updateRole"]["permissions"] == []
    assert [answer.codes for answer in refused] == [["INVALID_STATE"]] * 6
    after = await roles(admin)
    assert after["admin"] == seeded["admin"]
    assert after["nurse"] == {**seeded["nurse"], "version": 2, "permissions": [], "description": "Tuned"}


async def test_nobody_grants_a_level_or_a_right_that_they_lack(make_clinic: MakeClinic, server: Server) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    low, high = await create(admin, "low", "invoice:read", level=10), await create(admin, "high", level=70)
    await give(admin, clinic, "nurse", await create(admin, "keeper", "role:read", "role:manage", "room:read", level=60))
    keeper = await server.sign_in(clinic, "nurse")
    before = await roles(admin)

    refused = [
        await keeper.gql(CREATE, input={"name": "above", "level": 61, "permissions": []}),
        await keeper.gql(CREATE, input={"name": "beyond", "level": 5, "permissions": ["room:read", "patient:read"]}),
        await keeper.gql(UPDATE, input={"id": low["id"], "version": 1, "level": 61}),
        await keeper.gql(UPDATE, input={"id": low["id"], "version": 1, "permissions": ["invoice:read", "visit:read"]}),
        await keeper.gql(UPDATE, input={"id": before["keeper"]["id"], "version": 1, "permissions": ["settings:read"]}),
        await keeper.gql(UPDATE, input={"id": high["id"], "version": 1, "level": 5}),
        await keeper.gql(DELETE, input={"id": high["id"], "version": 1}),
    ]

    assert [answer.codes for answer in refused] == [["FORBIDDEN"]] * 7
    assert await roles(admin) == before
    kept = await keeper.gql(UPDATE, input={"id": low["id"], "version": 1, "permissions": ["invoice:read", "room:read"]})
    assert kept.data["updateRole"]["permissions"] == ["room:read", "invoice:read"]
    assert (await create(keeper, "equal", "room:read", level=60))["level"] == 60


async def test_a_role_that_somebody_has_stays(make_clinic: MakeClinic, server: Server) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    role = await create(admin, "held", "room:read")
    await give(admin, clinic, "nurse", role)

    held = await admin.gql(DELETE, input={"id": role["id"], "version": 1})
    await give(admin, clinic, "nurse", (await roles(admin))["nurse"])
    stale = await admin.gql(DELETE, input={"id": role["id"], "version": 9})
    gone = await admin.gql(DELETE, input={"id": role["id"], "version": 1})
    again = await admin.gql(DELETE, input={"id": role["id"], "version": 1})

    assert held.codes == ["INVALID_STATE"]
    assert (stale.codes, stale.paths) == (["CONFLICT"], ["input.version"])
    assert gone.data["deleteRole"] == role["id"]
    assert (again.codes, again.paths) == (["NOT_FOUND"], ["input.id"])
    assert "held" not in await roles(admin)
    async with tenant_scope(clinic.ref):
        assert await RolePermission.find({"role_id": ObjectId(role["id"])}).count() == 0
        assert await AuditEntry.find({"action": "role.delete"}).count() == 1


@pytest.mark.parametrize("attempt", range(4))
async def test_deleting_a_role_while_it_is_given_leaves_nobody_without_one(
    make_clinic: MakeClinic, server: Server, attempt: int
) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    role = await create(admin, "fleeting", "room:read")

    await asyncio.gather(
        admin.gql(DELETE, input={"id": role["id"], "version": 1}),
        admin.gql(CHANGE_STAFF_ROLE, input={"staffId": str(clinic.staff["nurse"].id), "roleId": role["id"]}),
    )

    member = await Membership.find_one({"staff_id": clinic.staff["nurse"].id})
    assert member is not None
    async with tenant_scope(clinic.ref):
        assert await Role.find_one({"_id": member.role_id}) is not None


async def test_of_changes_to_one_version_at_once_one_wins_whole(make_clinic: MakeClinic, server: Server) -> None:
    admin = await server.sign_in(await make_clinic())
    role = await create(admin, "contested")
    sets = [["room:read"], ["visit:read", "visit:write"], ["invoice:read"], []]

    answers = await asyncio.gather(
        *(admin.gql(UPDATE, input={"id": role["id"], "version": 1, "permissions": chosen}) for chosen in sets)
    )

    won = [answer.data["updateRole"] for answer in answers if not answer.errors]
    assert len(won) == 1
    assert (await roles(admin))["contested"] == won[0]
    assert won[0]["permissions"] in sets


async def test_who_may_not_manage_roles_changes_none(
    signed_in: SignedIn, clinic_a: Clinic, admin: Client, commands: Commands
) -> None:
    role = (await roles(admin))["nurse"]
    doctor = await signed_in(clinic_a, "doctor")
    commands.clear()

    for query, input in (
        (CREATE, {"name": "mine", "level": 1, "permissions": []}),
        (UPDATE, {"id": role["id"], "version": 1}),
        (DELETE, {"id": role["id"], "version": 1}),
    ):
        assert (await doctor.gql(query, input=input)).codes == ["FORBIDDEN"]
    assert (await doctor.gql(ROLES_QUERY)).codes == ["FORBIDDEN"]
    assert (await doctor.gql("{ permissions { name } }")).codes == ["FORBIDDEN"]
    assert commands.writes() == []


async def test_another_clinics_roles_do_not_exist(admin: Client, stranger: Client) -> None:
    theirs = await create(stranger, "theirs")

    for id in (theirs["id"], "0123456789abcdef01234567", "nonsense"):
        for query in (UPDATE, DELETE):
            answer = await admin.gql(query, input={"id": id, "version": 1})
            assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.id"])
        answer = await admin.gql("query($id: ID!) { role(id: $id) { name } }", id=id)
        assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["id"])
    assert "theirs" not in await roles(admin)
