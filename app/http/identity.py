"""Who is asking: turns the session tokens of a request into the scope's actor, and its patient."""

from __future__ import annotations

from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth.browser import staff_token
from app.auth.cookies import patient_cookie
from app.auth.patient_sessions import identify_patient
from app.auth.sessions import identify
from app.config import Settings
from app.http.peers import header_values
from app.http.state import RequestState, request_state
from app.tenancy.scope import Scope as TenancyScope
from app.tenancy.scope import current_scope, open_scope


class Identity:
    """On routes where a session counts, puts its person into the scope. A token that is no longer good counts
    as none: the field or route that needs somebody says so.

    Staff and patients have a cookie each, and both may come: each counts for what is its own. A bearer token is what
    its audience says.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self.app = app
        self._settings = settings
        self._patient_cookie = patient_cookie(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = await self._known(scope, request_state(scope)) if scope["type"] != "lifespan" else None
        if known is None:
            await self.app(scope, receive, send)
            return
        with open_scope(known):
            await self.app(scope, receive, send)

    async def _known(self, scope: Scope, state: RequestState) -> TenancyScope | None:
        """The scope with whoever is signed in; None on routes where no session counts."""
        if state.spec is None or not state.spec.kind.reads_cookies:
            return None
        known = current_scope()
        bearer = _bearer(scope)
        if token := bearer or staff_token(_pairs(scope), self._settings):
            known = await identify(token, known, self._settings) or known
        staffs = bearer is not None and known.actor is not None  # one token is never both
        if token := None if staffs else bearer or _cookie(scope, self._patient_cookie):
            known = await identify_patient(token, known, self._settings) or known
        if known.actor is not None:
            state.user = str(known.actor.user_id)
        elif known.patient is not None:
            state.user = f"patient {known.patient.patient_id}"
        return known


def _bearer(scope: Scope) -> str | None:
    for value in header_values(scope["headers"], b"authorization"):
        kind, _, token = value.partition(" ")
        if kind.lower() == "bearer":
            return token.strip()
    return None


def _pairs(scope: Scope) -> list[tuple[str, str]]:
    """Name and value of every cookie, also of those that share a name."""
    pairs = ";".join(header_values(scope["headers"], b"cookie")).split(";")
    return [(name.strip(), value.strip()) for name, _, value in (pair.partition("=") for pair in pairs)]


def _cookie(scope: Scope, name: str) -> str | None:
    for value in header_values(scope["headers"], b"cookie"):
        if stored := cookie_parser(value).get(name):
            return stored
    return None
