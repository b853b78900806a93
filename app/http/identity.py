"""Who is asking: turns the session token of a request into the scope's actor."""

from __future__ import annotations

from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth.cookies import session_cookie
from app.auth.sessions import identify
from app.config import Settings
from app.http.peers import header_values
from app.http.state import RequestState, request_state
from app.tenancy.scope import current_scope, open_scope


class Identity:
    """On routes where a session counts, puts its person into the scope. A token that is no longer good counts
    as none: the field or route that needs somebody says so."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self.app = app
        self._settings = settings
        self._cookie = session_cookie(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = self._token(scope) if scope["type"] != "lifespan" else None
        known = await identify(token, current_scope(), self._settings) if token else None
        if known is None:
            await self.app(scope, receive, send)
            return
        state = request_state(scope)
        state.user = str(known.signed_in.user_id)
        with open_scope(known):
            await self.app(scope, receive, send)

    def _token(self, scope: Scope) -> str | None:
        """The bearer token, else the cookie; none on routes where no session counts."""
        state: RequestState = request_state(scope)
        if state.spec is None or not state.spec.kind.reads_cookies:
            return None
        for value in header_values(scope["headers"], b"authorization"):
            kind, _, token = value.partition(" ")
            if kind.lower() == "bearer":
                return token.strip()
        for value in header_values(scope["headers"], b"cookie"):
            if stored := cookie_parser(value).get(self._cookie):
                return stored
        return None
