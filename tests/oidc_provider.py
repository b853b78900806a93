"""An OpenID provider on this machine that speaks the protocol over a socket, and can be told to lie."""

from __future__ import annotations

import secrets
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT_ID = "polyclinic at-the:provider"
CLIENT_SECRET = "s3cret, with: odd/characters"

Key = RSAKey | ECKey
Claims = dict[str, Any]


def rsa_key(kid: str = "rsa-1") -> RSAKey:
    return RSAKey.generate_key(2048, parameters={"kid": kid, "use": "sig", "alg": "RS256"})


def ec_key(kid: str = "ec-1") -> ECKey:
    return ECKey.generate_key("P-256", parameters={"kid": kid, "use": "sig", "alg": "ES256"})


@dataclass(slots=True)
class Grant:
    """A code that was given out, and what it is bound to."""

    redirect_uri: str
    challenge: str
    nonce: str
    person: Mapping[str, Any]


@dataclass(slots=True)
class Provider:
    """Who signs in, with which key, and what is changed in what it says."""

    key: Key = field(default_factory=rsa_key)
    published: list[Any] | None = None
    """What the JWKS holds; the signing key alone unless told."""
    person: Mapping[str, Any] = field(default_factory=dict)
    client_secret: str | None = CLIENT_SECRET
    url: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Changes to the discovery document."""
    said_issuer: str | None = None
    """What comes as `iss` beside the code (RFC 9207)."""
    claims: Callable[[Claims], Claims] = lambda claims: claims
    sign: Callable[[Claims], str] | None = None
    token_answer: Response | None = None
    asked: list[str] = field(default_factory=list)
    """The paths that were called."""
    codes: dict[str, Grant] = field(default_factory=dict)

    # --- what it answers --------------------------------------------------------------------------------------------

    async def discovery(self, _: Request) -> Response:
        self.asked.append("discovery")
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                "response_types_supported": ["code"],
                **self.metadata,
            }
        )

    async def jwks(self, _: Request) -> Response:
        self.asked.append("jwks")
        keys = self.published if self.published is not None else [self.key.as_dict(private=False)]
        return JSONResponse({"keys": keys})

    async def authorize(self, request: Request) -> Response:
        self.asked.append("authorize")
        asked = request.query_params
        assert asked["client_id"] == CLIENT_ID
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = Grant(asked["redirect_uri"], asked["code_challenge"], asked["nonce"], dict(self.person))
        back = {"code": code, "state": asked["state"]}
        if self.said_issuer is not None:
            back["iss"] = self.said_issuer
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(back)}", status_code=303)

    async def token(self, request: Request) -> Response:
        self.asked.append("token")
        if self.token_answer is not None:
            return self.token_answer
        form = dict(parse_qsl((await request.body()).decode()))
        grant = self.codes.pop(form["code"], None)
        challenge = urlsafe_b64encode(sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        if not self._knows(request, form.get("client_id")):
            return JSONResponse({"error": "invalid_client"}, 401)
        if grant is None or grant.challenge != challenge or grant.redirect_uri != form["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse({"access_token": "at-1", "token_type": "Bearer", "id_token": self.id_token(grant)})

    def _knows(self, request: Request, client_id: Any) -> bool:
        if self.client_secret is None:
            return bool(client_id == CLIENT_ID) and "authorization" not in request.headers
        kind, _, coded = request.headers.get("authorization", "").partition(" ")
        name, _, secret = b64decode(coded).decode().partition(":")
        return (kind, unquote_plus(name), unquote_plus(secret)) == ("Basic", CLIENT_ID, self.client_secret)

    # --- the token --------------------------------------------------------------------------------------------------

    def id_token(self, grant: Grant) -> str:
        moment = int(time.time())
        claims = self.claims(
            {
                "iss": self.url,
                "aud": CLIENT_ID,
                "exp": moment + 300,
                "iat": moment,
                "nonce": grant.nonce,
                **grant.person,
            }
        )
        return self.sign(claims) if self.sign is not None else self.signed(claims)

    def signed(self, claims: Claims, key: Key | None = None, **header: Any) -> str:
        key = key or self.key
        alg = "RS256" if isinstance(key, RSAKey) else "ES256"
        return jwt.encode({"alg": alg, "kid": key.kid, **header}, claims, key, algorithms=[alg])

    def signed_with_the_public_key_as_secret(self, claims: Claims) -> str:
        """The confusion of RS256 with HS256: whoever has the public key, and so everybody, could sign."""
        text = self.key.as_pem(private=False)
        head = {"alg": "HS256", "kid": self.key.kid}
        return jwt.encode(head, claims, OctKey.import_key(text), algorithms=["HS256"])

    def unsigned(self, claims: Claims) -> str:
        import orjson

        parts = [orjson.dumps({"alg": "none", "kid": self.key.kid}), orjson.dumps(claims), b""]
        return ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@contextmanager
def running_provider() -> Iterator[Provider]:
    """Serves on a free port of 127.0.0.1 until the block ends."""
    provider = Provider()
    app = Starlette(
        routes=[
            Route("/.well-known/openid-configuration", provider.discovery),
            Route("/jwks", provider.jwks),
            Route("/authorize", provider.authorize),
            Route("/token", provider.token, methods=["POST"]),
        ]
    )
    config = uvicorn.Config(app, host="127.0.0.1", port=0, loop="asyncio", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the provider did not start"
        time.sleep(0.01)
    provider.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield provider
    finally:
        server.should_exit = True
        thread.join(10)
