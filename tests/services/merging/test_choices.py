"""Whose value stands in the merged file: laws over any two files."""

from __future__ import annotations

from typing import Any

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ValidationFailed
from app.services.merging.choices import (
    JOINED,
    LISTS,
    OWN,
    MergeField,
    MergeTake,
    combined,
    differing,
    is_empty,
    untold_allergies,
    values,
)
from app.services.merging.files import File, Pair

Row = dict[str, Any]

_TEXT = st.none() | st.sampled_from(["a", "b", "c"])
_ITEMS = st.lists(
    st.sampled_from([{"substance": one} for one in "xyz"]), max_size=3, unique_by=lambda one: one["substance"]
)
_ADDRESS = st.fixed_dictionaries({"street": _TEXT, "city": _TEXT})


def _value(one: MergeField) -> st.SearchStrategy[Any]:
    if one in LISTS:
        return _ITEMS
    if one is MergeField.ADDRESS:
        return _ADDRESS
    if one is MergeField.SEX:
        return st.sampled_from(["unknown", "female", "male"])
    return st.sampled_from(["a", "b"]) if one in (MergeField.GIVEN_NAME, MergeField.FAMILY_NAME) else _TEXT


@st.composite
def files(draw: st.DrawFn) -> File:
    drawn = {one: draw(_value(one)) for one in MergeField}
    patient = {one.value: value for one, value in drawn.items() if one not in OWN}
    record = {one.value: value for one, value in drawn.items() if one in OWN}
    return File(
        {"_id": ObjectId(), "version": 1, "phone_key": drawn[MergeField.PHONE], **patient}, {"version": 1, **record}
    )


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    return Pair(draw(files()), draw(files()), draw(st.booleans()))


def together(pair: Pair, choices: dict[MergeField, MergeTake]) -> Row:
    outcome = combined(pair, choices)
    return {**pair.survivor.patient, **pair.survivor.record, **outcome.patient, **outcome.record}


@given(pair=pairs())
def test_nothing_that_either_says_is_lost_unless_somebody_chooses(pair: Pair) -> None:
    found = together(pair, {})
    for one in MergeField:
        mine, theirs = values(pair, one)
        if pair.shared and one not in OWN:
            assert found[one.value] == mine
        elif one in LISTS:
            assert all(item in found[one.value] for item in [*mine, *theirs])
        elif one in JOINED:
            assert all(text in (found[one.value] or "") for text in (mine, theirs) if text)
        else:
            assert found[one.value] == (theirs if is_empty(mine) and not is_empty(theirs) else mine)
    if not pair.shared:
        assert found["phone_key"] == found["phone"]
    assert all(one in [*found["allergies"], *untold_allergies(pair)] for one in values(pair, MergeField.ALLERGIES)[1])


@given(pair=pairs(), take=st.sampled_from([MergeTake.SURVIVOR, MergeTake.DUPLICATE]), one=st.sampled_from(MergeField))
def test_what_somebody_chooses_stands(pair: Pair, take: MergeTake, one: MergeField) -> None:
    mine, theirs = values(pair, one)
    if pair.shared and one not in OWN and take is MergeTake.DUPLICATE:
        with pytest.raises(ValidationFailed):
            combined(pair, {one: take})
        return
    found = together(pair, {one: take})[one.value]
    wanted = mine if take is MergeTake.SURVIVOR else theirs
    assert found == wanted or (is_empty(found) and is_empty(wanted))


@given(pair=pairs())
def test_a_conflict_is_where_both_say_something_else(pair: Pair) -> None:
    for one in MergeField:
        mine, theirs = values(pair, one)
        said = not is_empty(mine) and not is_empty(theirs)
        assert (one in differing(pair)) is (said and mine != theirs)
