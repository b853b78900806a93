"""What API.md promises of every type, field and argument, held against the schema itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLType,
    Undefined,
    get_named_type,
)

from app.errors import ErrorCode
from app.graphql.fields import Related
from tests.contracts._schema import (
    RootField,
    is_required,
    node_type,
    own_types,
    places,
    root_fields,
    scalars,
    schema,
    source_of,
)

FIELDS = root_fields()
MUTATIONS = [root for root in FIELDS if root.is_mutation]

SCALARS = frozenset({"ID", "String", "Int", "Boolean", "DateTime", "Date", "Decimal"})
"""Each says what it holds. One that would take any JSON is never added here: every value of the API is typed."""

BUILT_IN = SCALARS - {"DateTime"}
"""Scalars that are described by GraphQL or Strawberry."""

PLAIN_LISTS: Mapping[str, str] = {
    "careHistory": "a page of at most 100 entries of several collections, each with a cursor to go on from",
    "jobs": "those of `app/services/cron.py`",
    "myClinics": "one person works at few clinics, and no more than 200 are read",
    "permissions": "the catalogue of what can be permitted: as long as the enum, whatever is stored",
    "possibleDuplicates": "a warning, of ten patients at most",
    "queueWaits": "one for each queue in use today, 100 at most",
    "sharedHistory": "one entry for each of at most 50 shares, each with at most 100 rows of a kind",
    "patientAvailableSlots": "as `availableSlots`",
    "subscriptionPlans": "the plans of `app/plans.py`",
    "sessions": "one person's open sessions, of which 100 are shown",
    "availableSlots": "computed from at most 31 days, not stored, so there is no cursor to go on from",
}
"""Root lists that are no connections, and what bounds each."""

WITHOUT_INPUT = frozenset(
    {
        "logout",
        "signOutEverywhere",
        "switchTenant",
        "beginPasskeySignIn",
        "leaveClinic",
        "leaveClinicEntry",
        "requestEmailVerification",
        "patientLogout",
        "signOutPatientEverywhere",
        "patientCreateQr",
        "patientMarkNotificationsRead",
        "createRepresentativeRole",
    }
)
"""Mutations that have nothing to be told: session and host say all."""


def described() -> Iterator[tuple[str, str | None]]:
    """Everything in the schema that the query page shows, by name, with its description."""
    for type_ in own_types():
        yield type_.name, type_.description
        if isinstance(type_, GraphQLEnumType):
            yield from ((f"{type_.name}.{name}", value.description) for name, value in type_.values.items())
        if isinstance(type_, GraphQLObjectType | GraphQLInputObjectType):
            for name, field in type_.fields.items():
                yield f"{type_.name}.{name}", field.description
                yield from _arguments(f"{type_.name}.{name}", field)


def _arguments(owner: str, field: object) -> Iterator[tuple[str, str | None]]:
    if isinstance(field, GraphQLField):
        for name, argument in field.args.items():
            yield f"{owner}({name})", argument.description


def test_everything_is_described_in_a_sentence() -> None:
    texts = {name: (text or "").strip() for name, text in described() if name not in ("Query", "Mutation")}
    assert not [name for name, text in texts.items() if not text], "these need a description"
    ours = {name: text for name, text in texts.items() if name not in BUILT_IN}
    assert not [name for name, text in ours.items() if not text.endswith(".")], "these need a full stop"


def test_names_are_camel_case() -> None:
    enums = {type_.name for type_ in own_types() if isinstance(type_, GraphQLEnumType)}
    for name, _ in described():
        owner, _, last = name.rstrip(")").replace("(", ".").rpartition(".")
        wanted = r"[A-Z][A-Z0-9_]*" if owner in enums else r"[a-z][A-Za-z0-9]*" if owner else r"[A-Z][A-Za-z0-9]*"
        assert re.fullmatch(wanted, last), name


def test_no_scalar_takes_just_anything() -> None:
    unknown = {scalar.name for scalar in scalars()} - SCALARS
    assert not unknown, f"{unknown}: say in SCALARS that each holds one kind of value, and is no bag of JSON"


@pytest.mark.parametrize("root", [root for root in FIELDS if not root.is_mutation], ids=str)
def test_root_lists_are_connections(root: RootField) -> None:
    if is_list(root.core.type):
        assert root.name in PLAIN_LISTS, f"{root} must be a connection, or say in PLAIN_LISTS what bounds it"
    else:
        assert root.name not in PLAIN_LISTS


@pytest.mark.parametrize("root", [root for root in FIELDS if root.is_connection], ids=str)
def test_connections_are_paged_alike(root: RootField) -> None:
    first, after = root.core.args["first"], root.core.args["after"]
    assert (str(first.type), first.default_value) == ("Int!", 20)
    assert str(after.type) == "String"
    connection = root.answer_type
    assert isinstance(connection, GraphQLObjectType)
    assert {"edges", "pageInfo", "totalCount", "totalCountIsExact"} <= connection.fields.keys()


def test_relations_without_an_end_are_connections() -> None:
    """A list by ids that the row itself holds is as long as the row lets it be; one by the row's own id is not."""
    for type_ in own_types():
        if isinstance(type_, GraphQLObjectType):
            for name, field in type_.fields.items():
                source = source_of(field)
                if isinstance(source, Related) and source.many and source.key == "_id":
                    assert node_type(field.type) is not None, f"{type_.name}.{name} must be a connection"


@pytest.mark.parametrize("root", MUTATIONS, ids=str)
def test_a_mutation_takes_one_input(root: RootField) -> None:
    if root.name in WITHOUT_INPUT:
        assert not root.core.args
        return
    assert list(root.core.args) == ["input"], f"{root} must take one argument, `input`"
    argument = root.core.args["input"]
    assert isinstance(argument.type, GraphQLNonNull)
    assert isinstance(get_named_type(argument.type), GraphQLInputObjectType)


@pytest.mark.parametrize("root", MUTATIONS, ids=str)
def test_a_mutation_is_named_for_what_it_does(root: RootField) -> None:
    assert re.fullmatch(r"log(in|out)|[a-z]+([A-Z][a-z]+)+", root.name), "a verb, then a noun"


@pytest.mark.parametrize("root", [root for root in MUTATIONS if root.name.startswith("update")], ids=str)
def test_an_update_says_on_which_version_it_is_based(root: RootField) -> None:
    versions = [place for place in places(root) if place.name == "version"]
    assert [place.path for place in versions] == [("input", "version")]
    assert versions[0].required
    shown = root.answer_type
    assert isinstance(shown, GraphQLObjectType)
    assert "version" in shown.fields


@pytest.mark.parametrize("root", [root for root in MUTATIONS if root.name.startswith("update")], ids=str)
def test_an_update_tells_what_is_left_out_from_null(root: RootField) -> None:
    """All but the id and the version may be left out, so that only what is named changes."""
    needed = {place.path[1] for place in places(root) if place.required and len(place.path) == 2}
    assert needed <= {"id", "version"}
    input = get_named_type(root.core.args["input"].type)
    assert isinstance(input, GraphQLInputObjectType)
    defaults = [name for name, field in input.fields.items() if field.default_value not in (Undefined, None)]
    assert not defaults, f"{root}: these would overwrite what is stored when they are left out"


def test_the_codes_of_failures_are_part_of_the_schema() -> None:
    codes = schema().type_map["ErrorCode"]
    assert isinstance(codes, GraphQLEnumType)
    assert set(codes.values) == {code.value for code in ErrorCode}


def is_list(type_: GraphQLType) -> bool:
    bare = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
    return isinstance(bare, GraphQLList)


def test_required_means_required() -> None:
    """The walk itself: an id that must be given is seen as such."""
    root = next(root for root in FIELDS if root.name == "patient")
    assert is_required(root.core.args["id"])
