"""The catalogue of medicines: found by name, by ATC group, by active substance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import ObjectId

from app.services import catalog
from app.services.changes import Row
from models import Medicine
from models.medicine import DosageForm, atc_levels
from models.values import search_key


def listed(
    *, search: str | None, atc_code: str | None, ingredient: str | None, form: DosageForm | None, archived: bool
) -> dict[str, Any]:
    """The filter of a list: names that begin like `search`, of an ATC group of any level, with an active substance."""
    where = catalog.listed(search=search, archived=archived, form=form)
    if atc_code is not None:
        where["atc_levels"] = atc_code.strip().upper()
    if ingredient is not None:
        where["ingredient_keys"] = search_key(ingredient)
    return where


def keyed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with those that follow from code and ingredients, where these are among them."""
    found = dict(values)
    code, ingredients = values.get("atc_code"), values.get("ingredients")
    if "atc_code" in values:
        found["atc_levels"] = atc_levels(code.strip().upper() if code else None)
    if ingredients is not None:
        found["ingredient_keys"] = sorted({search_key(one) for one in ingredients})
    return found


async def create(values: Mapping[str, Any]) -> Row:
    """Stores a medicine; answers with its row. Raises CONFLICT at `input.name` when name, form and strength are
    those of another one in use."""
    return await catalog.create(Medicine, keyed(values))


async def change(id: ObjectId, version: int, changes: Mapping[str, Any]) -> Row:
    """Changes that version of a medicine; answers with its new row. Raises as `create` does, and CONFLICT."""
    return await catalog.change(Medicine, id, version, keyed(changes))
