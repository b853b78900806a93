"""References stay inside the clinic: checked on write, one read per collection that is pointed into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from bson import ObjectId
from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import FieldError, NotFound
from models import SHARED_DOCUMENTS, TENANT_DOCUMENTS
from models.references import referenced_ids

_BY_COLLECTION: Mapping[str, Any] = {model.guarded().name: model for model in (*TENANT_DOCUMENTS, *SHARED_DOCUMENTS)}


async def check_references(
    model: type[BaseModel],
    values: Mapping[str, Any],
    *,
    at: str,
    session: AsyncClientSession | None = None,
) -> None:
    """Raises NOT_FOUND, with the path of each, when `values` point to documents that this clinic does not have."""
    wanted: dict[str, dict[ObjectId, list[str]]] = defaultdict(lambda: defaultdict(list))
    for field, collection, one in referenced_ids(model, values):
        wanted[collection][one].append(field)
    missing: list[FieldError] = []
    for collection, ids in wanted.items():
        rows = await _BY_COLLECTION[collection].rows(
            {"_id": {"$in": list(ids)}}, projection={"_id": 1}, session=session
        )
        for one in ids.keys() - {row["_id"] for row in rows}:
            missing += [FieldError(f"{at}.{to_camel(field)}", "Not found.") for field in ids[one]]
    if missing:
        raise NotFound(fields=missing)
