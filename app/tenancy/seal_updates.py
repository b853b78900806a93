"""What updates, filters and pipelines may say about sealed fields, whose values the server does not know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bson import ObjectId

from app.errors import TenantGuardRefused
from app.tenancy.criteria import pairs
from app.tenancy.seal_marks import Part, Sealed, outline_of, plain_path, sealed_in, touches

_BOTH = ("$set", "$setOnInsert")
Seal = Callable[[Any, Part, str], Any]
Index = Callable[[str, Sealed, Any], list[bytes]]


class Changes:
    """An update by operators, as far as it concerns sealed fields. Raises `TenantGuardRefused` for what cannot be."""

    def __init__(self, collection: str, update: Mapping[str, Any]) -> None:
        self._collection = collection
        self._update = update
        self._blinds = {mark.blind for mark in sealed_in(collection).values() if mark.blind}
        self.concerned = False
        """Whether it names a sealed field at all."""
        self.values = False
        """Whether it brings values to seal, for which the document must be known."""
        for operator, changes in update.items():
            for path, value in changes.items():
                self._check(operator, path, value)

    def _check(self, operator: str, path: str, value: Any) -> None:
        if path in self._blinds:
            raise TenantGuardRefused(f"{self._collection}.{path} is kept by the guard")
        names = [path, value] if operator == "$rename" else [path]
        if not any(touches(self._collection, name) for name in names):
            return
        kind = self._kind(path)
        fits = kind is not None and (operator in (*_BOTH, "$unset") or (kind == "above" and _fits_list(operator)))
        if not fits or self._reckons(operator, plain_path(path), value):
            raise TenantGuardRefused(f"{operator} cannot change the sealed {self._collection}.{path}")
        self.concerned = True
        self.values = self.values or (operator in (*_BOTH, "$push") and value is not None)

    def _reckons(self, operator: str, plain: str, value: Any) -> bool:
        """Whether a change of a list chooses or orders its items by what is sealed in them."""
        if operator == "$pull":
            return _names(self._collection, plain, value)
        order = value.get("$sort") if operator == "$push" and isinstance(value, Mapping) else None
        return isinstance(order, Mapping) and any(touches(self._collection, f"{plain}.{name}") for name in order)

    def _kind(self, path: str) -> str | None:
        """Whether a path is that of a sealed value ("sealed") or of what has one in it ("above"), else None."""
        plain = plain_path(path)
        if plain in sealed_in(self._collection):
            inside = path.rpartition(".")[2] != plain.rpartition(".")[2]
            return None if inside else "sealed"
        return "above" if any(path.startswith(f"{plain}.") for path in sealed_in(self._collection)) else None

    def unsealed(self) -> dict[str, Any]:
        """The update when there is nothing to seal in it: blind columns go with their fields."""
        return self.sealed(lambda value, _part, _path: value, lambda *_: [])

    def sealed(self, seal: Seal, index: Index) -> dict[str, Any]:
        """The update to send."""
        result: dict[str, Any] = {}
        for operator, changes in self._update.items():
            result.setdefault(operator, {}).update(
                {path: self._value(operator, path, value, seal) for path, value in changes.items()}
            )
            if operator in (*_BOTH, "$unset"):
                self._keep_blinds(result, operator, changes, index)
        return result

    def _value(self, operator: str, path: str, value: Any, seal: Seal) -> Any:
        plain = plain_path(path)
        if operator not in (*_BOTH, "$push") or not touches(self._collection, path):
            return value
        part, name = _part_at(outline_of(self._collection), plain)
        if operator == "$push" and isinstance(value, Mapping) and "$each" in value:
            return {**value, "$each": [seal(one, part.below[name], plain) for one in value["$each"]]}
        if name in part.below:
            return seal(value, part.below[name], plain)
        return seal({name: value}, part, plain.rpartition(".")[0])[name]

    def _keep_blinds(self, result: dict[str, Any], operator: str, changes: Mapping[str, Any], index: Index) -> None:
        for path, mark in sealed_in(self._collection).items():
            if mark.blind and path in changes:
                found = index(path, mark, changes[path]) if operator in _BOTH else []
                if found:
                    result[operator][mark.blind] = found
                elif operator != "$setOnInsert":
                    result.setdefault("$unset", {})[mark.blind] = ""


def _fits_list(operator: str) -> bool:
    return operator in ("$push", "$pull", "$pop")


def _part_at(outline: Part, plain: str) -> tuple[Part, str]:
    """The level at which the last name of a path stands."""
    *steps, last = plain.split(".")
    for step in steps:
        outline = outline.below[step]
    return outline, last


def pinned_id(criteria: Any) -> ObjectId | str | None:
    """The one `_id` to which a filter holds, at its top or within `$and`."""
    if not isinstance(criteria, Mapping):
        return None
    value = criteria.get("_id")
    if isinstance(value, Mapping) and set(value) == {"$eq"}:
        value = value["$eq"]
    if isinstance(value, ObjectId | str):
        return value
    return next((id for part in criteria.get("$and", ()) if (id := pinned_id(part)) is not None), None)


def refuse_sealed_filter(collection: str, criteria: Any) -> None:
    """Raises `TenantGuardRefused` for a filter that asks more of a sealed field than whether it is there."""
    if sealed_in(collection) and _names(collection, "", criteria):
        raise TenantGuardRefused(f"{collection} is not searched by what is sealed; see blind()")


def _names(collection: str, above: str, criteria: Any) -> bool:
    """Whether a filter on the part at `above` compares something sealed."""
    if isinstance(criteria, list | tuple):
        return any(_names(collection, above, one) for one in criteria)
    if not isinstance(criteria, Mapping):
        return False
    for key, value in criteria.items():
        if key == "$expr":
            if _reads(collection, value):
                return True
        elif key.startswith("$"):
            if _names(collection, above, value):
                return True
        elif _compares(collection, f"{above}.{plain_path(key)}".lstrip("."), value):
            return True
    return False


def _compares(collection: str, path: str, value: Any) -> bool:
    inside = any(path == one or path.startswith(f"{one}.") for one in sealed_in(collection))
    if inside:
        return not _asks_presence(value)
    return _names(collection, path, value)


def _asks_presence(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(
            key == "$exists" or (key in ("$eq", "$ne") and inner is None) for key, inner in value.items()
        )
    return value is None


def refuse_sealed_names(collection: str, names: Iterable[Any]) -> None:
    """Raises `TenantGuardRefused` when what is sealed would give an order, or distinct values: both mean nothing."""
    for name in names:
        if isinstance(name, str) and touches(collection, name):
            raise TenantGuardRefused(f"{collection}.{name} is sealed, so it has no order and no distinct values")


def refuse_sealed_pipeline(collection: str, pipeline: Any) -> None:
    """Raises `TenantGuardRefused` for stages that reckon with sealed values or move them elsewhere. Passing whole
    documents or columns on is no reckoning: `$match` (by `refuse_sealed_filter`), `$sort`, `$project: {x: 1}`."""
    if not sealed_in(collection):
        return
    for stage in pipeline:
        for name, content in stage.items():
            if name == "$match":
                refuse_sealed_filter(collection, content)
            elif _reads(collection, content) or (name in _CHANGING and _sets(collection, content)):
                raise TenantGuardRefused(f"{name} cannot reckon with what is sealed in {collection}")


_CHANGING = ("$set", "$addFields", "$unset", "$sort", "$densify", "$fill")


def _sets(collection: str, content: Any) -> bool:
    names = [content] if isinstance(content, str) else list(content)
    return any(isinstance(name, str) and touches(collection, name) for name in names)


def _reads(collection: str, expression: Any) -> bool:
    """Whether an expression names a sealed field, as `$field` or `$$ROOT.field`."""
    return any(
        isinstance(value, str) and value.startswith("$") and _reads_text(collection, value)
        for _, value in pairs([expression])
    )


def _reads_text(collection: str, text: str) -> bool:
    path = text.lstrip("$")
    if text.startswith("$$"):
        path = path.partition(".")[2]
    return bool(path) and touches(collection, path)
