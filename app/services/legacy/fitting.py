"""A document of an old database as the present model wants it, or the reason why it cannot be that."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from bson import ObjectId

from app.errors import ValidationFailed
from app.services.changes import build, row_of
from app.tenancy.kinds import ARCHIVED_FIELD, SHARED_FIELD, TENANT_FIELD
from app.tenancy.seal_marks import outline_of, places
from app.tenancy.sealing import SealBroken, blinds_of, is_sealed, open_rows, seal_document, sealed_in
from models import AuditEntry, AuditPending, Patient
from models.base import GuardedDocument, SharedDocument
from models.values import now, search_key

Row = dict[str, Any]

OWNERS = frozenset({TENANT_FIELD, SHARED_FIELD, ARCHIVED_FIELD, "revision_id"})
NEVER = frozenset({AuditEntry.guarded_name(), AuditPending.guarded_name()})
SHOWN = 3


class Unfit(Exception):
    """No clinic can have the document as it is. The text names fields and rules, never values."""


def holds_sealed(collection: str, content: Row) -> bool:
    """Whether anything in it is sealed already."""
    marks = sealed_in(collection)
    return bool(marks) and any(is_sealed(place.value) for place in places(outline_of(collection), content))


def fitted(model: type[GuardedDocument], content: Row, region: str | None = None) -> Row:
    """The document with all that the model adds to it and without an owner; what the model does not know stays.

    `region` is the country of the clinic's phone numbers. Raises `Unfit` when a value breaks a rule of the model.
    """
    if model.guarded_name() in NEVER:
        raise Unfit("the audit takes no entry that was not linked into a clinic's chain when it was made")
    try:
        document = build(model, _completed(model, content), at="")
    except ValidationFailed as failed:
        wrong = [f"{one.path} {one.message}" for one in failed.fields[:SHOWN]]
        raise Unfit("; ".join(wrong)) from None
    if isinstance(document, Patient):
        document.keyed(region)
    row = {name: value for name, value in row_of(document).items() if name not in OWNERS}
    known = {*row, *OWNERS, *blinds_of(model.guarded_name())}
    return {**row, **{name: value for name, value in content.items() if name not in known}}


def _completed(model: type[GuardedDocument], content: Row) -> Row:
    """With what can be told from the document itself, where the model has it and the document has not."""
    values = {name: value for name, value in content.items() if name not in OWNERS}
    if "created_at" in model.model_fields and values.get("created_at") is None:
        id = values.get("_id")
        values["created_at"] = id.generation_time if isinstance(id, ObjectId) else now()
    if "updated_at" in model.model_fields and values.get("updated_at") is None:
        values["updated_at"] = values.get("created_at")
    if "name_key" in model.model_fields and not values.get("name_key") and isinstance(name := values.get("name"), str):
        values["name_key"] = search_key(name)
    return values


async def for_clinics(
    model: type[GuardedDocument], content: Row, clinics: Iterable[ObjectId], region: str | None
) -> Row:
    """The document to store: fitted, sealed under the clinic's key, and owned. Raises `Unfit`."""
    owners = sorted(clinics)
    name = model.guarded_name()
    content = deepcopy(content)
    if holds_sealed(name, content):
        try:
            await open_rows(owners[0], name, [content])
        except SealBroken:
            raise Unfit("holds values that are sealed under another key than this clinic's") from None
    row = fitted(model, content, region)
    if issubclass(model, SharedDocument):
        return {**row, SHARED_FIELD: owners}
    row[TENANT_FIELD] = owners[0]
    return await seal_document(owners[0], name, row) if sealed_in(name) else row
