"""Where each field of a type comes from: stored, computed, related or loaded.

Rows are plain dicts as MongoDB returned them. Because every field says which columns it needs, a list reads
the columns that were asked for and no others, and a plan of the whole operation can be made before it runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

import strawberry
from beanie import Document
from bson import Decimal128, ObjectId
from strawberry.types.field import StrawberryField
from strawberry.utils.str_converters import to_camel_case
from typing_extensions import override

from app.permissions import Permission

Row = Mapping[str, Any]
T = TypeVar("T", bound=type)


@dataclass(frozen=True, slots=True)
class Stored:
    """A column of the row."""

    column: str


@dataclass(frozen=True, slots=True)
class Computed:
    """A plain function of columns, which it names."""

    needs: tuple[str, ...]
    function: Callable[[Row], Any]


@dataclass(frozen=True, slots=True)
class Related:
    """Rows of another collection: those whose `foreign` column equals this row's `key`."""

    key: str
    foreign: str
    target: Callable[[], type]
    many: bool = False


@dataclass(frozen=True, slots=True)
class RelatedPage:
    """A page of the rows of another collection whose `foreign` column equals this row's id."""

    foreign: str
    target: Callable[[], type]
    sort: Sequence[tuple[str, int]]
    key: str = "_id"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Values that are no rows: `load` answers for all keys of a level at once."""

    key: str
    load: Callable[[list[Any]], Awaitable[Mapping[Any, Any]]]


def output(value: Any) -> Any:
    """A stored value as the schema's scalars take it."""
    if isinstance(value, ObjectId):
        return str(value)
    if isinstance(value, Decimal128):
        return value.to_decimal()
    if isinstance(value, list):
        return [output(item) for item in value]
    return value


class StoredField(StrawberryField):
    """Reads one column."""

    @property
    def column(self) -> str:
        declared: Stored = self.metadata["source"]
        return declared.column or self.python_name

    @override
    def get_result(self, source: Any, info: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return output(source.get(self.column))


class ComputedField(StrawberryField):
    """Applies a plain function to the row."""

    @override
    def get_result(self, source: Any, info: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        declared: Computed = self.metadata["source"]
        return declared.function(source)


class RelatedField(StrawberryField):
    """Loads a related row, in one batch with those of its sibling rows."""

    @property
    def is_basic_field(self) -> bool:
        return False

    @property
    def is_async(self) -> bool:
        return True

    @override
    async def get_result(self, source: Any, info: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        declared: Related = self.metadata["source"]
        key = source.get(declared.key)
        if key is None:
            return [] if declared.many else None
        return await info.context.loaders.related(info, declared, key)


class LoadedField(StrawberryField):
    """Loads a value by key, in one batch with those of its sibling rows."""

    @property
    def is_basic_field(self) -> bool:
        return False

    @property
    def is_async(self) -> bool:
        return True

    @override
    async def get_result(self, source: Any, info: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        declared: Loaded = self.metadata["source"]
        key = source.get(declared.key)
        if key is None:
            return None

        async def batch(keys: list[Any]) -> list[Any]:
            found = await declared.load(keys)
            return [found.get(key) for key in keys]

        return await info.context.loaders.load(declared.load, batch, key)


def stored(column: str = "", *, description: str) -> Any:
    """A field that is a column: the one of its own name unless `column` names another."""
    return StoredField(description=description, metadata={"source": Stored(column)})


def computed(*needs: str, by: Callable[[Row], Any], description: str) -> Any:
    """A field computed from the columns `needs` by the plain function `by`."""
    return ComputedField(description=description, metadata={"source": Computed(needs, by)})


def related(target: Callable[[], type], *, key: str, foreign: str = "_id", many: bool = False, description: str) -> Any:
    """A field whose rows live in another collection. `target` returns the row type (a lambda, for cycles).

    With `many`, `key` may hold a list of ids and the answer is a list.
    """
    source = Related(key, foreign, target, many)
    return RelatedField(description=description, metadata={"source": source})


def loaded(key: str, *, by: Callable[[list[Any]], Awaitable[Mapping[Any, Any]]], description: str) -> Any:
    """A field whose values `by` finds for all keys (the column `key`) at once."""
    return LoadedField(description=description, metadata={"source": Loaded(key, by)})


@dataclass(frozen=True, slots=True)
class RowSpec:
    """What a row type stands for: its document, and the permission that reading it needs (None: its parent's)."""

    model: type[Document] | None
    read: Permission | None


_OF_OBJECTS = frozenset({"__init__", "__repr__", "__eq__"})
"""What is generated for each type and never used where values are rows: some megabytes of code."""


@dataclass_transform(kw_only_default=True, field_specifiers=(stored, computed, related, loaded))
def row_type(
    name: str, *, model: type[Document] | None = None, read: Permission | None = None, description: str
) -> Callable[[T], T]:
    """Makes a Strawberry type whose values are rows. Refuses a field that does not say where it comes from."""

    def declare(cls: T) -> T:
        made: T = strawberry.type(cls, name=name, description=description)
        made.__row__ = RowSpec(model, read)  # type: ignore[attr-defined]
        fields = {}
        for field in made.__strawberry_definition__.fields:  # type: ignore[attr-defined]
            if "source" not in field.metadata:
                raise TypeError(f"{name}.{field.python_name} does not say where it comes from")
            fields[field.graphql_name or to_camel_case(field.python_name)] = field
        made.__row_fields__ = fields  # type: ignore[attr-defined]
        for method in _OF_OBJECTS & vars(made).keys():
            delattr(made, method)
        return made

    return declare


def spec_of(row: type) -> RowSpec:
    """The `RowSpec` of a row type."""
    spec: RowSpec = row.__row__  # type: ignore[attr-defined]
    return spec


def model_of(row: type) -> type[Any]:
    """The document that a row type shows. Raises TypeError for types that are only parts of rows."""
    model = spec_of(row).model
    if model is None:
        raise TypeError(f"{row.__name__} has no document of its own")
    return model
