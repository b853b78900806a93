"""Clinics take turns already when they arrive: a flood must not fill the way to the database with its sign-in reads.

The place is held while the session is looked up and no longer; in particular not while a body comes in, which a client
can make last. What then runs takes its turn again, by its cost (`app.graphql.fair_share`).
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from app.graphql.fair_share import FairShare
from app.http.state import request_state
from app.tenancy.scope import current_scope

_KEY = "polyclinic_arrival"


class Arrive:
    """Stands before the layer that looks the session up; `Arrived` stands behind it."""

    def __init__(self, app: ASGIApp, *, gate: FairShare) -> None:
        self.app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _reads_sessions(scope):
            await self.app(scope, receive, send)
            return
        tenant = current_scope().tenant
        async with self._gate.place(tenant.id if tenant else None, 1) as place:
            await self.app({**scope, _KEY: place}, receive, send)


class Arrived:
    """Gives the place to whoever is next."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _KEY in scope:
            scope[_KEY].give_on()
        await self.app(scope, receive, send)


def _reads_sessions(scope: Scope) -> bool:
    if scope["type"] == "lifespan":
        return False
    spec = request_state(scope).spec
    return spec is not None and spec.kind.reads_cookies
