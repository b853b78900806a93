"""Session tokens: signed names of sessions. What a session may do is never read from one.

A kind of token has a key, an audience and a type of its own, so none is ever accepted in the place of another:

    tokens = tokens_of(settings, STAFF)
    text = tokens.sign(StaffClaims(...), issued_at=now(), expires_at=...)
    claims = tokens.read(text)      # StaffClaims, or None for any text that is no good token of this kind
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Generic, Protocol, Self, TypeVar

import jwt
from bson import ObjectId
from pydantic import SecretStr

from app.config import Settings

ALGORITHM = "HS256"
LONGEST = 8_192
"""Characters. A session that entered 200 clinics has a token of about 7,600; browsers keep cookies half as long."""
REMEMBERED = 4_096
"""So many tokens that were found good are known by their hash, and not verified again until they run out. What counts
is read from the session each time all the same."""
_ALWAYS = ("aud", "typ", "iat", "exp")


class ClaimSet(Protocol):
    """What the tokens of one kind say beside what all of them do."""

    def as_claims(self) -> dict[str, Any]:
        """The claims as JSON values."""
        ...

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> Self:
        """The claims of a token whose signature is good. Raises KeyError, TypeError or ValueError when they are odd."""
        ...


C = TypeVar("C", bound=ClaimSet)


@dataclass(frozen=True, slots=True)
class TokenKind(Generic[C]):
    """One kind of token. `name` is its `typ`, `label` derives its key (at most 16 bytes); `required` names the claims
    beside the usual."""

    audience: str
    name: str
    label: bytes
    required: tuple[str, ...]
    claims: type[C]


@dataclass(frozen=True, slots=True)
class StaffClaims:
    """What a staff token names: session, person, the person's token version, and the clinics entered."""

    session_id: str
    user_id: ObjectId
    token_version: int
    clinic_ids: frozenset[ObjectId]

    def as_claims(self) -> dict[str, Any]:
        return {
            "sid": self.session_id,
            "sub": str(self.user_id),
            "tv": self.token_version,
            "tenants": sorted(map(str, self.clinic_ids)),
        }

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> Self:
        version, clinics = claims["tv"], claims["tenants"]
        if type(version) is not int or not isinstance(clinics, list):
            raise TypeError("not the claims of staff")
        return cls(text(claims["sid"]), key(claims["sub"]), version, frozenset(map(key, clinics)))


STAFF = TokenKind("polyclinic:staff", "staff", b"staff-session", ("sid", "sub", "tv", "tenants"), StaffClaims)


class Tokens(Generic[C]):
    """Signs tokens of one kind by the newest key of a ring, and reads those of every key in it."""

    def __init__(self, kind: TokenKind[C], secrets: Iterable[SecretStr]) -> None:
        """`secrets` begins with the newest. The keys that sign are derived from them and the kind."""
        self._kind = kind
        keys = [_derived(secret, kind.label) for secret in secrets]
        self._ring = {_id_of(one): one for one in keys}
        self.key_id = _id_of(keys[0])
        """Names the key that signs (`kid`), without telling anything of it."""
        self._jwt = jwt.PyJWT(options={"enforce_minimum_key_length": True})
        self._options: Any = {"require": [*_ALWAYS, *kind.required], "strict_aud": True}
        self._read: OrderedDict[bytes, tuple[C, float]] = OrderedDict()

    def sign(self, claims: C, *, issued_at: datetime, expires_at: datetime) -> str:
        """The token of a session."""
        said = {
            **claims.as_claims(),
            "aud": self._kind.audience,
            "typ": self._kind.name,
            "iat": issued_at,
            "exp": expires_at,
        }
        return self._jwt.encode(said, self._ring[self.key_id], algorithm=ALGORITHM, headers={"kid": self.key_id})

    def read(self, token: str) -> C | None:
        """The claims of a token of this kind that we signed and that has not run out; None for any other text."""
        if len(token) > LONGEST:
            return None
        name = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        if (known := self._read.get(name)) is not None and known[1] > time.time():
            return known[0]
        found = self._verified(token)
        if found is None:
            return None
        self._read[name] = found
        if len(self._read) > REMEMBERED:
            self._read.popitem(last=False)
        return found[0]

    def _verified(self, token: str) -> tuple[C, float] | None:
        """The claims, and until when they hold (seconds since the epoch)."""
        try:
            secret = self._ring.get(jwt.get_unverified_header(token).get("kid", ""))
            if secret is None:
                return None
            said = self._jwt.decode(
                token, secret, algorithms=[ALGORITHM], audience=self._kind.audience, options=self._options
            )
            return (self._kind.claims.from_claims(said), said["exp"]) if said["typ"] == self._kind.name else None
        except (jwt.InvalidTokenError, ValueError, TypeError, KeyError, RecursionError):
            return None  # RecursionError: JSON in the header, which is read before any signature, may be nested deeply


@lru_cache(maxsize=32)
def _tokens(kind: TokenKind[Any], secrets: tuple[SecretStr, ...]) -> Tokens[Any]:
    return Tokens(kind, secrets)


def tokens_of(settings: Settings, kind: TokenKind[C]) -> Tokens[C]:
    """The signer of a kind under the settings' key ring, its keys derived once per process."""
    return _tokens(kind, settings.session_ring)


def text(value: object) -> str:
    """A claim that is text. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


def key(value: object) -> ObjectId:
    """A claim that is an id. Raises TypeError or ValueError."""
    if len(named := text(value)) != 24 or not ObjectId.is_valid(named):
        raise ValueError("not an id")
    return ObjectId(named)


def _derived(secret: SecretStr, label: bytes) -> bytes:
    return hashlib.blake2b(secret.get_secret_value().encode(), person=label).digest()


def _id_of(secret: bytes) -> str:
    return hashlib.blake2b(secret, digest_size=6).hexdigest()
