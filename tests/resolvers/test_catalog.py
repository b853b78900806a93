"""What staff, specializations, rooms, services and medicines have in common, held for each by the same tests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from tests.fixtures.clinics import Client, Clinic, Server
from tests.fixtures.commands import Commands
from tests.fixtures.people import SignedIn


@dataclass(frozen=True, slots=True)
class Resource:
    """How one of them is spoken to. `valid` is what it needs beside a name."""

    one: str
    many: str
    noun: str
    collection: str
    valid: dict[str, Any] = field(default_factory=dict)
    unique: bool = True

    async def create(self, client: Client, name: str) -> dict[str, Any]:
        answer = await self.send(client, "create", name=name, **self.valid)
        made: dict[str, Any] = answer.data[f"create{self.noun}"]
        return made

    async def send(self, client: Client, verb: str, **values: Any) -> Any:
        kind = "ArchiveInput" if verb in ("archive", "restore") else f"{verb.title()}{self.noun}Input"
        return await client.gql(
            f"mutation($input: {kind}!) {{ {verb}{self.noun}(input: $input) {{ id version name archivedAt }} }}",
            input=values,
        )

    async def names(self, client: Client, **filter: Any) -> list[str]:
        shown = "edges { node { name } }"
        query = f"query($filter: {self.noun}Filter) {{ {self.many}(first: 100, filter: $filter) {{ {shown} }} }}"
        answer = await client.gql(query, filter=filter)
        return [edge["node"]["name"] for edge in answer.data[self.many]["edges"]]


RESOURCES = [
    Resource("room", "rooms", "Room", "rooms"),
    Resource("specialization", "specializations", "Specialization", "specializations"),
    Resource(
        "service",
        "services",
        "Service",
        "services",
        {"durationMinutes": 30, "price": {"amount": "80.50", "currency": "USD"}},
    ),
    Resource("medicine", "medicines", "Medicine", "medicines", {"form": "TABLET", "ingredients": ["samplicillin"]}),
    Resource("staffMember", "staff", "Staff", "staff", {"kind": "OTHER"}, unique=False),
]
UNIQUE = [resource for resource in RESOURCES if resource.unique]
every = pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.collection)
every_unique = pytest.mark.parametrize("resource", UNIQUE, ids=lambda resource: resource.collection)


def fresh(name: str = "Blue") -> str:
    """A name that no other test uses."""
    return f"{name} {uuid4().hex[:12]}"


@every
async def test_what_was_created_is_found_by_id_and_by_the_beginning_of_its_name(
    resource: Resource, admin: Client
) -> None:
    name = fresh("Élan (west) .* $")

    made = await resource.create(admin, f"  {name} ")

    found = (await admin.gql(f"query($id: ID!) {{ {resource.one}(id: $id) {{ name version }} }}", id=made["id"])).data
    assert found[resource.one] == {"name": name, "version": 1}
    assert await resource.names(admin, search=f"elan (WEST) .* ${name[16:]}"[:60]) == [name]
    assert await resource.names(admin, search=name[5:]) == []


@every
async def test_user_text_is_never_a_pattern_or_an_operator(resource: Resource, admin: Client) -> None:
    await resource.create(admin, fresh("Plain"))

    for text in (".*", "^P", "P.ain", '{"$gt": ""}', "$where", "plain' || '1'=='1", "\x00", "\U0010ffff"):
        assert await resource.names(admin, search=text) == []


@every
async def test_a_search_of_nothing_lists_all_and_one_too_long_is_refused(resource: Resource, admin: Client) -> None:
    name = fresh()
    await resource.create(admin, name)

    assert name in await resource.names(admin, search="  ")
    assert name in await resource.names(admin, search=None)
    answer = await admin.gql(f'{{ {resource.many}(filter: {{search: "{"x" * 101}"}}) {{ totalCount }} }}')
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["filter.search"])


@every
async def test_a_change_raises_the_version_and_an_older_one_conflicts(resource: Resource, admin: Client) -> None:
    made = await resource.create(admin, fresh())
    renamed = fresh("Green")

    changed = (await resource.send(admin, "update", id=made["id"], version=1, name=renamed)).data
    late = await resource.send(admin, "update", id=made["id"], version=1, name=fresh("Late"))

    assert changed[f"update{resource.noun}"] == {**made, "version": 2, "name": renamed}
    assert (late.codes, late.paths) == (["CONFLICT"], ["input.version"])
    assert await resource.names(admin, search=renamed) == [renamed]


@every
async def test_of_changes_to_the_same_version_at_once_one_wins(resource: Resource, admin: Client) -> None:
    made = await resource.create(admin, fresh())

    answers = await asyncio.gather(
        *(resource.send(admin, "update", id=made["id"], version=1, name=fresh(f"N{i}")) for i in range(6))
    )

    assert sorted(code for answer in answers for code in answer.codes) == ["CONFLICT"] * 5


@every
async def test_archived_ones_leave_the_list_and_come_back(resource: Resource, admin: Client) -> None:
    name = fresh()
    made = await resource.create(admin, name)

    archived = (await resource.send(admin, "archive", id=made["id"], version=1)).data[f"archive{resource.noun}"]
    assert archived["archivedAt"] is not None
    assert await resource.names(admin, search=name) == []
    assert await resource.names(admin, search=name, archived=True) == [name]

    again = await resource.send(admin, "archive", id=made["id"], version=2)
    stale = await resource.send(admin, "restore", id=made["id"], version=1)
    assert (again.codes, stale.codes) == (["INVALID_STATE"], ["CONFLICT"])

    restored = (await resource.send(admin, "restore", id=made["id"], version=2)).data[f"restore{resource.noun}"]
    assert restored == {**made, "version": 3}
    assert await resource.names(admin, search=name) == [name]
    assert (await resource.send(admin, "restore", id=made["id"], version=3)).codes == ["INVALID_STATE"]


@every_unique
async def test_no_two_in_use_have_one_name(resource: Resource, admin: Client) -> None:
    name = fresh("Über")
    made = await resource.create(admin, name)
    other = await resource.create(admin, fresh())

    again = await resource.send(admin, "create", name=name.upper().replace("Ü", "U"), **resource.valid)
    renamed = await resource.send(admin, "update", id=other["id"], version=1, name=name)

    assert (again.codes, again.paths) == (["CONFLICT"], ["input.name"])
    assert (renamed.codes, renamed.paths) == (["CONFLICT"], ["input.name"])
    await resource.send(admin, "archive", id=made["id"], version=1)
    await resource.create(admin, name)  # an archived one does not hold its name
    restored = await resource.send(admin, "restore", id=made["id"], version=2)
    assert (restored.codes, restored.paths) == (["CONFLICT"], ["input.id"])


@every_unique
async def test_of_the_same_name_many_times_at_once_one_is_made(resource: Resource, admin: Client) -> None:
    name = fresh()

    answers = await asyncio.gather(*(resource.send(admin, "create", name=name, **resource.valid) for _ in range(8)))

    assert [code for answer in answers for code in answer.codes] == ["CONFLICT"] * 7
    assert await resource.names(admin, search=name) == [name]


@every
async def test_another_clinic_can_neither_see_nor_change_nor_block_it(
    resource: Resource, admin: Client, stranger: Client
) -> None:
    name = fresh()
    made = await resource.create(admin, name)
    nowhere = "0123456789abcdef01234567"

    assert await resource.names(stranger, search=name) == []
    for verb in ("update", "archive", "restore"):
        theirs = await resource.send(stranger, verb, id=made["id"], version=1)
        none = await resource.send(stranger, verb, id=nowhere, version=1)
        assert (theirs.codes, theirs.paths) == (["NOT_FOUND"], ["input.id"])
        assert [error["message"] for error in theirs.errors] == [error["message"] for error in none.errors]
    query = f"query($id: ID!) {{ {resource.one}(id: $id) {{ name }} }}"
    for id in (made["id"], nowhere, "nonsense", ""):
        answer = await stranger.gql(query, id=id)
        assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["id"])
    await resource.create(stranger, name)
    assert await resource.names(admin, search=name) == [name]


@every
@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "a\x00b", "a\u202eb", "a\u2066b", "two\nlines", "\ufeffname"])
async def test_a_bad_name_is_refused_and_nothing_is_written(
    resource: Resource, admin: Client, commands: Commands, name: str
) -> None:
    answer = await resource.send(admin, "create", name=name, **resource.valid)

    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.name"])
    assert commands.writes() == []


@every
async def test_a_required_value_cannot_be_nulled(resource: Resource, admin: Client) -> None:
    made = await resource.create(admin, fresh())

    answer = await resource.send(admin, "update", id=made["id"], version=1, name=None)

    assert answer.codes == ["VALIDATION_FAILED"]
    assert answer.paths == ["input.name"]


@every
async def test_who_may_only_read_can_only_read(
    resource: Resource, signed_in: SignedIn, clinic_a: Clinic, commands: Commands
) -> None:
    nurse = await signed_in(clinic_a, "nurse")
    commands.clear()

    for verb, values in {
        "create": {"name": fresh(), **resource.valid},
        "update": {"id": "0123456789abcdef01234567", "version": 1},
        "archive": {"id": "0123456789abcdef01234567", "version": 1},
        "restore": {"id": "0123456789abcdef01234567", "version": 1},
    }.items():
        assert (await resource.send(nurse, verb, **values)).codes == ["FORBIDDEN"]
    assert commands.writes() == []
    assert isinstance(await resource.names(nurse), list)


@every
async def test_nobody_sees_it_without_signing_in(resource: Resource, server: Server, clinic_a: Clinic) -> None:
    answer = await server.client(clinic_a.host).gql(f"{{ {resource.many} {{ totalCount }} }}")

    assert answer.codes == ["UNAUTHENTICATED"]


@every
async def test_the_order_can_be_turned_around(resource: Resource, admin: Client) -> None:
    mark = uuid4().hex[:10]
    for name in (f"{mark} b", f"{mark} A", f"{mark} ç", f"{mark} B2"):
        await resource.create(admin, name)
    query = """query($search: String!) {{ {many}(filter: {{search: $search}}, sort: NAME_{way}) {{
        totalCount edges {{ node {{ name }} }} }} }}"""

    shown = {
        way: (await admin.gql(query.format(many=resource.many, way=way), search=mark)).data[resource.many]
        for way in ("ASC", "DESC")
    }

    names = [edge["node"]["name"][11:] for edge in shown["ASC"]["edges"]]
    assert names == ["A", "b", "B2", "ç"]
    assert shown["DESC"] == {"totalCount": 4, "edges": shown["ASC"]["edges"][::-1]}
