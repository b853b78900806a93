"""The people of an export: who they are here, by their e-mail addresses, and their memberships of the clinic."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from app.auth.passwords import hash_password
from app.services.changes import build
from app.services.moving.carried import batches
from app.services.moving.folders import Reader
from app.services.moving.translating import Translation
from models import Membership, Tenant, User

Row = dict[str, Any]


@dataclass(slots=True)
class People:
    """Who the people of an export are: their ids here by those there, and how many were known and are new."""

    here: dict[ObjectId, ObjectId] = field(default_factory=dict)
    known: int = 0
    new: int = 0


async def known_here(export: Reader, ids: Translation) -> People:
    """Who the people of the export are here, by their ids there. New ones are stored with a password nobody knows."""
    people = People()
    async for batch in batches(export, User.guarded_name()):
        for row in batch:
            known = await User.find_one({"email": row["email"]})
            user = known or await _new_person(row, ids)
            people.here[row["_id"]] = user.key
            people.known += known is not None
            people.new += known is None
    return people


async def bind(export: Reader, ids: Translation, tenant: Tenant) -> None:
    """Binds the people to the clinic, which holds them from here on."""
    async for batch in batches(export, Membership.guarded_name()):
        for row in batch:
            with suppress(DuplicateKeyError):  # an earlier run of this import came as far as this
                await Membership.guarded().insert_one({**ids.value(row), "clinic_id": tenant.key})


async def store_again(export: Reader, ids: Translation) -> None:
    """Stores again whoever went with their last other clinic before they were bound to this one."""
    async for batch in batches(export, User.guarded_name()):
        for row in batch:
            here = ids.id(row["_id"])
            if await User.guarded().find_one({"_id": here}, {"_id": 1}) is None:
                await _person(row, here)


async def _new_person(row: Row, ids: Translation) -> User:
    wanted = ids.id(row["_id"])
    taken = await User.guarded().find_one({"_id": wanted}, {"_id": 1})
    try:
        return await _person(row, ObjectId() if taken else wanted)
    except DuplicateKeyError:  # the person became known at this very moment
        known = await User.find_one({"email": row["email"]})
        if known is None:
            raise
        return known


async def _person(row: Row, id: ObjectId) -> User:
    """Stores a person under a password that nobody knows."""
    told: Row = {name: row[name] for name in ("email", "name", "status") if name in row}
    hashed = await hash_password(secrets.token_urlsafe(32))
    user: User = build(User, {**told, "id": id, "password_hash": hashed}, at="users")
    await user.insert()
    return user
