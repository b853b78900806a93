"""Rooms. What they share with other named things is in `test_catalog`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.clinics import Client, MakeClinic, Server
from tests.fixtures.commands import Commands

CREATE = "mutation($input: CreateRoomInput!) { createRoom(input: $input) { id version name kind floor notes } }"
UPDATE = "mutation($input: UpdateRoomInput!) { updateRoom(input: $input) { version name kind floor notes } }"


async def test_a_room_is_for_consultations_unless_it_says_otherwise(admin: Client) -> None:
    plain = (await admin.gql(CREATE, input={"name": "Plain room"})).data["createRoom"]
    lab = (
        await admin.gql(CREATE, input={"name": "Lab", "kind": "LABORATORY", "floor": "2", "notes": "cold\nroom"})
    ).data

    assert (plain["kind"], plain["floor"], plain["notes"]) == ("CONSULTATION", None, None)
    assert (lab["createRoom"]["kind"], lab["createRoom"]["floor"]) == ("LABORATORY", "2")
    assert lab["createRoom"]["notes"] == "cold\nroom"


async def test_rooms_are_listed_by_kind(make_clinic: MakeClinic, server: Server) -> None:
    admin = await server.sign_in(await make_clinic())
    for name, kind in (("A", "IMAGING"), ("B", "OTHER"), ("C", "IMAGING")):
        await admin.gql(CREATE, input={"name": name, "kind": kind})

    answer = await admin.gql("{ rooms(filter: {kind: IMAGING}) { edges { node { name } } } }")

    assert [edge["node"]["name"] for edge in answer.data["rooms"]["edges"]] == ["A", "C"]


async def test_absent_values_stay_and_null_clears(admin: Client) -> None:
    made = await admin.gql(CREATE, input={"name": "Cleared room", "floor": "3", "notes": "n"})
    id = made.data["createRoom"]["id"]

    changed = await admin.gql(UPDATE, input={"id": id, "version": 1, "floor": None, "kind": "PROCEDURE"})

    assert changed.data["updateRoom"] == {
        "version": 2,
        "name": "Cleared room",
        "kind": "PROCEDURE",
        "floor": None,
        "notes": "n",
    }


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"kind": "CAVE"}, "input.kind"),
        ({"kind": None}, "input.kind"),
        ({"floor": ""}, "input.floor"),
        ({"floor": "x" * 201}, "input.floor"),
        ({"notes": "\u0007"}, "input.notes"),
        ({"version": "1"}, "input.version"),
    ],
)
async def test_wrong_changes_are_told_by_path_and_change_nothing(
    admin: Client, commands: Commands, wrong: dict[str, Any], path: str
) -> None:
    answer = await admin.gql(UPDATE, input={"id": "0123456789abcdef01234567", "version": 1, "name": "Fine", **wrong})

    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])
    assert commands.writes() == []
