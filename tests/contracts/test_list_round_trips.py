"""However long a page is, the database is asked equally often: no list, at the root or within a row, reads anything
row by row.

Lists are found in the schema; each is asked for with all that its rows point to, at a clinic where it is long. What is
read in order to know who asks, and what is told to the audit, is the same for every page and is counted apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations
from typing import Any

import pytest
from graphql import GraphQLObjectType, get_named_type

from app.graphql.fields import Related, RelatedPage
from tests.contracts._lists import PAGES, Asked, asking, long_at, page, plain, selected, with_relations
from tests.contracts._schema import RootField, node_type, source_of
from tests.fixtures.commands import AROUND, Commands
from tests.fixtures.multitude import Multitude

SHORT, LONG = 3, 12
LONGER = {"prescriptions": (12, 24)}
"""Lists in which more is read for rows of one state (what speaks against drafts): both pages must hold some."""
AS_LONG_AS_IT_IS = frozenset({"patientAccessLog"})
"""Lists that the tests themselves make longer, of rows that differ: who looked is read where somebody did."""
TRIES = 3
"""Rows that processes remember are read anew after some seconds, in the middle of a test perhaps."""
WHO_ASKS = frozenset({*AROUND, "portal_sessions", "tenant_keys", "tenants"})

named = partial(pytest.mark.parametrize, ids=str)


class Nested:
    """A list within the rows of another one."""

    def __init__(self, root: RootField, name: str, node: GraphQLObjectType) -> None:
        self.root, self.name, self.node = root, name, node

    def __str__(self) -> str:
        return f"{self.root.name} {self.name}"

    def page(self, first: int) -> str:
        inner = f"edges {{ cursor node {selected(self.node, relations=True)} }} pageInfo {{ hasNextPage }}"
        return page(self.root, first, f"{{ edges {{ node {{ id {self.name}(first: {first}) {{ {inner} }} }} }} }}")


def row_of(root: RootField) -> GraphQLObjectType:
    """The type of a list's rows."""
    node = node_type(root.core.type)
    assert isinstance(node, GraphQLObjectType)
    return node


def nested() -> list[Nested]:
    found = []
    for root in PAGES:
        for name, field in row_of(root).fields.items():
            node = node_type(field.type)
            if isinstance(node, GraphQLObjectType):
                found.append(Nested(root, name, node))
    return found


NESTED = nested()


async def asked_for(asked: Asked, commands: Commands, text: str, given: dict[str, Any]) -> tuple[Any, list[str]]:
    """The answer, and what was asked of the database for it but for who asks and what the audit is told."""
    commands.clear()
    answer = await asked.client.gql(text, **given)
    trips = [trip for trip in commands.trips() if trip.split()[-1] not in WHO_ASKS]
    return answer.data, sorted(trips)


async def compare(
    asked: Asked, commands: Commands, texts: Sequence[str], given: dict[str, Any]
) -> tuple[list[Any], list[list[str]]]:
    """The answers to a short page and to a long one, and what each took; tried anew when these differ."""
    both = [await asked_for(asked, commands, text, given) for text in texts]
    for _ in range(TRIES):
        both = [await asked_for(asked, commands, text, given) for text in texts]
        if both[0][1] == both[1][1]:
            break
    return [answer for answer, _ in both], [trips for _, trips in both]


@named("root", [root for root in PAGES if root.name not in AS_LONG_AS_IT_IS])
async def test_a_long_page_with_all_that_its_rows_point_to_takes_no_more_round_trips_than_a_short_one(
    root: RootField, multitude: Multitude, commands: Commands
) -> None:
    asked = await asking(root, multitude)
    sizes = LONGER.get(root.name, (SHORT, LONG))
    texts = [page(root, first, with_relations(root.name)) for first in sizes]
    answers, trips = await compare(asked, commands, texts, plain(root, asked))
    assert [len(answer[root.name]["edges"]) for answer in answers] == [*sizes], "the list is not long enough"
    assert trips[0] == trips[1]


@named("inner", NESTED)
async def test_a_list_within_rows_takes_no_more_round_trips_for_more_rows_of_more_rows(
    inner: Nested, multitude: Multitude, commands: Commands
) -> None:
    longest = 0
    for asked in await long_at(inner.root, multitude):
        texts = [inner.page(first) for first in (SHORT, LONG)]
        answers, trips = await compare(asked, commands, texts, plain(inner.root, asked))
        assert trips[0] == trips[1]
        rows = [edge["node"][inner.name]["edges"] for edge in answers[1][inner.root.name]["edges"]]
        longest = max(longest, sum(map(len, rows)))
    assert longest >= LONG, "no inner list is long enough"


@named("root", PAGES)
async def test_a_page_with_two_relations_is_three_round_trips_at_most(
    root: RootField, multitude: Multitude, commands: Commands
) -> None:
    asked, node = await asking(root, multitude), row_of(root)
    related = [name for name, field in node.fields.items() if isinstance(source_of(field), Related | RelatedPage)]
    for pair in combinations(related, 2):
        parts = " ".join(f"{name} {_selection(node, name)}" for name in pair)
        text = page(root, LONG, f"{{ edges {{ node {{ {parts} }} }} pageInfo {{ hasNextPage }} }}")
        trips: list[str] = []
        for _ in range(TRIES):
            _, trips = await asked_for(asked, commands, text, plain(root, asked))
            if len(trips) <= 3:
                break
        assert 1 <= len(trips) <= 3, (pair, trips)


def _selection(node: GraphQLObjectType, name: str) -> str:
    named = get_named_type(node.fields[name].type)
    assert isinstance(named, GraphQLObjectType)
    return selected(named, relations=False)


def test_the_walk_sees_the_lists() -> None:
    assert len(PAGES) > 50
    assert {str(one) for one in NESTED} >= {"patients appointments", "tickets comments", "conversations messages"}


async def test_a_list_that_reads_row_by_row_is_caught(multitude: Multitude, commands: Commands) -> None:
    """Two lists of which the longer one is asked for row by row, as it were, differ in what they take."""
    [root] = [root for root in PAGES if root.name == "rooms"]
    asked = await asking(root, multitude)
    each = " ".join(f"r{number}: rooms(first: 1) {{ edges {{ node {{ name }} }} }}" for number in range(LONG))
    _, trips = await compare(asked, commands, [page(root, SHORT, "{ edges { node { name } } }"), f"{{ {each} }}"], {})
    assert [len(one) for one in trips] == [1, LONG]
