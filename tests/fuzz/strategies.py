"""What a hostile or broken client may send: values of every input type, most of them fitting, none of them kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bson import ObjectId
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    get_named_type,
    is_required_argument,
    is_required_input_field,
)
from hypothesis import strategies as st

from tests.contracts._schema import RootField
from tests.contracts._values import BY_TYPE, NAMED

NASTY_TEXTS: Sequence[str] = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "\x1b[31m",
    "a\nb",
    "a\r\nSet-Cookie: x=y",
    "\t",
    "\x7f\x85",
    "\u2028",
    "\u202eabc\u202c",
    "\u2066abc\u2069",
    "\u200b\u200d\ufeff",
    "\ud800",
    "\udfff\ud800",
    "\ufffe\uffff",
    "\U0010ffff",
    "e\u0301" * 40,
    "\ufdfa" * 60,
    "\u0130I\u0131i",
    "x" * 201,
    "x" * 6_000,
    "$where",
    "$gt",
    "{'$ne': null}",
    "a.b",
    ".*",
    "(a+)+$",
    "../../etc/passwd",
    "' or 1=1 --",
    "<script>",
    "%00%n%s",
    "null",
    "0",
    "9" * 400,
    "-0",
    "1e400",
    "NaN",
    "2024-02-30",
    "0000-00-00",
    "9999-12-31T23:59:60Z",
    "2024-01-01T00:00:00+99:99",
    "0001-01-01T00:00:00+14:00",
    "24:00",
    "+1" * 30,
    "@",
    "a@b",
    "\uff11\uff12",
    "\u0661\u0662",
)
NUMBERS: Sequence[Any] = (
    0,
    -1,
    1,
    7,
    100,
    101,
    2**31 - 1,
    -(2**31),
    2**31,
    2**53 + 1,
    2**63,
    10**30,
    0.5,
    5.0,
    -0.0,
    1e308,
)

texts = st.one_of(st.sampled_from(NASTY_TEXTS), st.text(st.characters(), max_size=40))
numbers = st.one_of(
    st.sampled_from(NUMBERS), st.integers(), st.integers(-10, 120), st.floats(allow_nan=False, allow_infinity=False)
)
anything = st.one_of(
    st.none(), st.booleans(), numbers, texts, st.lists(texts, max_size=2), st.dictionaries(texts, texts, max_size=2)
)
_UNFIT = 12
"""One value in so many does not even fit its type."""


def variables(root: RootField, ids: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Variables of a root field: what is required, and some of the rest."""
    return _fields(
        {name: (slot.type, is_required_argument(slot)) for name, slot in root.core.args.items() if name != "first"}, ids
    )


def _fields(
    fields: dict[str, tuple[GraphQLInputType, bool]], ids: st.SearchStrategy[str]
) -> st.SearchStrategy[dict[str, Any]]:
    needed = {name: _value(type_, name, ids) for name, (type_, required) in fields.items() if required}
    optional = {name: _value(type_, name, ids) for name, (type_, required) in fields.items() if not required}
    return st.fixed_dictionaries(needed, optional=optional)


def _value(type_: GraphQLInputType, name: str, ids: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    fitting = st.deferred(lambda: _fitting(type_, name, ids))
    return st.integers(0, _UNFIT).flatmap(lambda chance: anything if chance == _UNFIT else fitting)


def _fitting(type_: GraphQLInputType, name: str, ids: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    if isinstance(type_, GraphQLNonNull):
        return _fitting(type_.of_type, name, ids)
    if isinstance(type_, GraphQLList):
        return st.lists(_value(type_.of_type, name, ids), max_size=3)
    named = get_named_type(type_)
    if isinstance(named, GraphQLInputObjectType):
        return _fields({key: (field.type, is_required_input_field(field)) for key, field in named.fields.items()}, ids)
    if isinstance(named, GraphQLEnumType):
        return st.sampled_from(sorted(named.values))
    return _scalar(named.name, name, ids)


def _scalar(type_: str, name: str, ids: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    kind: st.SearchStrategy[Any] = {
        "ID": ids,
        "Int": st.one_of(st.integers(-1, 120), st.sampled_from([2**31 - 1, -(2**31), 2**31])),
        "Float": numbers,
        "Boolean": st.booleans(),
    }.get(type_, texts)
    usual = NAMED.get((name, type_), BY_TYPE.get(type_))
    if usual is None or type_ == "ID":
        return kind
    return st.one_of(st.just(usual), st.just(usual), kind)


def ids(*known: Sequence[str]) -> st.SearchStrategy[str]:
    """Ids of several clinics' documents, of none, and texts that are no ids."""
    strange = st.one_of(texts, st.just(str(ObjectId())), st.just("0" * 24), st.just("g" * 24))
    make: Callable[[Sequence[str]], st.SearchStrategy[str]] = st.sampled_from
    return st.one_of(*(make(list(some)) for some in known), strange)
