"""The laboratories that may deliver to a clinic: their keys, and how a delivery shows that it is from one of them."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import in_transaction
from app.errors import Conflict, FieldError, InvalidState, NotFound, Unauthenticated, ValidationFailed
from app.services.audit import record
from app.services.changes import Row, another_version, build, row_of
from app.services.rate_limits import Limit, network_of, refund, take
from app.tenancy.scope import current_scope
from models import LabConnection, LabDelivery
from models.values import now

CLOCKS = timedelta(minutes=5)
"""So far the laboratory's clock and ours may differ."""
NONCES_KEPT = timedelta(days=1)
"""Far longer than a timestamp counts; and so long one look finds what a process left unhandled."""
MAX_OVERLAP_HOURS = 168
TRIES = Limit("lab-webhook", 300, timedelta(minutes=15), platform=True)
"""Deliveries that fail, and those that are under way, from one network; what is signed well is given back."""
DELIVERIES = Limit("lab-deliveries", 5_000, timedelta(minutes=15))
"""Well signed, of one connection: a key that got into wrong hands must not fill the database for everybody."""

_TIMESTAMP = re.compile(r"[1-9]\d{9}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}")
_SIGNATURE = re.compile(r"v1=[0-9a-f]{64}")
_NO_SECRET = secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True)
class Signed:
    """What a delivery brings: the headers as they came, and the raw body."""

    key_id: str
    timestamp: str
    nonce: str
    signature: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Issued:
    """A connection's row and its secret, which is shown this once."""

    row: Row
    secret: str


def signature_of(secret: str, timestamp: str, nonce: str, body: bytes) -> str:
    """`v1=` and, in hex, the HMAC-SHA256 of `v1`, timestamp, nonce and body with line feeds between them."""
    message = b"\n".join((b"v1", timestamp.encode(), nonce.encode(), body))
    return f"v1={hmac.digest(secret.encode(), message, sha256).hex()}"


# --- who delivers -------------------------------------------------------------------------------------------------


async def authenticate(signed: Signed) -> ObjectId:
    """The id of the connection of the clinic in scope that made the delivery; its nonce is used up from here on.

    Raises UNAUTHENTICATED, alike whatever is wrong, or RATE_LIMITED after too many that were, or too many in all; then
    the very same request may be sent again.
    """
    network = network_of(current_scope().address)
    taken = await take(TRIES, network)
    connection = await _signer(signed)
    if connection is not None:
        await take(DELIVERIES, str(connection))
    if connection is None or not await _first_use(connection, signed.nonce):
        raise _refused()
    await refund(TRIES, network, taken)
    return connection


async def give_nonce_back(connection: ObjectId, nonce: str) -> None:
    """Lets the very same request be sent again, because nothing of it could be stored."""
    await LabDelivery.guarded().delete_one({"_id": _delivery(connection, nonce)})


async def settle_delivery(connection: ObjectId, nonce: str) -> None:
    """Notes that nothing of the delivery is left to be handled."""
    await LabDelivery.guarded().update_one({"_id": _delivery(connection, nonce)}, {"$set": {"settled": True}})


async def _signer(signed: Signed) -> ObjectId | None:
    """The connection whose secret signed it, when form and time are right. Unknown keys take as long as wrong ones."""
    rows = await LabConnection.rows({"key_id": signed.key_id, "disabled_at": None}, limit=1)
    row: Mapping[str, Any] = rows[0] if rows else {}
    fits = [_signed_with(secret, signed) for secret in _secrets(row)]
    formed = _NONCE.fullmatch(signed.nonce) and _SIGNATURE.fullmatch(signed.signature) and _is_recent(signed.timestamp)
    return row["_id"] if row and formed and any(fits) else None


def _secrets(row: Mapping[str, Any]) -> tuple[str, str]:
    """The secrets that count now; always two, so that the answer takes as long."""
    overlaps = row.get("previous_until") is not None and row["previous_until"] > now()
    previous = row.get("previous_secret") if overlaps else None
    return row.get("secret") or _NO_SECRET, previous or _NO_SECRET


def _signed_with(secret: str, signed: Signed) -> bool:
    expected = signature_of(secret, signed.timestamp, signed.nonce, signed.body)
    return hmac.compare_digest(expected.encode(), signed.signature.encode())


def _is_recent(timestamp: str) -> bool:
    if not _TIMESTAMP.fullmatch(timestamp):
        return False
    return abs(now().timestamp() - int(timestamp)) <= CLOCKS.total_seconds()


async def _first_use(connection: ObjectId, nonce: str) -> bool:
    """Takes the nonce, in one atomic step; False when it was taken before."""
    delivery = LabDelivery(
        id=_delivery(connection, nonce), clinic_id=current_scope().tenant_id, expires_at=now() + NONCES_KEPT
    )
    try:
        await delivery.insert()
    except DuplicateKeyError:
        return False
    return True


def _delivery(connection: ObjectId, nonce: str) -> str:
    return f"{connection}:{nonce}"


def _refused() -> Unauthenticated:
    return Unauthenticated("The delivery is not signed as it must be.")


# --- keeping connections --------------------------------------------------------------------------------------------


async def create(values: Mapping[str, Any]) -> Issued:
    """A new connection of the clinic in scope, with the secret that its laboratory is to sign with."""
    secret = secrets.token_urlsafe(32)
    connection: LabConnection = build(
        LabConnection, {**values, "key_id": f"lab_{secrets.token_urlsafe(12)}", "secret": secret}
    )
    connection.id = ObjectId()  # type: ignore[assignment]

    async def work(session: AsyncClientSession) -> None:
        await connection.insert(session=session)
        await record("lab_connection.create", subject=connection, session=session)

    await in_transaction(work)
    return Issued(row_of(connection), secret)


async def rotate(connection_id: ObjectId, version: int, overlap_hours: int) -> Issued:
    """A new secret; the former one counts for `overlap_hours` more, 0 ends it at once.

    Raises NOT_FOUND, CONFLICT for another version, INVALID_STATE for one that is disabled.
    """
    if not 0 <= overlap_hours <= MAX_OVERLAP_HOURS:
        raise ValidationFailed.at("input.overlapHours", f"must be from 0 to {MAX_OVERLAP_HOURS}")
    rows = await LabConnection.rows({"_id": connection_id}, limit=1)
    if not rows:
        raise NotFound.at("input.id")
    secret = secrets.token_urlsafe(32)
    values = {
        "secret": secret,
        "previous_secret": rows[0]["secret"] if overlap_hours else None,
        "previous_until": now() + timedelta(hours=overlap_hours) if overlap_hours else None,
    }
    return Issued(await _change(connection_id, version, values, "lab_connection.rotate"), secret)


async def disable(connection_id: ObjectId, version: int) -> Row:
    """Ends a connection for good: nothing that is signed with its secrets counts any more. They are forgotten."""
    values = {"disabled_at": now(), "secret": secrets.token_urlsafe(32), "previous_secret": None}
    return await _change(connection_id, version, {**values, "previous_until": None}, "lab_connection.disable")


async def _change(connection_id: ObjectId, version: int, values: Mapping[str, Any], action: str) -> Row:
    """Changes a connection of that version that is not disabled, in one step."""

    async def work(session: AsyncClientSession) -> LabConnection:
        changed = await LabConnection.change(
            connection_id, version, values, filter={"disabled_at": None}, session=session
        )
        await record(action, subject=changed, session=session)
        return changed

    try:
        return row_of(await in_transaction(work))
    except NotFound:
        raise NotFound.at("input.id") from None
    except Conflict:
        rows = await LabConnection.rows({"_id": connection_id}, projection={"disabled_at": 1}, limit=1)
        if rows and rows[0].get("disabled_at"):
            raise InvalidState(
                "The connection is disabled. Nothing may follow.", [FieldError("input.id", "is disabled")]
            ) from None
        raise another_version() from None
