"""Signing a patient in by the QR code of a link: the one sign-in that is no GraphQL."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.auth.cookies import set_patient_cookie
from app.config import Settings
from app.errors import ValidationFailed
from app.http.answers import json_response
from app.http.body import read_json
from app.http.csrf import CLIENT_HEADER, require_json
from app.http.peers import header_values
from app.http.registry import RouteKind, RouteSpec
from app.services.portal.sign_in import qr_login

QR_LOGIN = "/api/patients/qr-login"
LONGEST_TICKET = 200


def patient_sign_in_specs(settings: Settings) -> list[RouteSpec]:
    """The routes under /api/patients. No cookie is read there: a browser that is signed in proves nothing by it."""
    return [RouteSpec(QR_LOGIN, {"POST"}, RouteKind.PUBLIC, QrLogin(settings).answer, "qr-login", max_body_bytes=4_096)]


class QrLogin:
    """`POST /api/patients/qr-login` with `{"ticket": …}`, exactly as JSON, which no foreign form can send.

    Answers with the cookie; with the token itself only to API clients, which send `X-Polyclinic-Client`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def answer(self, request: Request) -> Response:
        headers = request.scope["headers"]
        require_json(headers)
        ticket = _ticket((await read_json(request)).get("ticket"))
        device = "".join(header_values(headers, b"user-agent"))
        opened = await qr_login(ticket, self._settings, device=device)
        shown = {"success": True, "expiresAt": opened.session.expires_at.isoformat()}
        if header_values(headers, CLIENT_HEADER):
            shown["token"] = opened.token
        response = json_response(shown)
        response.headers.append("set-cookie", set_patient_cookie(self._settings, opened.token))
        return response


def _ticket(given: object) -> str:
    if not isinstance(given, str) or not 0 < len(given) <= LONGEST_TICKET:
        raise ValidationFailed.at("ticket", f"must be text of at most {LONGEST_TICKET} characters")
    return given
