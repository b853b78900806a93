"""OpenID Connect as its relying party: the authorization code flow with PKCE, and the judgement of ID tokens.

OpenID Connect Core 1.0 and Discovery 1.0, RFC 7636 (PKCE), RFC 9207 (issuer in the answer), RFC 9700 (best practice).
"""

from __future__ import annotations

import time
from base64 import b64encode, urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlencode

from app.integrations.outbound import OutboundError, fetch, url_fault
from app.late import late

if TYPE_CHECKING:
    from authlib.oauth2 import rfc7636  # type: ignore[import-untyped]
    from authlib.oidc import core  # type: ignore[import-untyped]
    from joserfc import errors, jwk, jws, jwt
    from joserfc.jwk import ECKey, RSAKey
else:
    rfc7636, core = map(late, ("authlib.oauth2.rfc7636", "authlib.oidc.core"))
    errors, jwk, jws, jwt = map(late, ("joserfc.errors", "joserfc.jwk", "joserfc.jws", "joserfc.jwt"))

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures by a key that only the provider has. `none` and HMAC, whose key is known to others, are not among them."""
KEPT_SECONDS = 3_600.0
REFETCH_SECONDS = 60.0
ISSUERS_KEPT = 500
MOST_KEYS = 50
LEEWAY_SECONDS = 60
OLDEST_SECONDS = 600
LONGEST_TOKEN = 16_384
LONGEST_SUBJECT = 255
SMALLEST_RSA, LARGEST_RSA, LARGEST_EXPONENT = 2_048, 8_192, 32
"""Bits."""
LAST_INSTANT = 2**40
SECOND_FACTOR = "mfa"
"""What `amr` holds when the provider saw more than one factor (RFC 8176)."""


class OidcError(Exception):
    """The provider does not answer as it must, or what it says cannot be believed. The text holds no secrets."""


@dataclass(frozen=True, slots=True)
class Client:
    """What we are to a provider. Without a secret we are a public client, held by PKCE alone."""

    issuer: str
    client_id: str
    client_secret: str | None = field(repr=False)
    scopes: tuple[str, ...]
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What ties one sign-in to one browser: none of it is stored as it is."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is, on the provider's word. `email` is None unless the provider says that it is verified."""

    issuer: str
    subject: str
    email: str | None
    second_factor: bool


@dataclass(slots=True)
class _Known:
    """What is remembered of one issuer."""

    metadata: dict[str, Any]
    read_at: float
    keys: tuple[RSAKey | ECKey, ...] = ()
    keys_read_at: float = -KEPT_SECONDS


class Providers:
    """Reads providers' documents and remembers them for an hour, for a bounded number of issuers."""

    def __init__(self, *, loopback: bool) -> None:
        """`loopback` lets providers be on this machine, for development and tests."""
        self._loopback = loopback
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def authorization_url(self, client: Client, proof: Proof) -> str:
        """Where to send the browser. Raises `OidcError`."""
        endpoint = (await self._of(client.issuer)).metadata["authorization_endpoint"]
        asked = {
            "response_type": "code",
            "client_id": client.client_id,
            "redirect_uri": client.redirect_uri,
            "scope": " ".join(client.scopes),
            "state": proof.state,
            "nonce": proof.nonce,
            "code_challenge": rfc7636.create_s256_code_challenge(proof.verifier),
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    async def identity(self, client: Client, proof: Proof, code: str, said_issuer: str | None) -> Identity:
        """Redeems the code and judges the ID token. `said_issuer` is the answer's own `iss`. Raises `OidcError`."""
        known = await self._of(client.issuer)
        _check_said_issuer(known.metadata, client.issuer, said_issuer)
        answer = await self._redeem(known.metadata, client, proof, code)
        token = answer.get("id_token")
        if not isinstance(token, str) or len(token) > LONGEST_TOKEN:
            raise OidcError("there is no ID token in the answer")
        claims = await self._claims(known, token, client, proof, answer.get("access_token"))
        return _identity(client.issuer, claims)

    async def check(self, issuer: str) -> None:
        """Raises `OidcError` unless a provider answers there as it must."""
        self._known.pop(issuer, None)
        await self._of(issuer)

    async def _of(self, issuer: str) -> _Known:
        known = self._known.get(issuer)
        if known is None or time.monotonic() - known.read_at > KEPT_SECONDS:
            known = _Known(await self._discover(issuer), time.monotonic())
            self._known[issuer] = known
            if len(self._known) > ISSUERS_KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(issuer)
        return known

    async def _discover(self, issuer: str) -> dict[str, Any]:
        document = await self._read(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != issuer:
            raise OidcError("the provider calls itself by another issuer")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            url = document.get(name)
            if not isinstance(url, str) or url_fault(url, loopback=self._loopback):
                raise OidcError(f"the provider's {name} cannot be called")
        return document

    async def _read(self, url: str) -> dict[str, Any]:
        try:
            reached = await fetch("GET", url, loopback=self._loopback, headers={"accept": "application/json"})
            if reached.status != 200:
                raise OidcError(f"the provider answers {reached.status}")
            return reached.json()
        except OutboundError as error:
            raise OidcError(str(error)) from None

    async def _redeem(self, metadata: Mapping[str, Any], client: Client, proof: Proof, code: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": client.redirect_uri,
            "code_verifier": proof.verifier,
        }
        headers = {"accept": "application/json"}
        if client.client_secret is None:
            form["client_id"] = client.client_id
        else:
            headers["authorization"] = _basic(client.client_id, client.client_secret)
        try:
            reached = await fetch(
                "POST", metadata["token_endpoint"], loopback=self._loopback, headers=headers, form=form
            )
            if reached.status != 200:
                raise OidcError(f"the provider does not redeem the code: {reached.status}")
            return reached.json()
        except OutboundError as error:
            raise OidcError(str(error)) from None

    async def _claims(
        self, known: _Known, token: str, client: Client, proof: Proof, access_token: object
    ) -> Mapping[str, Any]:
        key_id = _key_id(token)
        await self._keys_for(known, key_id)
        try:
            decoded = jwt.decode(token, _one_key(known.keys, key_id), algorithms=ALGORITHMS)
            claims = core.CodeIDToken(
                decoded.claims,
                decoded.header,
                options={
                    "iss": {"essential": True, "value": client.issuer},
                    "aud": {"essential": True, "value": client.client_id},
                },
                params={
                    "nonce": proof.nonce,
                    "client_id": client.client_id,
                    "access_token": access_token if isinstance(access_token, str) else None,
                },
            )
            claims.validate(now=int(time.time()), leeway=LEEWAY_SECONDS)
            _check_times(claims)
        except (errors.JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise OidcError(f"the ID token is not valid: {type(error).__name__}") from None
        return dict(claims)

    async def _keys_for(self, known: _Known, key_id: str | None) -> None:
        """Reads the provider's keys when there are none yet, they are old, or the token names one that is not there;
        for unknown names at most once a minute, or any token could make us call."""
        age = time.monotonic() - known.keys_read_at
        missing = not known.keys or age > KEPT_SECONDS
        unknown = key_id is not None and key_id not in {one.kid for one in known.keys}
        if missing or (unknown and age > REFETCH_SECONDS):
            known.keys_read_at = time.monotonic()
            known.keys = () if missing else known.keys
            known.keys = _key_set(await self._read(known.metadata["jwks_uri"]))


def _check_times(claims: Mapping[str, Any]) -> None:
    """Both times are numbers that a clock can show (NaN is less than nothing), and the token is a fresh one."""
    if not all(0 <= claims[name] <= LAST_INSTANT for name in ("iat", "exp")):
        raise OidcError("the ID token has times that are none")
    if time.time() - claims["iat"] > OLDEST_SECONDS:
        raise OidcError("the ID token is too old")


def _check_said_issuer(metadata: Mapping[str, Any], issuer: str, said: str | None) -> None:
    """The answer must come from the provider that was asked, and say so where the provider promises it (RFC 9207)."""
    promised = metadata.get("authorization_response_iss_parameter_supported") is True
    if said != issuer and (promised or said is not None):
        raise OidcError("the answer comes from another issuer")


def _basic(client_id: str, secret: str) -> str:
    """RFC 6749, section 2.3.1: both are form-encoded before they are joined."""
    return "Basic " + b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()


def _key_set(document: Mapping[str, Any]) -> tuple[RSAKey | ECKey, ...]:
    """The public signing keys of a JWKS. Others, such as symmetric ones, are left out. Raises `OidcError`."""
    rows = document.get("keys")
    if not isinstance(rows, list) or len(rows) > MOST_KEYS:
        raise OidcError("the provider's keys cannot be read")
    found = tuple(key for row in rows if isinstance(row, dict) and (key := _key(row)) is not None)
    if not found:
        raise OidcError("the provider has no keys for signatures")
    return found


def _key(row: dict[str, Any]) -> RSAKey | ECKey | None:
    if row.get("use", "sig") != "sig":
        return None
    try:
        if row.get("kty") == "RSA" and _is_usual(row):
            return jwk.RSAKey.import_key({name: row[name] for name in ("kty", "n", "e", "kid", "alg") if name in row})
        if row.get("kty") == "EC":
            return jwk.ECKey.import_key(
                {name: row[name] for name in ("kty", "crv", "x", "y", "kid", "alg") if name in row}
            )
    except (errors.JoseError, ValueError, TypeError, KeyError):
        return None
    return None


def _is_usual(rsa: Mapping[str, Any]) -> bool:
    """Whether an RSA key is neither too weak to believe nor so large that checking by it takes long."""
    return SMALLEST_RSA <= _bits(rsa["n"]) <= LARGEST_RSA and _bits(rsa["e"]) <= LARGEST_EXPONENT


def _bits(number: str) -> int:
    return int.from_bytes(urlsafe_b64decode(number + "=" * (-len(number) % 4))).bit_length()


def _key_id(token: str) -> str | None:
    try:
        key_id = jws.extract_compact(token.encode("ascii")).headers().get("kid")
    except (errors.JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise OidcError("the ID token is no signed token") from None
    return key_id if isinstance(key_id, str) else None


def _one_key(keys: tuple[RSAKey | ECKey, ...], key_id: str | None) -> RSAKey | ECKey:
    """The key that the token names; where it names none, the only one. Raises `OidcError`."""
    fitting = [key for key in keys if key_id is None or key.kid == key_id]
    if len(fitting) != 1:
        raise OidcError("the ID token names no key of the provider")
    return fitting[0]


def _identity(issuer: str, claims: Mapping[str, Any]) -> Identity:
    subject, email, methods = claims["sub"], claims.get("email"), claims.get("amr") or []
    if not subject or len(subject) > LONGEST_SUBJECT:
        raise OidcError("the ID token names nobody")
    verified = claims.get("email_verified") in (True, "true")  # some providers write the boolean as text
    known = email if verified and isinstance(email, str) else None
    return Identity(issuer, subject, known, SECOND_FACTOR in methods)
