"""Values for the arguments of any root field: required ones by name or type, ids from the documents of a clinic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLType,
    get_named_type,
)
from pydantic.alias_generators import to_camel

from models import ALL_DOCUMENTS
from models.references import references_of
from tests.contracts._samples import next_monday
from tests.contracts._schema import Place, RootField, Slot, is_required

_MONDAY = next_monday(10)

NAMED: Mapping[tuple[str, str], Any] = {
    ("startsAt", "DateTime"): _MONDAY.isoformat(),
    ("endsAt", "DateTime"): (_MONDAY + timedelta(minutes=30)).isoformat(),
    ("from", "DateTime"): _MONDAY.replace(hour=0).isoformat(),
    ("to", "DateTime"): (_MONDAY + timedelta(days=1)).isoformat(),
    ("from", "Date"): (_MONDAY - timedelta(days=1)).date().isoformat(),
    ("starts", "String"): "19:00",
    ("opens", "String"): "08:00",
    ("closes", "String"): "18:00",
    ("ends", "String"): "20:00",
    ("email", "String"): "somebody@example.com",
    ("phone", "String"): "+12125550199",
    ("currency", "String"): "USD",
    ("unit", "String"): "tablet",
    ("permissions", "String"): "patient:read",
    ("durationMinutes", "Int"): 30,
    ("level", "Int"): 5,
}
"""Values that a field of this name and type accepts, where one by type alone would not do."""

BY_TYPE: Mapping[str, Any] = {
    "String": "Sample",
    "Int": 1,
    "Float": 1.0,
    "Boolean": False,
    "Decimal": "12.50",
    "Date": _MONDAY.date().isoformat(),
    "DateTime": _MONDAY.isoformat(),
}

ALWAYS: Mapping[str, Mapping[str, Any]] = {
    "appointments": {"filter": {"from": NAMED["from", "DateTime"], "to": NAMED["to", "DateTime"]}},
    "patientAccessLog": {"includeOwn": True},
    "updatePatientNotes": {"input": {"notes": "Sample"}},
    "previewAppointmentSeries": {"input": {"rule": {"count": 2, "interval": 7}}},
    "createAppointmentSeries": {"input": {"rule": {"count": 2, "interval": 7}}},
    "queueLog": {"filter": {"day": "2020-01-01"}},
    "prioritiseQueueEntry": {"input": {"priorityReason": "Sample"}},
}
"""By field: values that the schema calls optional, and without which the field refuses to answer at all."""

ALWAYS_IN: Mapping[str, frozenset[str]] = {
    "BillLineInput": frozenset({"description", "unitPrice"}),
    "CreateInventoryItemInput": frozenset({"medicineId"}),
    "ReceivedLineInput": frozenset({"expiresOn"}),
}
"""By input type, wherever it stands: fields that the schema calls optional, and without which a line says nothing."""

_DOCUMENTS: Sequence[Any] = ALL_DOCUMENTS

REFERRED: Mapping[str, str] = {
    to_camel(name).removesuffix("s"): reference.collection
    for model in _DOCUMENTS
    for name, reference in references_of(model).items()
} | {
    "confirmedDuplicate": "patients",
    "survivorId": "patients",
    "duplicateId": "patients",
    "toItemId": "inventory_items",
}
"""The name of an input field, as the documents' own fields are named → the collection that its ids belong to."""

PickId = Callable[[Place], str]


def collection_of(place: Place) -> str:
    """The collection of the ids that a place takes. Raises AssertionError when nothing tells it."""
    known = REFERRED.get(place.name.removesuffix("s"))
    if known is not None:
        return known
    assert place.name == "id", (
        f"{place}: nothing says which collection this id belongs to. Name it as the field of the document that "
        "holds such an id (`roomId`), whose Reference then tells."
    )
    return model_behind(place.root)


def model_behind(root: RootField) -> str:
    """The collection of the documents that a field is about: those of its answer, else those in its name."""
    if root.model is not None:
        return root.model.guarded_name()
    named = {model.__name__: model.guarded_name() for model in _DOCUMENTS if root.name.endswith(model.__name__)}
    assert named, f"{root} answers with no document's type, and no document's name ends its own"
    return str(named[max(named, key=len)])


def variables(root: RootField, pick: PickId, target: Place | None = None, value: Any = None) -> dict[str, Any]:
    """Variables with all that is required, and with `value` at `target`. Ids come from `pick`."""
    aimed = target.path if target is not None else ()
    maker = _Maker(root, pick, aimed, value)
    made = {name: maker.slot((name,), slot) for name, slot in root.core.args.items() if maker.takes((name,), slot)}
    return _with(made, ALWAYS.get(root.name, {}))


class _Maker:
    def __init__(self, root: RootField, pick: PickId, aimed: tuple[str, ...], value: Any) -> None:
        self._root, self._pick, self._aimed, self._value = root, pick, aimed, value

    def takes(self, path: tuple[str, ...], slot: Slot) -> bool:
        return is_required(slot) or path == self._aimed[: len(path)]

    def slot(self, path: tuple[str, ...], slot: Slot) -> Any:
        return self._typed(path, slot.type)

    def _typed(self, path: tuple[str, ...], type_: GraphQLType) -> Any:
        if path == self._aimed and not isinstance(type_, GraphQLNonNull | GraphQLList):
            return self._value
        if isinstance(type_, GraphQLNonNull):
            return self._typed(path, type_.of_type)
        if isinstance(type_, GraphQLList):
            return [self._typed(path, type_.of_type)]
        named = get_named_type(type_)
        if isinstance(named, GraphQLInputObjectType):
            fields = {name: ((*path, name), field) for name, field in named.fields.items()}
            always = ALWAYS_IN.get(named.name, frozenset())
            return {
                name: self.slot(at, field)
                for name, (at, field) in fields.items()
                if name in always or self.takes(at, field)
            }
        if named.name == "ID":
            return self._pick(Place(self._root, path, named, False, True))
        if isinstance(named, GraphQLEnumType):
            return next(iter(named.values))
        return self._plain(path, named.name)

    def _plain(self, path: tuple[str, ...], type_: str) -> Any:
        value = NAMED.get((path[-1], type_), BY_TYPE.get(type_))
        assert value is not None, (
            f"{self._root} {'.'.join(path)}: no value is known for {type_}. Add one to BY_TYPE, or under its name to "
            "NAMED, in tests/contracts/_values.py"
        )
        return value


def _with(made: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in more.items():
        inner = made.get(name)
        made[name] = _with(inner, value) if isinstance(inner, dict) else made.get(name, value)
    return made


def marked(value: Any, text: str) -> Any:
    """Variables in which `text` stands for each text that could be any."""
    if isinstance(value, dict):
        return {name: marked(inner, text) for name, inner in value.items()}
    if isinstance(value, list):
        return [marked(inner, text) for inner in value]
    return text if value == BY_TYPE["String"] else value
