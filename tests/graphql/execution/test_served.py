"""The whole server under either executor: the same answer to every field, the same audit, and no more commands."""

from __future__ import annotations

from typing import Any

import pytest

from app.permissions import Permission
from models.values import now
from tests.contracts._schema import RootField, root_fields
from tests.contracts._values import collection_of, variables
from tests.fixtures.commands import Commands
from tests.fixtures.mirror import Mirror, Side
from tests.fixtures.servers import Servers

READS = [
    root
    for root in root_fields()
    if not root.is_mutation and not root.is_above_clinics and root.name != "checkInvitation"  # takes a link from mail
]

MORE = {"patientMergePreview": 3}
"""Two rows side by side at the root: what both of them point to is read for each, where a loader waits for both."""


def given(root: RootField, side: Side) -> dict[str, Any]:
    """The clinic's own ids, two patients where one will not do; of what tells of each reading of itself, what was there
    before."""
    found = variables(root, lambda place: str(side.latest[collection_of(place)]))
    if root.name == "patientMergePreview":
        found["duplicateId"] = str(next(one["patients"] for one in side.generations if one is not side.latest))
    if root.name == "patientAccessLog":
        found["includeOwn"] = False
    return {**found, "filter": {"to": now().isoformat()}} if root.name == "auditLog" else found


@pytest.mark.parametrize("root", READS, ids=str)
async def test_every_query_is_compiled_with_the_same_answer_and_the_same_audit(
    root: RootField, mirror: Mirror, servers: Servers
) -> None:
    pair = servers.pair(await mirror.a.patient() if root.is_for_patients else mirror.a.admin)
    before = servers.counted
    answer = await pair.ask(root.fully, **given(root, mirror.a))
    assert not answer.errors
    assert set(servers.counted - before) == {"compiled"}


@pytest.mark.parametrize("root", READS, ids=str)
async def test_no_query_takes_more_commands_when_it_is_compiled(
    root: RootField, mirror: Mirror, servers: Servers, commands: Commands
) -> None:
    pair = servers.pair(await mirror.a.patient() if root.is_for_patients else mirror.a.admin)
    asked = given(root, mirror.a)
    sent: dict[bool, list[int]] = {True: [], False: []}
    for compiled in (False, True) * 3:  # what a process remembers may be looked up again in any of them
        commands.clear()
        answer = await (pair.compiled if compiled else pair.reference).gql(root.fully, **asked)
        assert not answer.errors
        sent[compiled].append(len(commands.asked()))
    assert min(sent[True]) <= min(sent[False]) + MORE.get(root.name, 0)


async def test_what_may_not_be_read_is_refused_at_each_row_alike(mirror: Mirror, servers: Servers) -> None:
    pair = servers.pair(await mirror.a.person_with({Permission.APPOINTMENT_READ}))
    root = next(root for root in READS if root.name == "appointments")
    text = root.document("{ edges { node { id patient { name } doctor { name } history { by { name } } } } }")
    answer = await pair.ask(text, **given(root, mirror.a))
    assert set(answer.codes) == {"FORBIDDEN"}
    rows = len(answer.body["data"]["appointments"]["edges"])
    assert len([error for error in answer.errors if error["path"][-1] == "patient"]) == rows > 1
    assert all(edge["node"]["patient"] is None for edge in answer.body["data"]["appointments"]["edges"])


async def test_each_root_field_is_audited_for_itself(mirror: Mirror, servers: Servers) -> None:
    one, other = (str(generation["patients"]) for generation in mirror.a.generations[:2])
    pair = servers.pair(mirror.a.admin)
    text = "query($a: ID!, $b: ID!) { a: patient(id: $a) { record { code } appointments { edges { node { id } } } } "
    text += "b: patient(id: $b) { record { code } appointments { edges { node { id } } } } }"
    assert not (await pair.ask(text, a=one, b=other)).errors
    entries = servers.raw["audit_entries"].find({"action": "patient"}).sort("at", -1).limit(2)
    assert {tuple(map(str, entry["patient_ids"])) async for entry in entries} == {(one,), (other,)}
