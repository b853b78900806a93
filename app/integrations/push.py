"""Messages pushed to browsers: encrypted for the browser alone (RFC 8291) and signed as ours (VAPID, RFC 8292).

Push services are whatever a browser names, so calls go through `outbound`, as to all addresses that others choose.
"""

from __future__ import annotations

import binascii
import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.integrations.delivery import DeliveryFailed
from app.integrations.outbound import OutboundError, fetch
from app.late import late

if TYPE_CHECKING:
    import httpx
else:
    httpx = late("httpx")

CURVE = ec.SECP256R1()
POINT_BYTES = 65
AUTH_BYTES = 16
RECORD = 4_096
LASTS_SECONDS = 86_400
TOKEN_SECONDS = 12 * 3_600
_GONE = frozenset({404, 410})
_LATER = frozenset({408, 425, 429})


class PushGone(DeliveryFailed):
    """The browser takes no messages under this address any more."""

    def __init__(self) -> None:
        super().__init__("Gone", final=True)


def text_of(raw: bytes) -> str:
    """Bytes as browsers write them: base64url without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def bytes_of(text: str) -> bytes:
    """The other way round. Raises ValueError."""
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise ValueError("is not base64url") from None


def keys_fault(p256dh: str, auth: str) -> str | None:
    """What is wrong with the keys of a subscription, or None."""
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(CURVE, bytes_of(p256dh))
        return None if len(bytes_of(auth)) == AUTH_BYTES else "must be the keys that the browser gave"
    except ValueError:
        return "must be the keys that the browser gave"


class PushKey:
    """The key by which push services know us, and the address at which they find who is responsible."""

    def __init__(self, private: str, contact: str) -> None:
        """`private` is the 32 bytes of a P-256 key, as base64url. Raises ValueError for anything else."""
        raw = bytes_of(private)
        if len(raw) != 32:
            raise ValueError("must be 32 bytes, as base64url")
        self._key = ec.derive_private_key(int.from_bytes(raw, "big"), CURVE)
        self._contact = contact
        self.public = text_of(_point(self._key))

    def authorization(self, endpoint: str) -> str:
        """The header that says to the endpoint's push service, for half a day, that a message is ours."""
        url = httpx.URL(endpoint)
        origin = f"{url.scheme}://{url.netloc.decode('ascii')}"
        claims = {"aud": origin, "exp": int(time.time()) + TOKEN_SECONDS, "sub": f"mailto:{self._contact}"}
        return f"vapid t={jwt.encode(claims, self._key, algorithm='ES256')}, k={self.public}"


@dataclass(frozen=True, slots=True)
class Push:
    """One message to one browser: its address, its keys, and what its page is handed."""

    endpoint: str
    p256dh: str
    auth: str
    payload: bytes


async def push(message: Push, key: PushKey, *, loopback: bool) -> None:
    """Hands a message to the browser's push service. Raises `PushGone` or `DeliveryFailed`."""
    headers = {
        "authorization": key.authorization(message.endpoint),
        "content-encoding": "aes128gcm",
        "content-type": "application/octet-stream",
        "ttl": str(LASTS_SECONDS),
        "urgency": "normal",
    }
    body = encrypted(message.payload, bytes_of(message.p256dh), bytes_of(message.auth))
    try:
        answer = await fetch("POST", message.endpoint, loopback=loopback, headers=headers, content=body)
    except OutboundError as error:
        raise DeliveryFailed(type(error).__name__) from None
    if answer.status in _GONE:
        raise PushGone
    if answer.status >= 300:
        raise DeliveryFailed(f"Status{answer.status}", final=answer.status < 500 and answer.status not in _LATER)


def encrypted(
    payload: bytes,
    browser: bytes,
    auth: bytes,
    *,
    salt: bytes | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    """The body for the browser of that public point and secret; salt and key are fresh, but for tests.

    Source: RFC 8291, section 3.4, with the record of RFC 8188, section 2.
    """
    salt, key = salt or os.urandom(16), key or ec.generate_private_key(CURVE)
    own = _point(key)
    shared = key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(CURVE, browser))
    material = _derived(shared, auth, b"WebPush: info\0" + browser + own, 32)
    content_key = _derived(material, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derived(material, salt, b"Content-Encoding: nonce\0", 12)
    record = AESGCM(content_key).encrypt(nonce, payload + b"\x02", None)
    return salt + RECORD.to_bytes(4, "big") + bytes([len(own)]) + own + record


def _derived(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt=salt, info=info).derive(secret)


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
