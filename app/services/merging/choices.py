"""Whose value stands in the merged file, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.errors import FieldError, ValidationFailed
from app.services.changes import Row
from app.services.merging.files import File, Pair
from models.patient import Sex
from models.values import search_key

MOST_NOTES = 5_000


class MergeField(StrEnum):
    """What two files of a patient may say differently; the value is the column."""

    GIVEN_NAME = "given_name"
    FAMILY_NAME = "family_name"
    BIRTH_DATE = "birth_date"
    SEX = "sex"
    PHONE = "phone"
    EMAIL = "email"
    ADDRESS = "address"
    CONTACTS = "contacts"
    ALLERGIES = "allergies"
    NATIONAL_ID = "national_id"
    INSURER = "insurer"
    INSURANCE_NUMBER = "insurance_number"
    NOTES = "notes"


class MergeTake(StrEnum):
    """Whose value is taken."""

    SURVIVOR = "survivor"
    DUPLICATE = "duplicate"
    BOTH = "both"


_F = MergeField
OWN = frozenset({_F.NATIONAL_ID, _F.INSURER, _F.INSURANCE_NUMBER, _F.NOTES})
"""What the clinic keeps in its own record; the others are the shared demographics."""
LISTS: Mapping[MergeField, int] = {_F.CONTACTS: 10, _F.ALLERGIES: 100}
"""With how many items there may be. Nothing of a list is lost unless somebody says so: an allergy least of all."""
JOINED = frozenset({*LISTS, _F.NOTES})
"""Of which both can be kept."""
Choices = Mapping[MergeField, MergeTake]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The columns of the survivor that the merge changes."""

    patient: Row = field(default_factory=dict)
    record: Row = field(default_factory=dict)


def combined(pair: Pair, choices: Choices, *, checks: bool = True) -> Outcome:
    """The survivor's values, filled from the duplicate where they are empty, unless `choices` say otherwise; of
    contacts, allergies and notes both are kept.

    The demographics of a survivor whom other clinics have too stay as they are. Raises VALIDATION_FAILED at
    `input.choices.…`, unless `checks` are left to a later call.
    """
    if checks:
        _check(pair, choices)
    patient: Row = {}
    record: Row = {}
    for one in MergeField:
        if one not in OWN and pair.shared:
            continue
        mine, theirs = values(pair, one)
        take = _take(one, mine, choices)
        if take is MergeTake.SURVIVOR or (is_empty(mine) and is_empty(theirs)):
            continue
        value = theirs if take is MergeTake.DUPLICATE else _joined(one, mine, theirs)
        if value != mine:
            (record if one in OWN else patient)[one.value] = value
    return Outcome(keyed(pair.survivor, patient, pair.duplicate.patient.get("phone_key")), record)


def _take(one: MergeField, mine: Any, choices: Choices) -> MergeTake:
    usual = MergeTake.BOTH if one in JOINED else MergeTake.DUPLICATE if is_empty(mine) else MergeTake.SURVIVOR
    return choices.get(one, usual)


def values(pair: Pair, one: MergeField) -> tuple[Any, Any]:
    """What the survivor and the duplicate say."""
    if one in OWN:
        return pair.survivor.record.get(one.value), pair.duplicate.record.get(one.value)
    return pair.survivor.patient.get(one.value), pair.duplicate.patient.get(one.value)


def is_empty(value: Any) -> bool:
    """Whether a value says nothing."""
    if isinstance(value, Mapping):
        return all(map(is_empty, value.values()))
    return value in (None, "", [], Sex.UNKNOWN.value)


def _joined(one: MergeField, mine: Any, theirs: Any) -> Any:
    if one is MergeField.NOTES:
        said = [text for text in (mine, theirs) if text]
        return "\n\n".join(dict.fromkeys(said)) or None
    own = list(mine or ())
    return own + [item for item in theirs or () if item not in own]


def _check(pair: Pair, choices: Choices) -> None:
    wrong: list[FieldError] = []
    for at, (one, take) in enumerate(choices.items()):
        path = f"input.choices.{at}.take"
        if take is MergeTake.BOTH and one not in JOINED:
            wrong.append(FieldError(path, "must be SURVIVOR or DUPLICATE: of this there can be but one"))
        elif pair.shared and one not in OWN and take is not MergeTake.SURVIVOR:
            wrong.append(FieldError(path, "Other clinics have the survivor too: change this with updatePatient."))
        elif take is MergeTake.DUPLICATE and one in (_F.GIVEN_NAME, _F.FAMILY_NAME) and is_empty(values(pair, one)[1]):
            wrong.append(FieldError(path, "is empty there"))
    if wrong:
        raise ValidationFailed(fields=wrong)
    for one in JOINED - OWN if not pair.shared else ():
        if _take(one, values(pair, one)[0], choices) is MergeTake.BOTH:
            _check_room(one, len(_joined(one, *values(pair, one))), LISTS[one])
    mine, theirs = values(pair, _F.NOTES)
    if _take(_F.NOTES, mine, choices) is MergeTake.BOTH:
        _check_room(_F.NOTES, len(_joined(_F.NOTES, mine, theirs) or ""), MOST_NOTES)


def _check_room(one: MergeField, there: int, most: int) -> None:
    if there > most:
        raise ValidationFailed.at("input.choices", f"must say whose {one.name} to take: both are more than {most}")


def keyed(survivor: File, changes: Row, phone_key: str | None) -> Row:
    """Changes of the survivor's demographics with the search keys that follow from them; `phone_key` is the phone's."""
    if changes.keys() & {_F.GIVEN_NAME.value, _F.FAMILY_NAME.value}:
        names = {**survivor.patient, **changes}
        given, family = names["given_name"], names["family_name"]
        changes |= {"name_key": search_key(family, given), "given_key": search_key(given, family)}
    return {**changes, "phone_key": phone_key} if "phone" in changes else changes


def differing(pair: Pair) -> list[MergeField]:
    """Of what both say something, and not the same."""
    found = {one: values(pair, one) for one in MergeField}
    return [one for one, said in found.items() if said[0] != said[1] and not any(map(is_empty, said))]


def untold_allergies(pair: Pair) -> list[Row]:
    """The duplicate's allergies that the survivor's list has not."""
    mine, theirs = values(pair, _F.ALLERGIES)
    return [one for one in theirs or () if one not in (mine or ())]
