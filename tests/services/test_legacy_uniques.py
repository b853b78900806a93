"""What a migration foresees of unique indexes: the same documents are told apart as the database would."""

from __future__ import annotations

from typing import Any

import pytest
from bson import ObjectId

from app.services.legacy.plan import Found, Key, Said, decide
from app.services.legacy.uniques import Taken, marks_of, note_conflicts, uniques_of
from models import TENANT_DOCUMENTS, Appointment, PatientRecord, Room, Settings

OWN = ObjectId()
PATIENT = ObjectId()


@pytest.mark.parametrize("model", TENANT_DOCUMENTS, ids=lambda model: model.__name__)
def test_every_unique_index_is_understood(model: Any) -> None:
    names = {index.document["name"] for index in model.Settings.indexes if index.document.get("unique")}
    assert {unique.name for unique in uniques_of(model)} == names


@pytest.mark.parametrize(
    ("model", "one", "other", "clash"),
    [
        (Room, {"name_key": "x"}, {"name_key": "x", "archived_at": None}, True),
        (Room, {"name_key": "x"}, {"name_key": "y"}, False),
        (Room, {"name_key": "x", "archived_at": 1}, {"name_key": "x"}, False),
        (Appointment, {"claims": ["a", "b"]}, {"claims": ["b", "c"]}, True),
        (Appointment, {"claims": None}, {"claims": None}, False),
        (Appointment, {"requests": [{"id": "a"}]}, {"requests": [{"id": "b"}, {"id": "a"}]}, True),
        (PatientRecord, {"code": "1", "patient_id": PATIENT}, {"code": "2", "patient_id": PATIENT}, True),
        (PatientRecord, {"code": "1", "patient_id": 1}, {"code": "2", "patient_id": 2}, False),
        (Settings, {}, {}, True),
    ],
)
def test_the_second_in_one_place_is_kept_back(model: Any, one: Any, other: Any, clash: bool) -> None:
    name = model.guarded_name()
    rows = {Key(name, b"1"): one, Key(name, b"2"): other}
    found = {key: Found(marks=tuple(marks_of(model, row))) for key, row in rows.items()}
    decisions = decide(found, {}, {}, Said(of_all=OWN))

    assert note_conflicts(found, decisions, set()) is clash

    after = decide(found, {}, {}, Said(of_all=OWN))
    assert [after[key].rule is None for key in sorted(rows)] == [False, clash]


@pytest.mark.parametrize(
    ("model", "row", "across"), [(Room, {"name_key": "x"}, False), (Appointment, {"claims": ["a"]}, True)]
)
def test_another_clinics_documents_are_in_nobodys_way_but_where_an_index_holds_for_all(
    model: Any, row: Any, across: bool
) -> None:
    name = model.guarded_name()
    theirs: Taken = {(name, None if mark.across else ObjectId(), mark.digest) for mark in marks_of(model, row)}
    found = {Key(name, b"1"): Found(marks=tuple(marks_of(model, row)))}
    assert note_conflicts(found, decide(found, {}, {}, Said(of_all=OWN)), theirs) is across
