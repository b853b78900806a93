"""Rows and their relations: read in as few reads as can be, each root field for itself, with the permission asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Decimal128, ObjectId

from app.errors import Forbidden
from app.permissions import Permission
from app.tenancy.scope import Actor, Scope, TenantId, TenantRef, open_scope
from app.tenancy.trail import Trail
from tests.fuzz.toys import toy_schema
from tests.graphql.execution.both import Both, Ran
from tests.graphql.execution.shelf import SHELVES, RowContext, refill

CLINIC = TenantRef(TenantId(ObjectId()), "shelves", "Shelves")
ANN, BEN, NOBODY = (ObjectId() for _ in range(3))
ONE, TWO, THREE = (ObjectId() for _ in range(3))
SECRET = ObjectId()


def book(id: ObjectId, text: str, **more: Any) -> dict[str, Any]:
    return {
        "_id": id,
        "text": text,
        "colour": "red",
        "amount": Decimal128("1.50"),
        "rank": 1,
        "author_id": ANN,
        "instants": [datetime(2030, 1, 7, tzinfo=UTC)],
        "plain": {},
        "parts": [],
        "reader_ids": [],
        **more,
    }


def stored() -> dict[str, list[dict[str, Any]]]:
    people: list[dict[str, Any]] = [
        {"_id": ANN, "text": "Ann", "best_id": ONE, "rank": 1},
        {"_id": BEN, "text": "Ben", "best_id": None, "rank": 2},
    ]
    books = [
        book(ONE, "one", reader_ids=[BEN, NOBODY, ANN, BEN], secret_id=SECRET, secret_ids=[SECRET], note_id=ONE),
        book(TWO, "two", author_id=BEN, reader_ids=None, secret_ids=[], note_id=NOBODY),
        book(THREE, "three", part={"whole": 3, "person_id": BEN}, parts=[{"whole": 1, "person_id": None}]),
    ]
    return {
        "people": people,
        "books": books,
        "secrets": [{"_id": SECRET, "text": "hush", "person_id": ANN}],
        "reviews": [
            {"_id": ObjectId(), "text": f"{n}", "rank": n, "book_id": (ONE, TWO)[n % 2], "person_id": ANN}
            for n in range(5)
        ],
        "notes": [{"_id": ONE, "notes": ["a", "b"]}, {"_id": TWO, "notes": []}],
    }


class Library:
    """Both executors on the toys' rows."""

    def __init__(self) -> None:
        self.contexts: list[RowContext] = []
        self._answers: Mapping[str, Any] = {}
        self.both = Both(toy_schema(), self._context)

    def _context(self) -> RowContext:
        self.contexts.append(RowContext(self._answers))
        return self.contexts[-1]

    async def ask(
        self, query: str, variables: Mapping[str, Any] | None = None, /, rows: Any = None, **more: Any
    ) -> Ran:
        """Asks for `books`, which answers with all of them unless `rows` says which; `more` are other root fields."""
        self.contexts = []
        books = rows if rows is not None else [dict(row) for row in SHELVES.rows["books"]]
        self._answers = {"books": books, "again": books, **more}
        return await self.both.run(query, variables)

    @property
    def asked(self) -> list[str]:
        """What was read for the compiled operation."""
        return self.contexts[1].asked

    def reads_no_more(self) -> None:
        assert len(self.asked) <= len(self.contexts[0].asked)


@pytest.fixture
def library() -> Iterator[Library]:
    """With the right to read secrets."""
    refill(stored())
    with open_scope(scope(Permission.PATIENT_READ)):
        yield Library()


def scope(*permissions: Permission) -> Scope:
    actor = Actor(ObjectId(), "session", "Toy", "toy@example.com", permissions=frozenset(permissions))
    trail = Trail("rows", announce=_nothing, write=_nothing)
    return Scope(request_id="rows", tenant=CLINIC, actor=actor, trail=trail)


async def _nothing(*_: Any) -> None:
    return None


COMPILED: Mapping[str, tuple[str, list[str]]] = {
    "columns": ("{ books { id text colour amount instants length __typename } }", []),
    "one level": ("{ books { author { text } } }", ["people"]),
    "two ways to the same collection are one read": (
        "{ books { author { text } authorOrNot { id } readers { text } } }",
        ["people"],
    ),
    "levels": ("{ books { author { best { author { text } } } } }", ["people", "books", "people"]),
    "the same row again": ("{ books { author { text best { author { text } } } } }", ["people", "books"]),
    "the same page again": (
        (
            "{ books { author { books(first: 2) { edges { node { author { books(first: 2) { edges { "
            "node { text } } } } } } } } } }"
        ),
        ["people", "books", "books"],
    ),
    "the same value again": ("{ books { notesOrNot author { best { notesOrNot } } } }", ["people", "books", "notes"]),
    "side by side": (
        "{ books { secret { text } author { text } reviews { edges { node { text } } } } }",
        ["people", "reviews", "secrets"],
    ),
    "parts of rows": ("{ books { part { person { text } } parts { person { text } } } }", ["people"]),
    "loaded values": ("{ books { notesOrNot } }", ["notes"]),
    "a page of each": (
        (
            "{ books { reviews(first: 1) { edges { cursor node { text person { text } } } pageInfo "
            "{ hasNextPage endCursor } } } }"
        ),
        ["people", "reviews"],
    ),
    "only its end": ("{ books { reviews { pageInfo { hasNextPage } } } }", ["reviews"]),
    "aliases with other arguments": (
        (
            "{ books { a: reviews(first: 1) { edges { node { text } } } "
            "b: reviews(first: 2) { edges { node { text } } } } }"
        ),
        ["reviews", "reviews"],
    ),
    "what is skipped is not read": ("{ books { text author @skip(if: true) { text } } }", []),
    "merged": (
        "{ books { author { text } author { id } ...F } } fragment F on Book { author { best { text } } }",
        ["books", "people"],
    ),
    "nothing to look for": ("{ people { best { text } } }", []),
}


@pytest.mark.parametrize(("query", "read"), COMPILED.values(), ids=COMPILED)
async def test_rows_are_compiled_and_each_level_is_read_once(query: str, read: list[str], library: Library) -> None:
    ran = await library.ask(query, people=[])
    assert not ran.errors
    assert ran.compiled
    assert sorted(library.asked) == sorted(read)
    library.reads_no_more()


async def test_rows_that_are_not_there_are_null_and_left_out(library: Library) -> None:
    SHELVES.rows["books"][2].update(author_id=NOBODY, reader_ids=[NOBODY])
    ran = await library.ask("{ books { authorOrNot { text } readers { text } secret { text } } }")
    assert ran.compiled
    assert ran.data["books"][0]["readers"] == [{"text": "Ben"}, {"text": "Ann"}, {"text": "Ben"}]
    assert ran.data["books"][1] == {"authorOrNot": {"text": "Ben"}, "readers": [], "secret": None}
    assert ran.data["books"][2] == {"authorOrNot": None, "readers": [], "secret": None}


async def test_a_row_that_must_be_there_and_is_not_takes_its_row_along(library: Library) -> None:
    SHELVES.rows["books"][2]["author_id"] = NOBODY
    ran = await library.ask("{ books { author { text } } }")
    assert ran.data == {"books": None}
    assert ran.paths == [["books", 2, "author"]]


@pytest.mark.parametrize(
    "changed",
    [
        {"text": None}, {"colour": "blue"}, {"colour": []}, {"instants": ["2030"]}, {"amount": {}}, {"parts": {}},
        {"author_id": []}, {"reader_ids": "abc"}, {"reader_ids": {}}, {"secret_ids": 5}, {"note_id": {}},
        {"plain": 5}, {"parts": [{"whole": 1}, None]}, {"parts": ({"whole": 1},)},
    ],
    ids=str,
)  # fmt: skip
async def test_rows_that_are_not_as_their_type_says_are_left_to_graphql_core(
    changed: Mapping[str, Any], library: Library
) -> None:
    SHELVES.rows["books"][1].update(changed)
    query = "{ books { text colour instants amount plain { __typename whole } parts { whole } author { text } "
    ran = await library.ask(query + "readers { text } secrets { text } notesOrNot } }")
    assert ran.counted == {"completed: irregular": 1}
    assert ran.errors


@pytest.mark.parametrize("failing", ["people", "notes", "reviews"])
async def test_a_read_that_fails_is_told_at_each_row(failing: str, library: Library) -> None:
    SHELVES.failing = {failing}
    ran = await library.ask("{ books { authorOrNot { text } notesOrNot } again: books { reviews { totalCount } } }")
    assert {str(error.original_error) for error in ran.errors} == {
        f"{failing} cannot be read" if failing != "notes" else "no notes can be read"
    }


# --- permission -------------------------------------------------------------------------------------------------------


async def test_a_row_that_may_not_be_read_is_refused_at_each_place(library: Library) -> None:
    with open_scope(scope()):
        ran = await library.ask("{ books { text secret { text } secrets { text } } }")
    assert ran.data == {"books": None}
    assert {type(error.original_error) for error in ran.errors} == {Forbidden}
    with open_scope(scope()):
        ran = await library.ask("{ books { text secret { text } } }")
    assert ran.data == {
        "books": [{"text": "one", "secret": None}, *({"text": t, "secret": None} for t in ("two", "three"))]
    }
    assert ran.paths == [["books", 0, "secret"]]
    assert library.asked == []


async def test_an_empty_list_of_what_may_not_be_read_is_refused_too(library: Library) -> None:
    """Else it would tell that there is nothing."""
    rows = [row for row in stored()["books"] if row["_id"] == TWO]
    with open_scope(scope()):
        ran = await library.ask("{ books { secrets { text } } }", rows=rows)
    assert ran.paths == [["books", 0, "secrets"]]
    assert (await library.ask("{ books { secrets { text } } }", rows=rows)).data == {"books": [{"secrets": []}]}


# --- one root field and the next --------------------------------------------------------------------------------------


async def test_what_one_mutation_changed_the_next_one_shows(library: Library) -> None:
    """Pages and loaded values are read anew for each root field, as related rows are."""
    query = "mutation { books { notesOrNot reviews { edges { node { text } } } } "
    query += "again: books { notesOrNot reviews { edges { node { text } } } } }"
    for executor in (library.both.reference, library.both.compiled):
        refill(stored())

        class Answers(dict[str, Any]):
            def __missing__(self, key: str) -> Any:
                if key == "again":
                    SHELVES.rows["notes"][0]["notes"] = ["changed"]
                    SHELVES.rows["reviews"].clear()
                return [row for row in SHELVES.rows["books"] if row["_id"] == ONE]

        operation = library.both.operation(query).reference
        with open_scope(scope()):
            ran = await executor.operation(operation.document, operation.operation).run({}, RowContext(Answers()))
        assert ran.data is not None
        assert ran.data["books"][0]["notesOrNot"] == ["a", "b"]
        assert len(ran.data["books"][0]["reviews"]["edges"]) == 3
        assert ran.data["again"] == [{"notesOrNot": ["changed"], "reviews": {"edges": []}}]


async def test_a_row_that_is_given_up_does_not_end_its_neighbours(library: Library) -> None:
    """Ann's page fails, and she with it, while she and Ben wait for the secret of one book."""
    SHELVES.rows["books"][1]["author_id"] = BEN
    SHELVES.rows["books"][2]["text"] = None
    people = [{"_id": ANN, "best_id": ONE}, {"_id": BEN, "best_id": ONE}]
    SHELVES.slow = {"secrets"}
    ran = await library.ask("{ people { best { secret { text } } books { edges { node { text } } } } }", people=people)
    best = {"secret": {"text": "hush"}}
    assert ran.data == {"people": [None, {"best": best, "books": {"edges": [{"node": {"text": "two"}}]}}]}
