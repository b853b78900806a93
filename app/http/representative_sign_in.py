"""`POST /api/medical-representatives/login`: the way in for medical representatives, and for nobody else."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app.auth.browser import session_cookies
from app.config import Settings
from app.errors import FieldError, TenantNotFound, ValidationFailed
from app.http.answers import json_response
from app.http.body import read_json
from app.http.csrf import CLIENT_HEADER, require_json
from app.http.peers import header_values
from app.http.registry import RouteKind, RouteSpec
from app.services.representatives import represents_here
from app.services.sign_in import login
from app.tenancy.scope import current_scope

LOGIN = "/api/medical-representatives/login"
LONGEST = 1_000


def representative_sign_in_specs(settings: Settings) -> list[RouteSpec]:
    """The route; no cookie is read there."""
    endpoint = RepresentativeLogin(settings).answer
    return [RouteSpec(LOGIN, {"POST"}, RouteKind.PUBLIC, endpoint, "representative-login", max_body_bytes=8_192)]


class RepresentativeLogin:
    """Takes `{"email": …, "password": …, "code": …?}` on a clinic's host, exactly as JSON, and opens a staff session.

    Whoever is no medical representative of this clinic is answered as somebody whose password is wrong.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def answer(self, request: Request) -> Response:
        headers = request.scope["headers"]
        require_json(headers)
        given = _texts(await read_json(request))
        if current_scope().tenant is None:
            raise TenantNotFound("This operation needs a clinic's own host.")
        device = "".join(header_values(headers, b"user-agent"))
        _, opened = await login(
            given["email"] or "",
            given["password"] or "",
            self._settings,
            code=given["code"],
            device=device,
            only=represents_here,
        )
        shown: dict[str, Any] = {"success": True}
        if header_values(headers, CLIENT_HEADER):
            shown["token"] = opened.token
        response = json_response(shown)
        for value in session_cookies(self._settings, opened.token):
            response.headers.append("set-cookie", value)
        return response


def _texts(body: dict[str, Any]) -> dict[str, str | None]:
    """`email`, `password` and maybe `code`. Raises VALIDATION_FAILED with the paths of what is no text."""
    found = {name: body.get(name) for name in ("email", "password", "code")}
    wrong = [
        FieldError(name, f"must be text of at most {LONGEST} characters")
        for name, value in found.items()
        if not (isinstance(value, str) and len(value) <= LONGEST) and not (name == "code" and value is None)
    ]
    if wrong:
        raise ValidationFailed(fields=wrong)
    return found
