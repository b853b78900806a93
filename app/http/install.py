"""`/api/install`: sets an empty system up, with the install secret, on the root host; gone once that is done."""

from __future__ import annotations

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from app.config import Settings
from app.db.schema import is_current
from app.errors import Forbidden, NotFound
from app.http.answers import json_response
from app.http.bearer import require_root_host, require_secret
from app.http.body import read_json
from app.http.csrf import require_json
from app.http.registry import RouteKind, RouteSpec
from app.services.installation import install, is_installed, read_install_form
from app.services.rate_limits import Limit
from app.tenancy.scope import Database

TRIES = Limit("install-secret", 10, timedelta(minutes=15), platform=True)


def install_specs(settings: Settings, database: Database) -> list[RouteSpec]:
    """The two routes."""

    async def status(request: Request) -> Response:
        """Whether the schema is on the database; 404 once the system is installed."""
        await _admit(request, settings)
        return json_response({"installed": False, "schemaCurrent": await is_current(database)})

    async def start(request: Request) -> Response:
        """Installs: the body is `{"admin": {"name", "email", "password"}}`."""
        await _admit(request, settings)
        require_json(request.scope["headers"])
        email = await install(database.client, settings, read_install_form(await read_json(request)))
        return json_response({"success": True, "adminEmail": email}, 201)

    return [
        RouteSpec("/api/install/status", {"GET"}, RouteKind.INSTALL, status, "install-status"),
        RouteSpec("/api/install", {"POST"}, RouteKind.INSTALL, start, "install"),
    ]


async def _admit(request: Request, settings: Settings) -> None:
    """403 while no secret is set, 404 once installed, 401 without the secret."""
    require_root_host()
    if settings.install_secret is None:
        raise Forbidden("INSTALL_SECRET is not set, so nobody can install over HTTP.")
    if await is_installed():
        raise NotFound
    await require_secret(request, settings.install_secret, TRIES)
