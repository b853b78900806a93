"""What the staff cookies of a browser are worth, whoever may have planted some of them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from bson import ObjectId

from app.auth.cookies import session_cookie, set_cookie
from app.auth.tokens import STAFF, tokens_of
from app.config import Settings

MOST = 8
"""Cookies of one name that are looked at; a browser that was not tampered with sends one or two."""


def witness_cookie(settings: Settings) -> str:
    """The cookie that says whom this host signed in last. With `__Host-` no other host can set it, nor read it."""
    return "__Host-session-of" if settings.cookie_secure else "session_of"


def witness_of(user_id: ObjectId) -> str:
    """Its value. It is no secret: what counts is that nobody else can put it there."""
    return hashlib.blake2b(user_id.binary, digest_size=16, person=b"session-witness").hexdigest()


def staff_token(cookies: Sequence[tuple[str, str]], settings: Settings) -> str | None:
    """The session token among a request's cookies (name and value, in their order); None when it is not clear.

    A session cookie is for all hosts below the root domain, so any of them could plant one. Tokens that we did not
    sign are passed over; two that name different sessions count as none, and so does a session of somebody else than
    this host signed in last: nobody goes on in another person's session without noticing.
    """
    values = {value for name, value in cookies if name == session_cookie(settings)}
    if not values or len(values) > MOST:
        return None
    read = tokens_of(settings, STAFF).read
    good = [(claims, value) for value in values if (claims := read(value)) is not None]
    if len({claims.session_id for claims, _ in good}) != 1:
        return None
    claims, token = max(good, key=lambda one: len(one[0].clinic_ids))
    expected = witness_of(claims.user_id).encode()
    witnesses = [value.encode() for name, value in cookies if name == witness_cookie(settings)]
    return token if all(hmac.compare_digest(one, expected) for one in witnesses) else None


def session_cookies(settings: Settings, token: str) -> list[str]:
    """The `Set-Cookie` values that store `token`, or end the session when it is empty.

    Where the cookie is for all hosts, one for this host alone was not set by us, and is taken away.
    """
    claims = tokens_of(settings, STAFF).read(token)
    values = [set_cookie(settings, token), _witness(settings, witness_of(claims.user_id) if claims else "")]
    if settings.cookie_domain:
        values.append(f"{session_cookie(settings)}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0; Secure")
    return values


def _witness(settings: Settings, value: str) -> str:
    parts = [f"{witness_cookie(settings)}={value}", "Path=/", "HttpOnly", "SameSite=Lax"]
    parts.append(f"Max-Age={settings.session_days * 86_400 if value else 0}")
    return "; ".join([*parts, "Secure"] if settings.cookie_secure else parts)
