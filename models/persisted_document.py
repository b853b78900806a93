"""Documents of GraphQL operations that a front end registered, so that it can run them by their id."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints
from pymongo import ASCENDING, IndexModel

from models.base import PlatformDocument
from models.values import Line, now

DOCUMENT_ID = re.compile(r"[A-Za-z0-9_.:=+/-]{1,128}")
DocumentId = Annotated[str, StringConstraints(pattern=rf"^{DOCUMENT_ID.pattern}$")]
"""What a client sends to run a document: its SHA-256 in hex, or whatever its own tools call it."""


class PersistedDocument(PlatformDocument):
    """One document, found by its id or by the SHA-256 of its text. It goes when the last client drops it."""

    id: DocumentId  # type: ignore[assignment]
    sha256: str
    text: str
    operations: list[str]
    """The names of its operations."""
    clients: list[Line]
    """The front ends that registered it."""
    registered_at: datetime = Field(default_factory=now)

    class Settings:
        name = "persisted_documents"
        indexes = (
            IndexModel([("sha256", ASCENDING)], name="sha256"),
            IndexModel([("clients", ASCENDING)], name="clients"),
        )
