"""Broken bodies are answered 400 with a code, quickly and without a trace."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http.body import MAX_DEPTH, nesting, parse_json_object
from app.http.failures import BadRequest
from tests.http.support import JSON, EdgeSettings, browse, code_of, edge_app

ROOMY = EdgeSettings(max_body_bytes=1_048_576)

BROKEN = {
    "empty": b"",
    "blank": b" \n",
    "broken": b'{"a": ',
    "trailing": b"{} {}",
    "bad utf-8": b'{"a": "\xff"}',
    "utf-8 surrogate": b'{"a": "\xed\xa0\x80"}',
    "lone surrogate": b'{"a": "\\ud800"}',
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "string": b'"text"',
    "number": b"7",
    "null": b"null",
    "array": b"[{}]",
    "nan": b'{"a": NaN}',
    "infinity": b'{"a": Infinity}',
    "overflow": b'{"a": 1e999}',
    "65 levels": b'{"a":' * 65 + b"1" + b"}" * 65,
    "100,000 levels": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "100,000 open": b"[" * 100_000,
    "a million brackets": b"[]" * 500_000,
    "quotes that never close": b'{"a":' * 70 + b'"' + b'\\"' * 400_000,
    "deep in an open string": b'{"' + b"[" * 1_000,
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_body_is_a_bad_request(body: bytes) -> None:
    async with browse(edge_app(settings=ROOMY)) as client:
        answer = await client.post("/graphql", content=body, headers=JSON)

    assert (answer.status_code, code_of(answer)) == (400, "VALIDATION_FAILED")
    assert answer.headers["x-request-id"] == answer.json()["errors"][0]["extensions"]["requestId"]


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"{}", {}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"q": "' + b"{[" * 500 + b'"}', {"q": "{[" * 500}),
        (b'{"q": "\\"' + b"[" * 500 + b'\\\\"}', {"q": '"' + "[" * 500 + "\\"}),
        (b'{"list":[' + b",".join([b"{}"] * 500) + b"]}", {"list": [{}] * 500}),
    ],
)
def test_what_json_allows_is_read(body: bytes, value: dict[str, Any]) -> None:
    assert parse_json_object(body) == value


def test_sixty_four_levels_are_the_most() -> None:
    assert parse_json_object(b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH)
    with pytest.raises(BadRequest):
        parse_json_object(b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=40,
)


@given(st.dictionaries(st.text(max_size=8), values, max_size=5), st.booleans())
def test_every_shallow_object_comes_through_unchanged(value: dict[str, Any], ascii_only: bool) -> None:
    assert parse_json_object(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=300) | st.text('{}[]"\\:,1 an', max_size=300).map(str.encode))
def test_arbitrary_bytes_give_an_object_or_a_bad_request(body: bytes) -> None:
    try:
        assert isinstance(parse_json_object(body), dict)
    except BadRequest:
        assert nesting(body) >= 0
