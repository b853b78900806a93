"""Whatever is sent, by whomever: an answer or a coded refusal, nothing of another clinic, and never INTERNAL.

A few hundred fixed examples here; `make fuzz EXAMPLES=10000` goes on at random.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from graphql import StringValueNode
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_graphql import Mode, from_schema

from tests.contracts._schema import Place, RootField, places, root_fields, schema
from tests.contracts._values import collection_of
from tests.contracts._values import variables as valid
from tests.fixtures.clinics import ROLE_NAMES, Answer
from tests.fuzz.conftest import EXAMPLES, Arena, fuzzing
from tests.fuzz.strategies import NASTY_TEXTS, ids, texts, variables

ROOTS = root_fields()
WHO = [
    *["admin"] * 4,
    *ROLE_NAMES,
    "a patient",
    "nobody",
    "nobody on the root host",
    "the other clinic's admin",
    "the admin on the root host",
]
CUSTOM: Any = {
    name: st.one_of(texts.filter(lambda text: text.isprintable()), st.sampled_from(["2030-01-07", "12.50"])).map(
        lambda text: StringValueNode(value=text)
    )
    for name in ("Date", "DateTime", "Decimal")
    if name in schema().type_map
}


def known(arena: Arena) -> tuple[list[str], list[str]]:
    own = [str(one) for made in arena.side.generations for one in made.values()]
    return own, [str(one) for one in arena.other.latest.values()]


@given(data=st.data())
@fuzzing(250)
async def test_any_field_with_any_values(arena: Arena, data: st.DataObject) -> None:
    root: RootField = data.draw(st.sampled_from(ROOTS))
    own, foreign = known(arena)
    sent = data.draw(variables(root, ids(own, own, foreign)))
    fully = not root.is_mutation and data.draw(st.integers(0, 9)) == 0

    await arena.ask(data.draw(st.sampled_from(WHO)), root.fully if fully else root.briefly, sent)


async def test_the_examples_above_reach_what_they_are_for(arena: Arena) -> None:
    """If everything were refused at the door, nothing would have been tried."""
    assert arena.seen["ok"] > sum(arena.seen.values()) / 20, arena.seen
    assert {"VALIDATION_FAILED", "NOT_FOUND", "FORBIDDEN", "UNAUTHENTICATED", "TENANT_MISMATCH"} <= arena.seen.keys()


@pytest.mark.parametrize("mode", [Mode.POSITIVE, Mode.NEGATIVE])
@given(data=st.data())
@fuzzing(60)
async def test_any_document(arena: Arena, data: st.DataObject, mode: Mode) -> None:
    made = data.draw(from_schema(schema(), custom_scalars=CUSTOM, mode=mode, codec=None))

    await arena.ask(data.draw(st.sampled_from(WHO)), str(made))


@given(data=st.data())
@fuzzing(60)
async def test_any_body(arena: Arena, data: st.DataObject) -> None:
    """The parts of a request itself, and headers that are kept or logged."""
    client = await arena.client("admin")
    body = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "query": st.one_of(st.just("query A { viewer { role } }"), texts, st.none()),
                "operationName": st.one_of(st.just("A"), texts, st.integers(), st.none()),
                "variables": st.one_of(st.dictionaries(texts, texts, max_size=3), texts, st.none()),
                "extensions": st.one_of(
                    st.dictionaries(texts, texts, max_size=2),
                    st.fixed_dictionaries(
                        {"persistedQuery": st.fixed_dictionaries({"version": st.just(1), "sha256Hash": texts})}
                    ),
                    texts,
                ),
                "documentId": texts,
            },
        )
    )
    header = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=300)
    headers = [
        (b"x-polyclinic-client", b"fuzz"),
        (b"content-type", b"application/json"),
        (b"authorization", f"Bearer {client.token}".encode()),
        (b"user-agent", data.draw(header).encode("latin-1")),
        (b"x-request-id", data.draw(header).encode("latin-1")),
    ]
    client.http.cookies.clear()
    response = await client.http.post("/graphql", content=json.dumps(body).encode(), headers=headers)
    arena.judge(Answer(response), body)


# --- input hygiene ----------------------------------------------------------------------------------------------------

TEXT_PLACES = [
    (root, place)
    for root in ROOTS
    if root.name != "createSubscriptionOrder"  # here is no PayPal to ask
    for place in places(root)
    if place.type.name == "String"
]
UNSEEN = ("\x00", "a\x00b", "a\x1bb", "a\u202eb", "a\u2066b", "a\u200bb", "\ufeff", "a\ud800b")
"""What no stored line or name may hold: it would hide, or show otherwise than it is."""


def _some(number: int) -> Sequence[str]:
    """Two of the other texts for each place in the whole suite, all of them in `make fuzz`."""
    count = len(NASTY_TEXTS)
    return NASTY_TEXTS if EXAMPLES else [NASTY_TEXTS[(2 * number + step) % count] for step in range(2)]


@pytest.mark.parametrize(("root", "place"), TEXT_PLACES, ids=str)
async def test_no_text_input_breaks_on_any_text(arena: Arena, root: RootField, place: Place) -> None:
    """Each in turn, with all else valid, so that the text is really read; as admin, and as whoever the field is for."""
    generation = arena.side.latest
    who = "a patient" if root.is_for_patients else "admin"

    def own(place: Place) -> str:
        try:
            return str(generation[collection_of(place)])
        except (AssertionError, KeyError):
            return str(generation["patients"])

    codes: Counter[Any] = Counter()
    for text in (*UNSEEN, *_some(TEXT_PLACES.index((root, place)))):
        answer = await arena.ask(who, root.briefly, valid(root, own, place, text))
        codes.update(answer.codes)
    assert codes, "no text at all was refused"
