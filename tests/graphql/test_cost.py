"""What queries cost, who pays, and what clients are told of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from bson import ObjectId
from graphql import OperationDefinitionNode, parse
from hypothesis import given
from hypothesis import strategies as st

from app.errors import QueryTooComplex, RateLimited
from app.graphql.cost import MUTATION, Bill, OperationCost, cost_of, payers
from app.services.budgets import Account, Budgets
from app.services.rate_limits import Limit, Taken
from app.tenancy.scope import Actor, Scope
from models import RateBucket
from resolvers.base import Resolver
from tests.fixtures.clinics import Answer, Client, Clinic, MakeClinic, Server
from tests.fixtures.people import SignedIn


def costs(query: str) -> dict[str, OperationCost]:
    document = parse(query)
    return {
        node.name.value if node.name else "": cost_of(document, node)
        for node in document.definitions
        if isinstance(node, OperationDefinitionNode)
    }


def points(query: str, name: str = "", **variables: Any) -> int:
    return costs(query)[name].points(variables)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("{ a }", 1),
        ("{ a { b c } }", 3),
        ("{ list { edges { node { a b } } } }", 1 + 1 + 20 * 3),
        ("{ list(first: 100) { edges { node { a b } } } }", 1 + 5 + 100 * 3),
        ("{ list(first: 5) { edges { node { a b } } } }", 17),
        ("mutation { a { b } }", MUTATION + 2),
        ("mutation { ...F ... on M { z } } fragment F on M { x { y } ...G } fragment G on M { w }", 3 * MUTATION + 4),
        ("{ ...F ...F } fragment F on Q { a { b } }", 4),
        ("{ a ... on Q { b } }", 2),
    ],
)
def test_a_point_is_a_field_of_the_answer(query: str, expected: int) -> None:
    assert points(query) == expected


def test_a_length_that_is_a_variable_counts_as_it_is() -> None:
    query = "query($n: Int) { list(first: $n) { edges { node { a b } } } }"
    whole = points(query, n=100)

    assert whole == points("{ list(first: 100) { edges { node { a b } } } }")
    assert points(query, n=1) < 6
    assert points(query) == points(query, n=None) == points(query, n=20)
    for large in (10**9, 1e300, 100.0):
        assert points(query, n=large) == whole
    for nonsense in (-5, True, "100", [100]):
        assert points(query, n=nonsense) <= points(query, n=20)


def test_a_variables_own_default_counts() -> None:
    query = "query($n: Int = 100) { list(first: $n) { edges { node { a } } } }"

    assert points(query) == points(query, n=100) > 10 * points(query, n=5)


def test_each_operation_of_a_document_costs_its_own() -> None:
    query = "query A { a } query B { list(first: 100) { edges { node { a } } } }"

    assert points(query, "A") == 1
    assert points(query, "B") > 200


@given(st.integers(1, 12), st.integers(1, 3), st.integers(1, 100))
def test_fragments_cost_what_writing_them_out_would(levels: int, width: int, first: int) -> None:
    width = 1 if levels > 6 else width
    closed = "query($n: Int) { ...F0 } " + " ".join(
        f"fragment F{i} on Q {{ {f'...F{i + 1} ' * width} }}" for i in range(levels)
    )
    leaf = "list(first: $n) { edges { node { a } } }"
    many, one = points(f"{closed} fragment F{levels} on Q {{ {leaf} }}", n=first), f"query($n: Int) {{ {leaf} }}"

    assert abs(many - width**levels * costs(one)[""].cost.with_variables({"n": first})) < 1


# --- who pays ---------------------------------------------------------------------------------------------------------


def test_people_at_work_pay_from_another_budget_than_visitors(clinic_a: Clinic, server: Server) -> None:
    actor = Actor(ObjectId(), "s", "N", "e@example.com", membership_id=ObjectId())
    at_work = Scope("r", tenant=clinic_a.ref, actor=actor, address="192.0.2.1")
    stranger = Scope("r", tenant=clinic_a.ref, actor=actor, mismatch=True, address="192.0.2.1")
    visitor = Scope("r", tenant=clinic_a.ref, address="192.0.2.1")

    names = [
        [(one.limit.name, one.key, one.limit.platform) for one in payers(server.settings, scope)]
        for scope in (at_work, stranger, visitor)
    ]

    assert names == [
        [("cost-person", str(actor.user_id), False), ("cost-clinic", "staff", False)],
        [("cost-person", str(actor.user_id), True), ("cost-clinic", "public", False)],
        [("cost-address", "192.0.2.1", True), ("cost-clinic", "public", False)],
    ]


# --- over HTTP --------------------------------------------------------------------------------------------------------


async def forget_costs() -> None:
    """What other tests took of these budgets under a limit of theirs."""
    await RateBucket.guarded().delete_many({"_id": {"$gte": "cost-", "$lt": "cost."}})


def bearer(client: Client) -> dict[str, str]:
    return {"X-Polyclinic-Client": "tests", "Authorization": f"Bearer {client.token}"}


ROOM = "{ rooms(first: 100) { edges { node { id name } } } }"


async def test_every_answer_tells_cost_limit_rest_and_reset(admin: Client, server: Server, clinic_a: Clinic) -> None:
    for client, query in (
        (admin, ROOM),
        (admin, "{ nonsense"),
        (admin, "{ nowhere }"),
        (admin, "query A { viewer { role } } query B { viewer { role } }"),
        (server.client(clinic_a.host), "{ rooms { totalCount } }"),
        (server.client(), "{ viewer { role } }"),
    ):
        cost = (await client.gql(query)).body["extensions"]["cost"]
        assert set(cost) == {"requested", "limit", "remaining", "resetAt"}
        assert 0 < cost["requested"] <= cost["limit"]
        assert 0 <= cost["remaining"] <= cost["limit"] == 10**12
        left = (datetime.fromisoformat(cost["resetAt"]) - datetime.now(UTC)).total_seconds()
        assert -5 < left <= 65


async def test_the_same_query_costs_the_same_each_time(admin: Client) -> None:
    query = f"query Fresh {ROOM}"
    first, second = [(await admin.gql(query)).body["extensions"]["cost"] for _ in range(2)]

    assert first["requested"] == second["requested"] == 1 + 5 + 100 * 3


async def test_over_budget_nothing_runs_and_the_answer_says_when_it_may(
    make_clinic: MakeClinic, server: Server
) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    small = server.variant(cost_per_person=1_000)
    client = small.client(clinic.host, admin.token)
    create = 'mutation { createRoom(input: {name: "%s", kind: CONSULTATION}) { id } }'
    answers = [await client.gql(ROOM) for _ in range(4)]
    refused = await client.gql(create % "Refused")

    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    told = [answer.body["extensions"]["cost"]["remaining"] for answer in answers]
    assert told == [1_000 - 306, 1_000 - 612, 1_000 - 918, 1_000 - 918]
    for answer in (answers[-1], await client.gql(ROOM)):
        assert (answer.status, answer.codes, answer.body.get("data")) == (429, ["RATE_LIMITED"], None)
        wait = answer.errors[0]["extensions"]["retryAfter"]
        assert 1 <= wait <= 60
        assert answer.response.headers["retry-after"] == str(wait)
        assert answer.body["extensions"]["cost"]["requested"] == 306
    assert refused.codes in ([], ["VALIDATION_FAILED"]), "82 points are left"
    over = await server.client(clinic.host, admin.token).gql("{ rooms { edges { node { name } } } }")
    assert over.status == 200, "another process with another limit counts by its own"


async def test_a_clinics_budget_is_its_own_and_its_visitors_cannot_spend_it(
    make_clinic: MakeClinic, server: Server
) -> None:
    one, other = await make_clinic(), await make_clinic()
    people = {clinic.host: await server.sign_in(clinic) for clinic in (one, other)}
    await forget_costs()
    small = server.variant(cost_per_clinic=1_000)
    visitor = small.client(one.host)
    codes = [(await visitor.gql(ROOM)).codes for _ in range(4)]
    assert codes == [*[["UNAUTHENTICATED"]] * 3, ["RATE_LIMITED"]]

    client = small.client(one.host, people[one.host].token)
    assert [(await client.gql(ROOM)).status for _ in range(4)] == [200, 200, 200, 429]
    assert (await small.client(other.host, people[other.host].token).gql(ROOM)).status == 200
    assert (await small.client(other.host).gql(ROOM)).codes == ["UNAUTHENTICATED"]


async def test_reading_hostile_documents_is_paid_for(server: Server, clinic_a: Clinic) -> None:
    """An address that sends nothing but rubbish is refused before the rubbish is read."""
    await forget_costs()
    small = server.variant(cost_per_address=1_000)
    visitor = small.client(clinic_a.host, address="127.9.9.1")
    codes = [(await visitor.gql("{ " + f"x{n} " * 900 + "}")).codes for n in range(6)]

    assert codes[0] == ["QUERY_TOO_COMPLEX"]
    assert codes[-1] == ["RATE_LIMITED"]


@pytest.mark.parametrize(("width", "refused"), [(12, "QUERY_TOO_COMPLEX"), (5, "RATE_LIMITED")])
async def test_reading_documents_that_cost_more_than_is_left_is_paid_for(
    server: Server, clinic_a: Clinic, width: int, refused: str
) -> None:
    """A new document is parsed and checked before its cost is known: that is not free because it may not run then."""
    await forget_costs()
    client = server.variant(cost_per_address=1_000).client(clinic_a.host, address=f"127.9.8.{width}")
    fields = " ".join(f"a{i}: name" for i in range(width))
    codes, rests = [], []
    for _ in range(5):
        wide = f"query Q{uuid4().hex} {{ rooms(first: 100) {{ edges {{ node {{ {fields} }} }} }} }}"
        answer = await client.gql(wide)
        codes.append(answer.codes)
        rests.append(answer.body["extensions"]["cost"]["remaining"])

    assert codes[1:] == [[refused]] * 4
    assert rests == sorted(set(rests), reverse=True), "each took something"


async def test_a_bill_gives_back_what_is_beyond_the_points_and_nothing_else() -> None:
    async def lease(limit: Limit, key: str, need: int) -> Taken:
        return Taken(limit.tries, 0, datetime.now(UTC) + timedelta(minutes=1), 60.0)

    accounts = [Account(Limit("cost-test", 1_000, timedelta(minutes=1), platform=True), "one")]
    budgets = Budgets(lease=lease)
    bill = Bill(budgets, accounts)
    rests = []
    for points in (300, 40, 700, 0, 500):
        await bill.charge(points)
        rests.append(budgets.standing(accounts).remaining)
    bill.reduce(450)
    bill.reduce(460)

    assert rests == [700, 960, 300, 1_000, 500]
    assert (bill.charged, budgets.standing(accounts).remaining) == (450, 550)
    for too_much, refusal in ((1_001, QueryTooComplex), (1_000, RateLimited)):
        await Bill(budgets, accounts).charge(1)
        with pytest.raises(refusal):
            await bill.charge(too_much)
        assert bill.charged == 450


async def test_a_small_operation_of_a_large_document_pays_for_reading_it(admin: Client) -> None:
    small = "query A { viewer { role } }"
    fields = " ".join(f"a{i}: viewer {{ id name email role }}" for i in range(5))
    large = f"{small} " + " ".join(f"query B{i} {{ {fields} }}" for i in range(19))
    alone = (await admin.gql(small)).body["extensions"]["cost"]["requested"]
    body = {"query": large, "operationName": "A"}
    costs_of_large = []
    for _ in range(2):
        answer = Answer(await admin.http.post("/graphql", json=body, headers=bearer(admin)))
        assert answer.data == {"viewer": {"role": "admin"}}
        costs_of_large.append(answer.body["extensions"]["cost"]["requested"])

    assert alone == 2
    assert costs_of_large[0] == costs_of_large[1] >= 19 * 5 * 5


async def test_looking_for_a_document_that_is_not_registered_is_paid_for(server: Server, clinic_a: Clinic) -> None:
    await forget_costs()
    strict = server.variant(persisted_queries="required", cost_per_address=1_000)
    client = strict.client(clinic_a.host, address="127.9.9.3")
    answers = [await client.gql(f"query Q{n} {{ viewer {{ role }} }}") for n in range(2)]

    assert [answer.codes for answer in answers] == [["PERSISTED_QUERY_REQUIRED"]] * 2
    assert [answer.body["extensions"]["cost"]["remaining"] for answer in answers] == [999, 998]


async def test_what_no_budget_can_ever_pay_is_too_complex(
    signed_in: SignedIn, server: Server, clinic_a: Clinic
) -> None:
    admin = await signed_in(clinic_a)
    await forget_costs()
    small = server.variant(cost_per_person=1_000)
    client = small.client(clinic_a.host, admin.token)
    query = "query($n: Int) { rooms(first: $n) { edges { node { id name version } } } }"
    assert (await client.gql(query, n=10)).status == 200
    wide = "{ rooms(first: 100) { edges { node { " + " ".join(f"a{i}: name" for i in range(12)) + " } } } }"

    assert (await client.gql(wide)).codes == ["QUERY_TOO_COMPLEX"]
    assert (await client.gql("{ viewer { role } }")).status == 200


async def test_a_part_that_was_limited_is_told_beside_the_rest(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 with partial data carries `Retry-After` too: after it, a repeat gets everything."""

    async def limited(*_: Any, **__: Any) -> Any:
        raise RateLimited(17)

    monkeypatch.setattr(Resolver, "page", limited)
    answer = await admin.gql("{ viewer { role } rooms { totalCount } }")

    assert (answer.status, answer.codes) == (200, ["RATE_LIMITED"])
    assert answer.body["data"] == {"viewer": {"role": "admin"}, "rooms": None}
    assert answer.response.headers["retry-after"] == "17"
