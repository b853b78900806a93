"""A system to be migrated: a shared database with a clinic in it, and two clinics in databases of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId
from pymongo import AsyncMongoClient

from app.config import Settings
from app.db.schema import STATE, apply_schema
from app.tenancy.scope import Database


@dataclass(slots=True)
class Place:
    client: AsyncMongoClient[dict[str, Any]]
    settings: Settings
    clinics: dict[str, ObjectId] = field(default_factory=lambda: {name: ObjectId() for name in ("pool", "one", "two")})

    @property
    def shared(self) -> Database:
        return self.client[self.settings.mongodb_database]

    def own(self, name: str) -> Database:
        return self.client[f"{self.settings.mongodb_database}_{self.clinics[name]}"]

    async def open(self) -> None:
        await apply_schema(self.shared)
        for name in ("one", "two"):
            await apply_schema(self.own(name), tenant_id=self.clinics[name])
        await self._fill()

    async def _fill(self) -> None:
        for name, id in self.clinics.items():
            database = self.shared if name == "pool" else self.own(name)
            kind = "shared" if name == "pool" else "own_database"
            placement = {"kind": kind, "database": None if name == "pool" else database.name}
            await self.shared["tenants"].insert_one({"_id": id, "subdomain": name, "placement": placement})
            await database["rooms"].insert_one({"tenant_id": id, "name": "Room"})

    async def reset(self) -> None:
        """Makes all as it was opened."""
        for database in (self.shared, self.own("one"), self.own("two")):
            for name in ("tenants", "rooms", "roles", "permissions", "memberships"):
                await database[name].delete_many({})
            await database[STATE].delete_many({"$or": [{"_id": {"$gte": 900}}, {"_id": "lock"}]})
        for name in ("one", "two"):
            await apply_schema(self.own(name), tenant_id=self.clinics[name], force=True)
        await self._fill()

    async def forget(self, step: str) -> None:
        """Makes each database one from before the step."""
        for database in (self.shared, self.own("one"), self.own("two")):
            await database[STATE].delete_one({"name": step})

    async def drop(self) -> None:
        for database in (self.shared, self.own("one"), self.own("two")):
            await self.client.drop_database(database)
