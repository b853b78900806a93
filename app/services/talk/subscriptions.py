"""How a person wants to be told, and the browsers that take pushed messages for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from app.config import Settings
from app.errors import InvalidState, NotFound, ValidationFailed
from app.integrations.outbound import url_fault
from app.integrations.push import keys_fault
from app.services.changes import Row, build, row_of, storable
from app.services.talk.channels import MOST_BROWSERS, push_key, usual
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import current_scope
from app.tenancy.sealing import blind
from models import NotificationPreference, PushSubscription, Tenant


async def preferences() -> Row:
    """How the person who is signed in wants to be told here."""
    mine = current_scope().signed_in.user_id
    rows = await NotificationPreference.rows({"user_id": mine}, limit=1)
    return rows[0] if rows else usual(mine)


async def choose(changes: Mapping[str, Any]) -> Row:
    """Sets, for each way that is given, the kinds of which the person wants to be told so; answers with all of it."""
    mine = current_scope().signed_in.user_id
    values = {way: [storable(kind) for kind in dict.fromkeys(kinds)] for way, kinds in changes.items()}
    first = {name: value for name, value in usual(mine).items() if name not in {*values, "user_id"}}
    update = {"$set": values, "$setOnInsert": first} if values else {"$setOnInsert": first}
    try:
        row = await _store(mine, update)
    except DuplicateKeyError:  # two first choices at once: one made the document, now the other finds it
        row = await _store(mine, update)
    return row or usual(mine)


async def _store(mine: ObjectId, update: Mapping[str, Any]) -> Row | None:
    return await NotificationPreference.guarded().find_one_and_update(
        {"user_id": mine}, update, upsert=True, return_document=ReturnDocument.AFTER
    )


async def subscribe(values: Mapping[str, Any], settings: Settings) -> Row:
    """Lets a browser take pushed messages for the person who is signed in; answers with the subscription's row.

    `values`: `endpoint, p256dh, auth`, as the browser's `PushSubscription` has them. The same browser again replaces
    what was known of it. Raises VALIDATION_FAILED at `input.…`, INVALID_STATE where nothing is pushed.
    """
    if push_key(settings) is None:
        raise InvalidState("Nothing is pushed to browsers here.")
    if fault := url_fault(values["endpoint"], loopback=settings.loopback_providers):
        raise ValidationFailed.at("input.endpoint", fault)
    if fault := keys_fault(values["p256dh"], values["auth"]):
        raise ValidationFailed.at("input.p256dh", fault)
    mine = current_scope().signed_in.user_id
    made: PushSubscription = build(PushSubscription, {**values, "id": ObjectId(), "user_id": mine})
    await PushSubscription.guarded().delete_many(await blind(PushSubscription, "endpoint", values["endpoint"]))
    await made.insert()
    await _forget_oldest(mine)
    return row_of(made)


async def _forget_oldest(mine: ObjectId) -> None:
    rows = await PushSubscription.rows(
        {"user_id": mine}, projection={"_id": 1}, sort=[("created_at", -1)], skip=MOST_BROWSERS, limit=100
    )
    if rows:
        await PushSubscription.guarded().delete_many({"_id": {"$in": [row["_id"] for row in rows]}})


async def unsubscribe(id: ObjectId) -> Row:
    """Pushes nothing to that browser any more; answers with what was known of it. Raises NOT_FOUND at `input.id`."""
    mine = {"_id": id, "user_id": current_scope().signed_in.user_id}
    rows = await PushSubscription.rows(mine, projection=["created_at", "user_id"], limit=1)
    if not rows:
        raise NotFound.at("input.id")
    await PushSubscription.guarded().delete_one(mine)
    return rows[0]


async def forget_gone(clinic: ObjectId | None, id: str) -> None:
    """Forgets a browser of that clinic whose push service says that it takes nothing any more."""
    tenant = await Tenant.get(clinic) if clinic is not None else None
    if tenant is not None and tenant.deletion_started_at is None:
        async with tenant_scope(tenant):
            await PushSubscription.guarded().delete_one({"_id": ObjectId(id)})
