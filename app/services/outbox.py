"""Writing messages into the outbox: in the transaction of the change that they announce, so both are or neither is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import timedelta
from functools import cache
from typing import NotRequired, TypedDict, Unpack

from bson import ObjectId
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr
from pymongo.asynchronous.client_session import AsyncClientSession

from app.config import Settings
from app.errors import InvalidState
from app.services.mailing import SYSTEM, Letter
from app.tenancy.scope import TenantRef
from models import OutboxMessage
from models.outbox import Channel, OutboxStatus
from models.values import now

LASTS = timedelta(days=3)
"""How long a message is worth sending, unless the caller says otherwise."""
_NONCE = 12


class Unsealable(Exception):
    """The content was sealed under another key, or is not what was sealed."""


class Sending(TypedDict):
    """What each message says of itself. `tenant` is whom it is sent for (None: the system itself); `kind` names what it
    announces (`invitation`) for lists and logs; once `lasts` is over (`LASTS` if it is left out) it is not sent."""

    kind: str
    tenant: TenantRef | None
    settings: Settings
    session: AsyncClientSession
    lasts: NotRequired[timedelta]


async def enqueue_mail(letter: Letter, *, to: str, **sending: Unpack[Sending]) -> None:
    """Writes a mail to `to` into the outbox. It is sent after the commit, at least once."""
    await _write(Channel.MAIL, _mail(letter, to, sending), sending)


async def discard_mail(letter: Letter, *, to: str, **sending: Unpack[Sending]) -> None:
    """Does all that `enqueue_mail` does, but the mail is never sent: for answers that must not tell who is known."""
    await _write(Channel.MAIL, _mail(letter, to, sending), sending, discarded=True)


async def enqueue_sms(text: str, *, to: str, **sending: Unpack[Sending]) -> None:
    """Writes a text message to the phone `to` (E.164) into the outbox; as `enqueue_mail`.

    Raises INVALID_STATE where no text messages can be sent (see `can_send_sms`).
    """
    if not can_send_sms(sending["settings"]):
        raise InvalidState("Text messages cannot be sent here.")
    await _write(Channel.SMS, {"to": to, "text": text}, sending)


async def enqueue_push(content: Mapping[str, str], **sending: Unpack[Sending]) -> None:
    """Writes a message to a browser into the outbox; as `enqueue_mail`.

    `content`: `endpoint, p256dh, auth, payload`, and `subscription`, under which the browser is known.
    """
    await _write(Channel.PUSH, content, sending)


def can_send_sms(settings: Settings) -> bool:
    """Whether the settings name a way for text messages."""
    return settings.sms_target is not None


def _mail(letter: Letter, to: str, sending: Sending) -> dict[str, str]:
    tenant = sending["tenant"]
    return {"to": to, "from": tenant.name if tenant else SYSTEM, **asdict(letter)}


async def _write(channel: Channel, content: Mapping[str, str], sending: Sending, *, discarded: bool = False) -> None:
    key, tenant = ObjectId(), sending["tenant"]
    expires_at = now() + sending.get("lasts", LASTS)
    message = OutboxMessage(
        id=key,
        clinic_id=tenant.id if tenant else None,
        channel=channel,
        kind=sending["kind"],
        sealed=_seal(sending["settings"].session_secret, key, content),
        expires_at=expires_at,
        status=OutboxStatus.DISCARDED if discarded else OutboxStatus.WAITING,
        purge_at=expires_at if discarded else None,
    )
    await message.insert(session=sending["session"])


# --- sealing ------------------------------------------------------------------------------------------------------


@cache
def _cipher(secret: SecretStr) -> AESGCM:
    return AESGCM(hashlib.blake2b(secret.get_secret_value().encode(), digest_size=32, person=b"outbox").digest())


def _seal(secret: SecretStr, key: ObjectId, content: Mapping[str, str]) -> bytes:
    """AES-256-GCM, bound to the message's id: what waits in the database shows neither links nor addresses."""
    nonce = os.urandom(_NONCE)
    return nonce + _cipher(secret).encrypt(nonce, json.dumps(content).encode(), key.binary)


def unseal_by_ring(ring: Iterable[SecretStr], key: ObjectId, sealed: bytes) -> dict[str, str]:
    """As `unseal`, by whichever secret sealed it: a message may wait while the secret is rotated."""
    for secret in ring:
        with contextlib.suppress(Unsealable):
            return unseal(secret, key, sealed)
    raise Unsealable


def unseal(secret: SecretStr, key: ObjectId, sealed: bytes) -> dict[str, str]:
    """The content of a message. Raises `Unsealable`."""
    try:
        opened = _cipher(secret).decrypt(sealed[:_NONCE], sealed[_NONCE:], key.binary)
    except (InvalidTag, ValueError):
        raise Unsealable from None
    content: dict[str, str] = json.loads(opened)
    return content
