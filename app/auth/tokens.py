"""The staff session token: a signed name of a session. What the session may do is never read from it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import jwt
from bson import ObjectId
from pydantic import SecretStr

AUDIENCE = "polyclinic:staff"
TYPE = "staff"
_REQUIRED = ["sid", "sub", "tv", "aud", "typ", "tenants", "iat", "exp"]


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token names: session, person, the person's token version, and the clinics entered."""

    session_id: str
    user_id: ObjectId
    token_version: int
    clinic_ids: frozenset[ObjectId]


class Tokens:
    """Signs and reads tokens with one key (HS256)."""

    def __init__(self, secret: SecretStr) -> None:
        self._key = hashlib.blake2b(secret.get_secret_value().encode(), person=b"staff-session").digest()
        self.key_id = hashlib.blake2b(self._key, digest_size=6).hexdigest()
        self._jwt = jwt.PyJWT(options={"enforce_minimum_key_length": True})

    def sign(
        self,
        *,
        session_id: str,
        user_id: ObjectId,
        token_version: int,
        clinic_ids: Sequence[ObjectId],
        issued_at: datetime,
        expires_at: datetime,
    ) -> str:
        """The token of a session, listing the clinics that it has entered."""
        claims = {
            "sid": session_id,
            "sub": str(user_id),
            "tv": token_version,
            "aud": AUDIENCE,
            "typ": TYPE,
            "tenants": [str(clinic) for clinic in clinic_ids],
            "iat": issued_at,
            "exp": expires_at,
        }
        return self._jwt.encode(claims, self._key, algorithm="HS256", headers={"kid": self.key_id})

    def read(self, token: str) -> Claims | None:
        """The claims of a token that we signed and that has not run out; None for any other text."""
        try:
            if jwt.get_unverified_header(token).get("kid") != self.key_id:
                return None
            claims = self._jwt.decode(
                token, self._key, algorithms=["HS256"], audience=AUDIENCE, options={"require": _REQUIRED}
            )
            return _claims(claims) if claims["typ"] == TYPE else None
        except (jwt.InvalidTokenError, ValueError, TypeError, KeyError):
            return None


@cache
def tokens_of(secret: SecretStr) -> Tokens:
    """The signer for a secret, its key derived once per process and not once per request."""
    return Tokens(secret)


def _claims(claims: dict[str, object]) -> Claims | None:
    sid, sub, version, clinics = claims["sid"], claims["sub"], claims["tv"], claims["tenants"]
    if not (isinstance(sid, str) and isinstance(sub, str) and isinstance(version, int) and isinstance(clinics, list)):
        return None
    if not ObjectId.is_valid(sub) or not all(isinstance(one, str) and ObjectId.is_valid(one) for one in clinics):
        return None
    return Claims(sid, ObjectId(sub), version, frozenset(ObjectId(one) for one in clinics))
