"""Every field above the clinics, asked by everybody who must not: nothing is told, nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from bson import ObjectId

from app.permissions import PLATFORM_ROLES, PlatformRight, PlatformRole
from models import Operator, PlatformAudit, Tenant
from tests.contracts._schema import Place, RootField, id_places, root_fields
from tests.contracts._values import variables
from tests.fixtures.clinics import Answer, Client
from tests.fixtures.mirror import BOOKKEEPING, Mirror
from tests.fixtures.operators import MakeOperator
from tests.fixtures.servers import Servers

FIELDS = tuple(root for root in root_fields() if root.is_above_clinics)
REASON = "for the tests of every field"
named = partial(pytest.mark.parametrize, ids=str)
roles = pytest.mark.parametrize("role", list(PlatformRole), ids=lambda role: role.value)


def right_of(root: RootField) -> PlatformRight:
    rule = root.access.rule
    assert isinstance(rule, PlatformRight)
    return rule


def given(root: RootField, **ids: str) -> dict[str, Any]:
    """Variables whose ids, by name, are these, or of nobody at all; reasons are long enough."""
    made = variables(root, lambda place: ids.get(place.name, str(ObjectId())))
    if "reason" in made.get("input", {}):
        made["input"]["reason"] = REASON
    return made


def real_ids(mirror: Mirror, operator: Operator) -> dict[str, str]:
    clinic = str(mirror.a.clinic.tenant.id)
    return {"tenantId": clinic, "id": clinic, "operatorId": str(operator.id)}


async def ask(client: Client, root: RootField, values: dict[str, Any]) -> Answer:
    answer = await client.gql(root.fully, **values)
    assert not {"QUERY_TOO_COMPLEX", "INTERNAL", "UNAVAILABLE", "RATE_LIMITED"} & set(answer.codes), answer.body
    return answer


def refused(answer: Answer, code: str = "FORBIDDEN") -> bool:
    return answer.codes == [code] and not any((answer.body.get("data") or {}).values())


async def strangers(mirror: Mirror, make_operator: MakeOperator) -> list[tuple[str, Client, str]]:
    """Everybody who is nothing here: who they are, their client, and the code that they get."""
    root = partial(mirror.a.server.client)
    member = await mirror.a.client("admin")
    nothing = await make_operator(None)
    patient = await mirror.a.patient()
    return [
        ("nobody", root(), "UNAUTHENTICATED"),
        ("nobody on a clinic's host", root(mirror.a.clinic.host), "UNAUTHENTICATED"),
        ("a clinic's admin", root(token=member.token), "FORBIDDEN"),
        ("a clinic's admin at the clinic", member, "FORBIDDEN"),
        ("a clinic's receptionist", root(token=(await mirror.a.client("receptionist")).token), "FORBIDDEN"),
        ("somebody who works nowhere", nothing.client, "FORBIDDEN"),
        ("a patient", root(token=patient.token), "UNAUTHENTICATED"),
        ("a patient at the clinic", patient, "UNAUTHENTICATED"),
    ]


@named("root", FIELDS)
async def test_staff_and_patients_of_any_clinic_get_nothing_and_write_nothing(
    root: RootField, mirror: Mirror, servers: Servers, make_operator: MakeOperator
) -> None:
    boss = await make_operator()
    assert boss.operator is not None
    people = await strangers(mirror, make_operator)
    values = given(root, **real_ids(mirror, boss.operator))
    before = await mirror.digest()
    for who, person, code in people:
        for client in servers.both(person):
            answer = await ask(client, root, values)
            assert refused(answer, code), (who, answer.body)
    assert await mirror.digest() == before


@named("root", FIELDS)
@roles
async def test_a_role_may_ask_what_the_table_says_and_nothing_else(
    root: RootField, role: PlatformRole, mirror: Mirror, servers: Servers, make_operator: MakeOperator
) -> None:
    """Asked with ids of nobody, so that what is allowed fails later or reads."""
    somebody = await make_operator(role)
    before = await mirror.digest()
    for client in servers.both(somebody.client):
        answer = await ask(client, root, given(root))
        told = [error["message"] for error in answer.errors if error["extensions"]["code"] == "FORBIDDEN"]
        lacks = told == [f"This needs the platform right {right_of(root).value}."]
        assert lacks is (right_of(root) not in PLATFORM_ROLES[role]), answer.body
        if lacks:
            assert refused(answer)
            assert await mirror.digest() == before


@named("root", FIELDS)
async def test_on_a_clinics_host_nobody_has_a_right_above_the_clinics(
    root: RootField, mirror: Mirror, servers: Servers, make_operator: MakeOperator
) -> None:
    boss = await make_operator()
    assert boss.operator is not None
    values = given(root, **real_ids(mirror, boss.operator))
    before = await mirror.digest()
    for outside in servers.both(boss.at(mirror.a.clinic)):
        assert refused(await ask(outside, root, values))
    assert await mirror.digest() == before


async def test_an_entry_into_a_clinic_gives_no_right_above_the_clinics(
    mirror: Mirror, make_operator: MakeOperator
) -> None:
    boss = await make_operator()
    assert boss.operator is not None
    enter = next(root for root in FIELDS if root.name == "enterClinic")
    entry = await ask(boss.client, enter, given(enter, tenantId=str(mirror.spare.clinic.tenant.id)))
    assert not entry.errors
    inside = boss.at(mirror.spare.clinic)
    assert (await inside.gql("{ viewer { role } }")).data == {"viewer": {"role": "operator"}}
    before = await mirror.digest(without={*BOOKKEEPING, "operator_entries"})
    for root in FIELDS:
        assert refused(await ask(inside, root, given(root, **real_ids(mirror, boss.operator)))), root
    assert await mirror.digest(without={*BOOKKEEPING, "operator_entries"}) == before


@named("root", [root for root in FIELDS if id_places(root)])
async def test_an_id_that_is_nothing_here_is_not_found_and_changes_nothing(
    root: RootField, mirror: Mirror, make_operator: MakeOperator
) -> None:
    boss = await make_operator()
    before = await mirror.digest()
    for place in id_places(root):
        for wrong in foreign_ids(mirror):
            answer = await ask(boss.client, root, _with(root, place, wrong))
            if root.is_mutation or not root.is_connection:
                assert (answer.codes, answer.paths) == (["NOT_FOUND"], [".".join(place.path)]), (place, answer.body)
            else:
                assert answer.data[root.name]["edges"] == []
    assert await mirror.digest() == before


def foreign_ids(mirror: Mirror) -> Iterator[str]:
    """Ids of clinics' own documents, and of nothing."""
    yield str(ObjectId())
    yield str(mirror.a.latest["patients"])
    yield str(mirror.b.latest["staff"])


def _with(root: RootField, place: Place, value: str) -> dict[str, Any]:
    made = given(root)
    target: dict[str, Any] = made
    for step in place.path[:-1]:
        target = target.setdefault(step, {})
    target[place.name] = value
    return made


@named("root", [root for root in FIELDS if not root.is_mutation])
async def test_nothing_of_what_clinics_keep_shows_above_them(
    root: RootField, mirror: Mirror, servers: Servers, make_operator: MakeOperator
) -> None:
    """Clinics are known by name there, people who run the system, and who took a step above the clinics; what clinics
    keep of patients and staff is not."""
    boss = await make_operator()
    assert boss.operator is not None
    values = given(root, **real_ids(mirror, boss.operator))
    answers = [await ask(client, root, values) for client in servers.both(boss.client)]
    assert not any(answer.errors for answer in answers), answers
    clinics = {str(row["_id"]) for row in await Tenant.rows({}, projection={"_id": 1})}
    actors = {row["actor"] for row in await PlatformAudit.rows({}, projection={"actor": 1})}
    for side in (mirror.a, mirror.b):
        known = await mirror.ids_of(side) - clinics - actors - {str(side.latest["operator_entries"])}
        assert not [one for one in known for answer in answers if one in answer.response.text], root


def test_the_walk_sees_what_is_above_the_clinics() -> None:
    assert {right_of(root) for root in FIELDS} == set(PlatformRight)
    assert len(FIELDS) >= 10
