"""Other MongoDB clusters, on which clinics may have their databases, and what of transactions with them is done."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints
from pymongo import ASCENDING, IndexModel

from app.tenancy.spanning import MARKS
from models.base import PlatformDocument, Versioned
from models.values import now

ClusterName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
MARKS_KEPT_DAYS = 60


class Cluster(Versioned, PlatformDocument):
    """A cluster by its name. `wrapped` is its address with user and password, encrypted by `provider`."""

    name: ClusterName
    wrapped: bytes = Field(repr=False)
    provider: str

    class Settings:
        name = "clusters"
        indexes = (IndexModel([("name", ASCENDING)], name="name", unique=True),)


class CommitMark(PlatformDocument):
    """A transaction over two clusters that is done at home; its id is the transaction's."""

    at: datetime = Field(default_factory=now)

    class Settings:
        name = MARKS
        indexes = (IndexModel([("at", ASCENDING)], name="expiry", expireAfterSeconds=MARKS_KEPT_DAYS * 86_400),)
