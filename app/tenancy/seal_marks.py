"""Which fields of which collections are sealed, found in the models' annotations, and the way to them in a document."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from app.errors import TenantGuardRefused
from app.tenancy.kinds import Kind


def compact(text: str) -> str:
    """What a number of a card says, however it is written: letters and digits, without case, blanks and signs."""
    return "".join(char for char in unicodedata.normalize("NFKC", text).casefold() if char.isalnum())


@dataclass(frozen=True, slots=True)
class Sealed:
    """Marks a field whose value is stored encrypted. `blind` names the column by which equal values are found;
    `normal` makes values equal that are to be found by each other. Only a text of its own can have one."""

    blind: str | None = None
    normal: Callable[[str], str] = compact


@dataclass(slots=True)
class Part:
    """A level of a document on the way to sealed values: marks of this level, and the levels below."""

    marks: dict[str, Sealed] = field(default_factory=dict)
    below: dict[str, Part] = field(default_factory=dict)


_marks: dict[str, Mapping[str, Sealed]] = {}
_outlines: dict[str, Part] = {}
_NONE: Mapping[str, Sealed] = MappingProxyType({})


def sealed_in(collection: str) -> Mapping[str, Sealed]:
    """Field path → mark, for a collection; empty for one without marks."""
    return _marks.get(collection, _NONE)


def outline_of(collection: str) -> Part:
    """The way to the sealed values of a collection's documents."""
    return _outlines[collection]


def register_seals(collection: str, kind: Kind, model: type[BaseModel]) -> bool:
    """Notes the marks of a document class; says whether there are any.

    Raises `TenantGuardRefused` for marks that could not be kept: on documents of more than one clinic or of none, on
    the items of a list, within a mapping, on what documents are found by, a blind column for a part of a document.
    """
    marks = dict(_marks_of(model, ()))
    if not marks:
        return False
    if kind is not Kind.TENANT:
        raise TenantGuardRefused(f"{model.__name__} is not one clinic's own, so no clinic's key can seal {set(marks)}")
    for path, mark in marks.items():
        if path in ("_id", "tenant_id", "version") or (
            mark.blind and ("." in path or mark.blind in model.model_fields)
        ):
            raise TenantGuardRefused(f"{model.__name__}.{path} cannot be sealed like this")
    _marks[collection] = MappingProxyType(marks)
    _outlines[collection] = _outline(marks)
    return True


def _marks_of(model: type[BaseModel], above: tuple[type[BaseModel], ...]) -> Iterator[tuple[str, Sealed]]:
    for name, info in model.model_fields.items():
        path = "_id" if name == "id" else name
        own = _mark_in(info.metadata) or _mark_of(info.annotation)
        if own is not None:
            yield path, own
            continue
        if _mark_in(tuple(_inside(info.annotation))) is not None:
            raise TenantGuardRefused(f"{model.__name__}.{name}: mark the whole list, or a field of its items")
        keyed = any(get_origin(one) in (dict, Mapping) for one in _inside(info.annotation))
        for inner in _inside(info.annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel) and inner not in above:
                for deeper, mark in _marks_of(inner, (*above, inner)):
                    if keyed:
                        raise TenantGuardRefused(f"{model.__name__}.{name}: mark the whole mapping")
                    yield f"{path}.{deeper}", mark


def _mark_in(metadata: Any) -> Sealed | None:
    return next((one for one in metadata if isinstance(one, Sealed)), None)


def _mark_of(annotation: Any) -> Sealed | None:
    """The mark of `Annotated[X, Sealed()]`, also beside None."""
    if (mark := _mark_in(getattr(annotation, "__metadata__", ()))) is not None:
        return mark
    if get_origin(annotation) in (list, dict, set, tuple):
        return None
    return next((mark for one in get_args(annotation) if (mark := _mark_of(one)) is not None), None)


def _inside(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _inside(argument)


def _outline(marks: Mapping[str, Sealed]) -> Part:
    root = Part()
    for path, mark in marks.items():
        *steps, last = path.split(".")
        part = root
        for step in steps:
            part = part.below.setdefault(step, Part())
        part.marks[last] = mark
    return root


@dataclass(frozen=True, slots=True)
class Place:
    """Where a marked value stands in a document: `holder[name]`, at the field path `path`."""

    holder: dict[str, Any]
    name: str
    path: str

    @property
    def value(self) -> Any:
        return self.holder[self.name]


def places(part: Part, value: Any, path: str = "") -> Iterator[Place]:
    """The places of a document (or of a part, whose path it is) that are marked and hold something but None."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from places(part, item, path)
    elif isinstance(value, dict):
        for name in part.marks:
            if value.get(name) is not None:
                yield Place(value, name, f"{path}.{name}" if path else name)
        for name, below in part.below.items():
            if value.get(name) is not None:
                yield from places(below, value[name], f"{path}.{name}" if path else name)


Visit = Callable[[str, Sealed, Any], Any]


def apply(part: Part, value: Any, path: str, visit: Visit) -> Any:
    """A copy of a document (or of a part, whose path it is) in which `visit` has changed each marked value but None."""
    if isinstance(value, list | tuple):
        return [apply(part, item, path, visit) for item in value]
    if not isinstance(value, Mapping):
        return value
    copy = dict(value)
    for name, mark in part.marks.items():
        if copy.get(name) is not None:
            copy[name] = visit(f"{path}.{name}" if path else name, mark, copy[name])
    for name, below in part.below.items():
        if copy.get(name) is not None:
            copy[name] = apply(below, copy[name], f"{path}.{name}" if path else name, visit)
    return copy


def plain_path(path: str) -> str:
    """A field path without places in lists: `contacts.$[].note` and `contacts.0.note` are `contacts.note`."""
    if "." not in path:
        return path
    return ".".join(step for step in path.split(".") if not step.isdigit() and not step.startswith("$"))


def touches(collection: str, path: str) -> bool:
    """Whether a field path is a sealed one, lies within one, or has one within."""
    plain = plain_path(path)
    return any(
        plain == one or one.startswith(f"{plain}.") or plain.startswith(f"{one}.") for one in sealed_in(collection)
    )
