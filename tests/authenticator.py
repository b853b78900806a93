"""A software authenticator that speaks WebAuthn: it makes ES256 credentials and signs with them, as a device would.

What a test changes (`Lies`) is changed before signing, as a hostile page or device would do it.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def data(value: str) -> bytes:
    return urlsafe_b64decode(value + "=" * (-len(value) % 4))


@dataclass(frozen=True, slots=True)
class Lies:
    """What differs from the truth; None leaves it."""

    origin: str | None = None
    rp_id: str | None = None
    challenge: str | None = None
    type: str | None = None
    flags: int | None = None
    cross_origin: bool = False
    user_handle: bytes | None = None
    credential_id: bytes | None = None
    signature: bytes | None = None


@dataclass(slots=True)
class Credential:
    id: bytes
    key: ec.EllipticCurvePrivateKey
    user_handle: bytes
    count: int = 0


@dataclass(slots=True)
class Authenticator:
    """One device. `step` is how far its counter goes with each signature; 0 is a device that has none."""

    step: int = 1
    credentials: list[Credential] = field(default_factory=list)

    def create(self, options: str, origin: str, lies: Lies = Lies()) -> str:
        """Answers `navigator.credentials.create(options)` from a page of `origin`: a RegistrationResponseJSON."""
        asked = json.loads(options)
        assert any(one["alg"] == -7 for one in asked["pubKeyCredParams"])
        made = Credential(
            lies.credential_id or os.urandom(32), ec.generate_private_key(ec.SECP256R1()), data(asked["user"]["id"])
        )
        self.credentials.append(made)
        attested = bytes(16) + struct.pack(">H", len(made.id)) + made.id + _cose(made.key)
        flags = PRESENT | VERIFIED if lies.flags is None else lies.flags
        state = self._state(lies.rp_id or asked["rp"]["id"], flags | ATTESTED, made) + attested
        client = _client("webauthn.create", asked["challenge"], origin, lies)
        response = {
            "clientDataJSON": text(client),
            "attestationObject": text(cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": state})),
            "transports": ["internal"],
        }
        return _answer(made.id, response)

    def get(self, options: str, origin: str, lies: Lies = Lies()) -> str:
        """Answers `navigator.credentials.get(options)` with its newest credential: an AuthenticationResponseJSON."""
        asked, known = json.loads(options), self.credentials[-1]
        known.count += self.step
        state = self._state(
            lies.rp_id or asked["rpId"], PRESENT | VERIFIED if lies.flags is None else lies.flags, known
        )
        client = _client("webauthn.get", asked["challenge"], origin, lies)
        signature = known.key.sign(state + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))
        response = {
            "clientDataJSON": text(client),
            "authenticatorData": text(state),
            "signature": text(lies.signature or signature),
            "userHandle": text(known.user_handle if lies.user_handle is None else lies.user_handle),
        }
        return _answer(lies.credential_id or known.id, response)

    def _state(self, rp_id: str, flags: int, credential: Credential) -> bytes:
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + struct.pack(">I", credential.count)


def _cose(key: ec.EllipticCurvePrivateKey) -> bytes:
    point = key.public_key().public_numbers()
    return cbor2.dumps({1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")})


def _client(type_: str, challenge: str, origin: str, lies: Lies) -> bytes:
    said: dict[str, Any] = {
        "type": lies.type or type_,
        "challenge": lies.challenge or challenge,
        "origin": lies.origin or origin,
        "crossOrigin": lies.cross_origin,
    }
    return json.dumps(said, separators=(",", ":")).encode()


def _answer(credential_id: bytes, response: dict[str, Any]) -> str:
    return json.dumps(
        {
            "id": text(credential_id),
            "rawId": text(credential_id),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response,
        }
    )
