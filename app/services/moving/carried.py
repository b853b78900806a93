"""What of an export is read back, and the look at it before anything is written: every document fits its model."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from bson import ObjectId, json_util
from pydantic import ValidationError

from app.errors import FieldError
from app.services.changes import build, complaints
from app.services.documents.sealed_files import KEY_BYTES
from app.services.moving.folders import ExportBroken, Reader
from models import SHARED_DOCUMENTS, TENANT_DOCUMENTS, Membership, Tenant, User
from models.base import GuardedDocument

Row = dict[str, Any]

BATCH = 500
_OPTIONS = json_util.JSONOptions(json_mode=json_util.JSONMode.CANONICAL, tz_aware=True)
NOT_CARRIED = frozenset(
    {
        "audit_pending",
        "external_identities",
        "paypal_orders",
        "portal_codes",
        "portal_sessions",
        "portal_tickets",
        "push_subscriptions",
        "storage_usage",
        "subscription_payments",
    }
)
"""What stands in an export and is not read back: how somebody signs in or is reached by a device, which rests on
secrets that are never exported; entries on their way into the audit, which are read with it; a count; and what the
clinic agreed on with the installation that it comes from."""
_TENANT = ("name", "display_name", "email", "phone", "address", "settings", "security")
"""What the clinic's own row brings along. Its plan does not travel: it starts on trial, as every new clinic."""
CARRIED: tuple[type[GuardedDocument], ...] = (
    *SHARED_DOCUMENTS,
    *(model for model in TENANT_DOCUMENTS if model.guarded_name() not in NOT_CARRIED),
)
STORED: tuple[type[GuardedDocument], ...] = (Membership, *CARRIED)
MADE_ANEW: Mapping[str, Mapping[str, Callable[[], Any]]] = {
    "invitations": {"token_hash": lambda: sha256(secrets.token_bytes(32)).hexdigest()},
    "lab_connections": {"secret": lambda: secrets.token_urlsafe(32)},
    "break_glass": {"event": lambda: secrets.token_urlsafe(24)},
    "received_shares": {"route": lambda: secrets.token_urlsafe(24)},
    "audit_entries": {"mac": lambda: bytes(32)},
    "document_contents": {"blob": lambda: "", "content_key": lambda: bytes(KEY_BYTES)},
}
"""Secrets without which a document cannot be, by collection and field. Links and codes that rested on the former ones
are no longer good: invitations are sent again, laboratories get the new secret."""


async def checked(export: Reader) -> frozenset[bytes]:
    """Holds every document against its model; gives who made the ids. Raises `ExportBroken` with file and line."""
    makers: set[bytes] = set()
    everything: tuple[type[GuardedDocument], ...] = (User, *STORED)
    for model in everything:
        name = f"{model.guarded_name()}.ndjson"
        number = 0
        async for line in export.lines(name):
            number += 1
            try:
                row = parsed(line)
                model.model_validate(whole(model, row))
            except ValidationError as error:
                raise _not_fit(name, number, complaints(error, "")) from None
            except (ValueError, TypeError, KeyError):
                raise _not_fit(name, number, [FieldError("", "is no document")]) from None
            if isinstance(row["_id"], ObjectId):
                makers.add(row["_id"].binary[4:9])
    async for line in export.lines("tenants.ndjson"):
        build(Tenant, {**tenant_values(parsed(line)), "subdomain": "checked"}, at="tenants.ndjson")
    return frozenset(makers)


def parsed(line: bytes) -> Row:
    """The document of a line. Raises ValueError for what is none."""
    row = json_util.loads(line.decode(), json_options=_OPTIONS)
    if not isinstance(row, dict) or "_id" not in row:
        raise ValueError
    return row


def whole(model: type[GuardedDocument], row: Row) -> Row:
    """The row with what is never exported, so that its model's rules can be asked; without its clinic."""
    made = {name: maker() for name, maker in MADE_ANEW.get(model.guarded_name(), {}).items()}
    if model is User:
        made = {"password_hash": ""}
    return {**{name: value for name, value in row.items() if name != "tenant_id"}, **made}


def _not_fit(name: str, line: int, wrong: Sequence[FieldError]) -> ExportBroken:
    fields = [FieldError(f"{name}:{line}" + (f".{one.path}" if one.path else ""), one.message) for one in wrong]
    return ExportBroken("The export holds something that does not fit.", fields)


async def batches(export: Reader, collection: str) -> AsyncIterator[list[Row]]:
    """The documents of a collection, `BATCH` at a time."""
    batch: list[Row] = []
    async for line in export.lines(f"{collection}.ndjson"):
        batch.append(parsed(line))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def tenant_values(row: Row) -> Row:
    """What of the clinic's own row comes along."""
    return {name: row[name] for name in _TENANT if name in row}
