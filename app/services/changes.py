"""Checks input values by the rules of the documents, with every complaint at the path that the client wrote."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Annotated, Any

from beanie import Document, PydanticObjectId
from beanie.odm.utils.encoder import Encoder
from bson import Decimal128, ObjectId
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import Conflict, FieldError, NotFound, ValidationFailed
from app.services.wording import sentence

Row = dict[str, Any]
_encode = Encoder(to_db=True)
_PLAIN = frozenset({str, int, float, bool, bytes, type(None), datetime, ObjectId, PydanticObjectId})
"""Types whose values are stored as they are."""


def build(model: type[BaseModel], values: Mapping[str, Any], *, at: str = "input") -> Any:
    """A new document from input values. Raises VALIDATION_FAILED with the paths of all that is wrong."""
    try:
        return model(**values)
    except ValidationError as error:
        raise ValidationFailed(fields=complaints(error, at)) from None


@cache
def _adapter(model: type[BaseModel], name: str) -> TypeAdapter[Any]:
    field = model.model_fields[name]
    annotation: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return TypeAdapter(annotation)


def checked(model: type[BaseModel], values: Mapping[str, Any], *, at: str = "input") -> dict[str, Any]:
    """The values of a partial change, each checked by its field's own rules and ready to be stored."""
    wrong: list[FieldError] = []
    result = {}
    for name, value in values.items():
        try:
            result[name] = storable(_adapter(model, name).validate_python(value))
        except ValidationError as error:
            wrong += complaints(error, f"{at}.{to_camel(name)}")
    if wrong:
        raise ValidationFailed(fields=wrong)
    return result


def storable(value: Any) -> Any:
    """A checked value as MongoDB stores it."""
    if isinstance(value, BaseModel):
        return {name: storable(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, Decimal):
        return Decimal128(value)
    return value.value if isinstance(value, Enum) else value


def complaints(error: ValidationError, at: str) -> list[FieldError]:
    """Pydantic's findings as paths under `at` and sentences."""
    found = []
    for one in error.errors(include_url=False, include_input=False):
        steps = (to_camel(step) if isinstance(step, str) else str(step) for step in one["loc"])
        found.append(FieldError(".".join(filter(None, (at, *steps))), sentence(one)))
    return found


def row_of(document: Document) -> Row:
    """A document as the row that MongoDB holds of it."""
    document.parse_store()
    return _columns(document)


def _columns(value: BaseModel) -> Row:
    stored = _stored_names(type(value))
    return {stored[name]: _column(one) for name, one in value.__dict__.items() if name in stored}


def _column(value: Any) -> Any:
    """As Beanie encodes it, who is asked about what is seldom."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is list:
        return [_column(one) for one in value]
    if isinstance(value, Enum):
        return value.value
    return _columns(value) if isinstance(value, BaseModel) else _encode.encode(value)


@cache
def _stored_names(model: type[BaseModel]) -> Mapping[str, str]:
    """Under which name each field is stored; those that are not stored are left out."""
    return {name: field.alias or name for name, field in model.model_fields.items() if not field.exclude}


def another_version() -> Conflict:
    """The failure of a change that is based on another version than the present one."""
    return Conflict(fields=[FieldError("input.version", "is not the present version")])


async def change_row(
    model: Any,
    id: ObjectId,
    version: int,
    values: Mapping[str, Any],
    *,
    state: Mapping[str, Any] | None = None,
    session: AsyncClientSession | None = None,
) -> Row:
    """Sets checked `values` on the document of that id and version, in one atomic step; answers with its new row.

    `state` is what else must hold of it. Raises NOT_FOUND at `input.id`, or CONFLICT at `input.version` when it has
    another version by now or `state` does not hold.
    """
    try:
        document: Document = await model.change(id, version, values, filter=state, session=session)
    except NotFound:
        raise NotFound.at("input.id") from None
    except Conflict:
        raise another_version() from None
    return row_of(document)
