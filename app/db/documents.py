"""Makes the document classes ready for use: Beanie's set-up, without its ways around the guard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from beanie import init_beanie

from app.errors import TenantGuardRefused
from app.tenancy.scope import Database
from models import ALL_DOCUMENTS
from models.base import PlatformDocument, SharedDocument, TenantDocument

BASES = (TenantDocument, SharedDocument, PlatformDocument)


async def init_documents(database: Database, documents: Sequence[type[Any]] | None = None) -> None:
    """Ties `documents` (default: all of the registry) to the platform's database.

    Indexes and validators are `app.db.schema`'s. Raises `TenantGuardRefused` for views, unions and plain Beanie
    documents, and for two classes that store in one collection.
    """
    chosen = ALL_DOCUMENTS if documents is None else documents
    for document in chosen:
        if document in BASES or not issubclass(document, BASES):
            raise TenantGuardRefused(f"{document!r} is not a tenant, shared or platform document")
    names = [document.Settings.name for document in chosen]
    if len(set(names)) != len(names):
        raise TenantGuardRefused("two document classes store in one collection")
    await init_beanie(database=database, document_models=list(chosen), skip_indexes=True)
