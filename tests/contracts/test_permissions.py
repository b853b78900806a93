"""One table of authorisation, held against every root field for every seeded role, and for roles of a clinic's own."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import pytest
import pytest_asyncio
from bson import ObjectId

from app.graphql.access import Access, Level, field
from app.permissions import ADMIN, ROLES, Permission, PlatformRight, RoleSpec, by_resource
from app.tenancy.crossing import tenant_scope
from models import Role, RolePermission
from resolvers.base import Resolver
from tests.contracts._schema import Place, RootField, root_fields
from tests.contracts._values import variables
from tests.fixtures.clinics import Answer, Client
from tests.fixtures.mirror import Mirror
from tests.fixtures.servers import Servers

GUARDED = [root for root in root_fields() if root.permission is not None]
USED = sorted({root.permission for root in GUARDED if root.permission is not None})


def nobody(_: Place) -> str:
    return str(ObjectId())


def is_refused(answer: Answer, permission: Permission) -> bool:
    """Whether the permission, and no rule of the service, was what stood in the way."""
    told = [error["message"] for error in answer.errors if error["extensions"]["code"] == "FORBIDDEN"]
    return told == [f"This needs the permission {permission.value}."]


async def ask(client: Client, root: RootField) -> Answer:
    """Asks with ids that do not exist: what is allowed then fails later, or does little."""
    return await client.gql(root.briefly, **variables(root, nobody))


# --- declared ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", root_fields(), ids=str)
def test_each_root_field_declares_who_may_ask(root: RootField) -> None:
    assert isinstance(root.access, Access)
    assert isinstance(root.access.rule, Permission | PlatformRight | Level)


OF_READING = frozenset(
    {
        "markConversationRead",
        "markNotificationRead",
        "markNotificationsRead",
        "chooseNotificationChannels",
        "subscribePush",
        "unsubscribePush",
    }
)
"""Mutations about readers themselves: that they have read, and how they want to be told."""


@pytest.mark.parametrize("root", [root for root in GUARDED if root.name not in OF_READING], ids=str)
def test_a_mutation_asks_for_more_than_reading(root: RootField) -> None:
    assert root.permission is not None
    assert (root.permission.action == "read") is not root.is_mutation


def test_a_field_without_a_declaration_cannot_be_defined() -> None:
    import strawberry

    async def reports(self: Resolver) -> str:
        return ""

    with pytest.raises(TypeError, match="declares neither a permission nor that it is public"):
        type("ReportQuery", (Resolver,), {"reports": strawberry.field(resolver=reports)})


def test_a_field_that_declares_its_permission_can_be_defined() -> None:
    @field(Permission.PATIENT_READ, description="Reports.")
    async def reports(self: Resolver) -> str:
        return ""

    assert issubclass(type("ReportQuery", (Resolver,), {"reports": reports}), Resolver)


# --- the table --------------------------------------------------------------------------------------------------------


def test_permissions_are_written_resource_and_action() -> None:
    for permission in Permission:
        assert permission.value == f"{permission.resource}:{permission.action}"
        assert permission.name == permission.value.replace(":", "_").upper()


def test_the_admin_may_do_everything_and_stands_highest() -> None:
    assert {role.name: role.permissions for role in ROLES}[ADMIN] == frozenset(Permission)
    assert max(ROLES, key=lambda role: role.level).name == ADMIN
    assert len({role.level for role in ROLES}) == len({role.name for role in ROLES}) == len(ROLES)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_who_may_change_something_may_also_see_it(role: RoleSpec) -> None:
    readable = {permission.resource for permission in Permission if permission.action == "read"}
    for permission in role.permissions:
        if permission.resource in readable:
            assert Permission(f"{permission.resource}:read") in role.permissions, permission


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
async def test_a_new_clinic_has_the_table_as_documents(role: RoleSpec, mirror: Mirror) -> None:
    async with tenant_scope(mirror.spare.clinic.ref):
        stored = await Role.find_one({"name": role.name})
        assert stored is not None
        grants = await RolePermission.find({"role_id": stored.key}).to_list()
    assert (stored.level, stored.system) == (role.level, True)
    assert {grant.resource: tuple(grant.actions) for grant in grants} == dict(by_resource(role.permissions))


# --- the seeded roles -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
async def test_a_seeded_role_may_ask_what_the_table_says_and_nothing_else(
    role: RoleSpec, mirror: Mirror, servers: Servers
) -> None:
    wrong = []
    for client, root in product(servers.both(await mirror.spare.client(role.name)), GUARDED):
        assert root.permission is not None
        answer = await ask(client, root)
        if is_refused(answer, root.permission) is (root.permission in role.permissions):
            wrong.append((str(root), answer.body))
    assert not wrong


# --- roles of a clinic's own ------------------------------------------------------------------------------------------


async def _people(mirror: Mirror, wanted: dict[Permission, Iterable[Permission]]) -> dict[Permission, Client]:
    return {permission: await mirror.spare.person_with(given) for permission, given in wanted.items()}


@pytest_asyncio.fixture(scope="module")
async def without(mirror: Mirror) -> dict[Permission, Client]:
    """For each permission somebody who has all but that one."""
    return await _people(mirror, {one: frozenset(Permission) - {one} for one in USED})


@pytest_asyncio.fixture(scope="module")
async def with_only(mirror: Mirror) -> dict[Permission, Client]:
    """For each permission somebody who has nothing else."""
    return await _people(mirror, {one: {one} for one in USED})


@pytest.mark.parametrize("root", GUARDED, ids=str)
async def test_a_role_without_the_permission_is_refused_and_writes_nothing(
    root: RootField, mirror: Mirror, servers: Servers, without: dict[Permission, Client]
) -> None:
    assert root.permission is not None
    generation = await mirror.spare.grow() if not mirror.spare.generations else mirror.spare.latest
    before = await mirror.digest()
    given = variables(root, lambda place: str(generation["patients"]))
    for client in servers.both(without[root.permission]):
        answer = await client.gql(root.briefly, **given)
        assert is_refused(answer, root.permission), answer.body
        assert not any((answer.body.get("data") or {}).values())
    assert await mirror.digest() == before


@pytest.mark.parametrize("root", GUARDED, ids=str)
async def test_a_role_with_that_permission_alone_is_let_through(
    root: RootField, servers: Servers, with_only: dict[Permission, Client]
) -> None:
    assert root.permission is not None
    for client in servers.both(with_only[root.permission]):
        assert not is_refused(await ask(client, root), root.permission)


async def test_what_is_nested_asks_for_its_own_permission(mirror: Mirror, servers: Servers) -> None:
    """A patient's appointments are not to be had by whoever may see patients."""
    person = await mirror.spare.person_with({Permission.PATIENT_READ})
    generation = await mirror.spare.grow()
    for client in servers.both(person):
        answer = await client.gql(
            "query($id: ID!) { patient(id: $id) { id appointments { edges { node { id } } } } }",
            id=str(generation["patients"]),
        )
        assert answer.codes == ["FORBIDDEN"]
        assert str(generation["appointments"]) not in answer.response.text
