"""What a step is, and where it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from bson import ObjectId

from app.tenancy.scope import Database


@dataclass(frozen=True, slots=True)
class Site:
    """A database to be migrated: the shared one (`clinic` None), or a clinic's own. `platform` is the shared one."""

    name: str
    database: Database
    platform: Database
    clinic: ObjectId | None = None


class Runs(StrEnum):
    """In which databases a step has something to do."""

    SHARED = "the shared database"
    EVERYWHERE = "each database with clinics' documents"


class Order(StrEnum):
    """A step that makes room for an index or validator comes before the schema, one that uses it after."""

    BEFORE_SCHEMA = "before the schema"
    AFTER_SCHEMA = "after the schema"


Work = Callable[[Site], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Migration:
    """One step. `run` does it and `pending` counts what it would do, both in documents.

    `run` must be safe to repeat, and to be cut off anywhere: whatever it finds done it leaves alone. Both read and
    write past the guard, in every clinic of the site.
    """

    number: int
    name: str
    run: Work
    pending: Work
    runs: Runs = Runs.EVERYWHERE
    order: Order = Order.AFTER_SCHEMA

    def concerns(self, site: Site) -> bool:
        """Whether it has anything to do there."""
        return site.clinic is None or self.runs is Runs.EVERYWHERE
