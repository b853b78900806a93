"""Connections: every row once, cursors that work nowhere else, and counting only when asked."""

from __future__ import annotations

import base64
from typing import Any
from uuid import uuid4

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from app.errors import ValidationFailed
from app.graphql import paging
from app.graphql.cursors import Cursors, keyset
from app.tenancy.crossing import tenant_scope
from models import Room
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.commands import Commands

PAGE = """query($first: Int!, $after: String, $sort: NameSort!, $filter: RoomFilter) {
    rooms(first: $first, after: $after, sort: $sort, filter: $filter) {
        edges { cursor node { id name } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } }"""


async def page(client: Client, first: int = 20, after: str | None = None, sort: str = "NAME_ASC", **filter: Any) -> Any:
    answer = await client.gql(PAGE, first=first, after=after, sort=sort, filter=filter)
    return answer.data["rooms"]


async def fill(clinic: Clinic, names: list[str]) -> None:
    async with tenant_scope(clinic.ref):
        if names:
            await Room.insert_many([Room(name=name, name_key=f"{name} {uuid4().hex}") for name in names])


class TestWalking:
    @settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        names=st.lists(st.sampled_from(["a", "b", "ä", "zz", "Ж"]), max_size=25),
        sizes=st.lists(st.integers(1, 9), min_size=1, max_size=40),
        late=st.lists(st.sampled_from(["0", "b", "zzz"]), max_size=5),
        sort=st.sampled_from(["NAME_ASC", "NAME_DESC"]),
    )
    async def test_rows_that_stay_are_seen_once_in_order_while_others_come(
        self, make_clinic: MakeClinic, server: Server, names: list[str], sizes: list[int], late: list[str], sort: str
    ) -> None:
        clinic = await make_clinic()
        client = await server.sign_in(clinic)
        await fill(clinic, names)
        async with tenant_scope(clinic.ref):
            rows = await Room.rows({}, sort=[("name_key", 1), ("_id", 1)])
        stayed = [str(row["_id"]) for row in rows]

        seen: list[str] = []
        after, turn = None, 0
        while True:
            shown = await page(client, sizes[turn % len(sizes)], after, sort)
            seen += [edge["node"]["id"] for edge in shown["edges"]]
            if turn < len(late):
                await fill(clinic, [late[turn]])
            turn += 1
            after = shown["pageInfo"]["endCursor"]
            if not shown["pageInfo"]["hasNextPage"]:
                break

        assert len(seen) == len(set(seen))
        old = [id for id in seen if id in set(stayed)]
        assert old == (stayed if sort == "NAME_ASC" else stayed[::-1])

    async def test_page_info_says_where_a_page_stands(self, make_clinic: MakeClinic, server: Server) -> None:
        clinic = await make_clinic()
        client = await server.sign_in(clinic)
        await fill(clinic, ["a", "b", "c"])

        head = await page(client, 2)
        tail = await page(client, 2, head["pageInfo"]["endCursor"])
        beyond = await page(client, 2, tail["pageInfo"]["endCursor"])

        cursors = [edge["cursor"] for edge in head["edges"]]
        assert head["pageInfo"] == {
            "hasNextPage": True,
            "hasPreviousPage": False,
            "startCursor": cursors[0],
            "endCursor": cursors[1],
        }
        assert (tail["pageInfo"]["hasNextPage"], tail["pageInfo"]["hasPreviousPage"]) == (False, True)
        assert beyond["edges"] == []
        assert (beyond["pageInfo"]["startCursor"], beyond["pageInfo"]["endCursor"]) == (None, None)

    async def test_a_row_that_went_does_not_break_the_walk(self, make_clinic: MakeClinic, server: Server) -> None:
        clinic = await make_clinic()
        client = await server.sign_in(clinic)
        await fill(clinic, ["a", "b", "c"])
        head = await page(client, 1)

        async with tenant_scope(clinic.ref):
            await Room.guarded().delete_one({"_id": ObjectId(head["edges"][0]["node"]["id"])})

        rest = await page(client, 5, head["pageInfo"]["endCursor"])
        assert [edge["node"]["name"] for edge in rest["edges"]] == ["b", "c"]

    @pytest.mark.parametrize("first", [0, -1, 101, 2**31 - 1, -(2**31)])
    async def test_page_sizes_are_from_1_to_100(self, admin: Client, first: int) -> None:
        answer = await admin.gql(PAGE, first=first, sort="NAME_ASC")

        assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["first"])

    async def test_related_pages_have_the_same_bounds(self, admin: Client) -> None:
        await admin.gql('mutation { createPatient(input: {givenName: "A", familyName: "B"}) { id } }')

        for arguments, path in (("first: 0", "first"), ("first: 101", "first"), ('after: "x"', "after")):
            appointments = f"appointments({arguments}) {{ edges {{ cursor }} }}"
            answer = await admin.gql(f"{{ patients(first: 1) {{ edges {{ node {{ {appointments} }} }} }} }}")
            assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])


class TestCursors:
    async def test_a_cursor_works_for_its_own_clinic_list_and_order_alone(
        self, make_clinic: MakeClinic, server: Server
    ) -> None:
        ours, theirs = await make_clinic(), await make_clinic()
        us, them = await server.sign_in(ours), await server.sign_in(theirs)
        for clinic in (ours, theirs):
            await fill(clinic, ["a", "b"])
        cursor = (await page(us, 1))["pageInfo"]["endCursor"]

        refused = [
            await them.gql(PAGE, first=1, after=cursor, sort="NAME_ASC"),
            await us.gql(PAGE, first=1, after=cursor, sort="NAME_DESC"),
            await us.gql("query($after: String) { services(after: $after) { edges { cursor } } }", after=cursor),
            await us.gql("query($after: String) { roles(after: $after) { edges { cursor } } }", after=cursor),
        ]

        for answer in refused:
            assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["after"])
        assert [edge["node"]["name"] for edge in (await page(us, 5, cursor))["edges"]] == ["b"]

    async def test_a_forged_or_bent_cursor_is_refused(self, make_clinic: MakeClinic, server: Server) -> None:
        clinic = await make_clinic()
        client = await server.sign_in(clinic)
        await fill(clinic, ["a", "b"])
        cursor = (await page(client, 1))["pageInfo"]["endCursor"]
        raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        raw[20] ^= 1
        bent = base64.urlsafe_b64encode(raw).decode().rstrip("=")

        for after in ("", "x", "ä", "=", "AAAA", bent, cursor[:-4], cursor + "AAAA", "A" * 5_000):
            answer = await client.gql(PAGE, first=1, after=after, sort="NAME_ASC")
            assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["after"])

    @given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
    def test_nothing_but_a_cursor_of_ours_can_be_read(self, text: str) -> None:
        cursors = Cursors(SecretStr("s" * 40), "here:Room:name_key+1")

        with pytest.raises(ValidationFailed):
            cursors.read(text)

    @given(st.lists(st.none() | st.text() | st.integers(-(2**40), 2**40) | st.booleans(), min_size=1, max_size=4))
    def test_a_cursor_gives_back_its_values(self, values: list[Any]) -> None:
        cursors = Cursors(SecretStr("s" * 40), "here:Room:name_key+1")

        assert cursors.read(cursors.make(values)) == values

    @given(
        rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), unique_by=lambda row: row[1], max_size=20),
        at=st.integers(0, 19),
        way=st.sampled_from([1, -1]),
    )
    def test_a_keyset_filter_means_all_rows_after(self, rows: list[tuple[int, int]], at: int, way: int) -> None:
        ordered = sorted(rows, reverse=way < 0)
        if at >= len(ordered):
            return
        name, id = ordered[at]

        filter = keyset([("name", way), ("_id", way)], [name, id])

        assert [row for row in ordered if _matches(filter, {"name": row[0], "_id": row[1]})] == ordered[at + 1 :]


def _matches(filter: dict[str, Any], row: dict[str, int]) -> bool:
    """What MongoDB makes of such a filter, for numbers."""
    holds = {"$gt": int.__gt__, "$gte": int.__ge__, "$lt": int.__lt__, "$lte": int.__le__}
    for column, wanted in filter.items():
        if column == "$or":
            if not any(_matches(branch, row) for branch in wanted):
                return False
        elif isinstance(wanted, dict):
            if not all(holds[operator](row[column], value) for operator, value in wanted.items()):
                return False
        elif row[column] != wanted:
            return False
    return True


class TestCounting:
    async def test_rows_are_counted_only_when_asked_and_read_only_when_asked(
        self, admin: Client, commands: Commands
    ) -> None:
        for query, names in (
            ("{ rooms { edges { node { id } } } }", ["find"]),
            ("{ rooms { totalCount } }", ["aggregate"]),
            ("{ rooms { totalCountIsExact pageInfo { hasNextPage } } }", ["find", "aggregate"]),
            ("{ rooms { __typename } }", []),
        ):
            commands.clear()
            await admin.gql(query)
            assert [name for name, command in commands.seen if command.get(name) == "rooms"] == names

    @pytest.mark.parametrize(("rooms", "shown", "exact"), [(2, 2, True), (3, 3, True), (4, 3, False)])
    async def test_counting_stops_at_a_bound(
        self,
        make_clinic: MakeClinic,
        server: Server,
        monkeypatch: pytest.MonkeyPatch,
        rooms: int,
        shown: int,
        exact: bool,
    ) -> None:
        clinic = await make_clinic()
        client = await server.sign_in(clinic)
        await fill(clinic, [f"r{i}" for i in range(rooms)])
        monkeypatch.setattr(paging, "COUNT_CAP", 3)

        answer = await client.gql("{ rooms(first: 1) { totalCount totalCountIsExact } }")

        assert answer.data["rooms"] == {"totalCount": shown, "totalCountIsExact": exact}
