"""The way to the clinic's identity provider and back, on the clinic's own host."""

from __future__ import annotations

from starlette.requests import Request, cookie_parser
from starlette.responses import RedirectResponse, Response

from app.auth.browser import session_cookies
from app.config import Settings
from app.errors import NotFound
from app.http.csrf import own_origin
from app.http.peers import header_values
from app.http.registry import RouteKind, RouteSpec
from app.http.state import request_state
from app.services.single_sign_on import LASTS, Returned, finish, start

START = "/auth/oidc/start"
CALLBACK = "/auth/oidc/callback"


def single_sign_on_specs(settings: Settings) -> list[RouteSpec]:
    """The routes. No session is read there: the browser proves itself by the cookie of the sign-in that it began."""
    routes = SingleSignOn(settings)
    return [
        RouteSpec(START, {"GET"}, RouteKind.PUBLIC, routes.start, "single-sign-on-start"),
        RouteSpec(CALLBACK, {"GET"}, RouteKind.PUBLIC, routes.callback, "single-sign-on-callback"),
    ]


class SingleSignOn:
    """`GET /auth/oidc/start?next=/path` sends the browser to the provider, which sends it back to the callback."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cookie = "__Host-single_sign_on" if settings.cookie_secure else "single_sign_on"

    async def start(self, request: Request) -> Response:
        asked = request.query_params.get("next", "/")
        started = await start(self._settings, redirect_uri=_redirect_uri(request), next_path=asked)
        response = RedirectResponse(started.url, status_code=303)
        response.headers.append("set-cookie", self._kept(started.browser, int(LASTS.total_seconds())))
        return response

    async def callback(self, request: Request) -> Response:
        returned = Returned(
            state=_once(request, "state"),
            code=_once(request, "code"),
            issuer=_once(request, "iss"),
            error=_once(request, "error"),
            browser=self._browser(request),
        )
        device = "".join(header_values(request.scope["headers"], b"user-agent"))
        done = await finish(self._settings, returned, redirect_uri=_redirect_uri(request), device=device)
        response = RedirectResponse(done.path, status_code=303)
        response.headers.append("set-cookie", self._kept("", 0))
        if done.signed_in is not None:
            for value in session_cookies(self._settings, done.signed_in.token):
                response.headers.append("set-cookie", value)
        return response

    def _kept(self, value: str, seconds: int) -> str:
        """This host's alone, unseen by scripts, and sent when the provider sends the browser back."""
        secure = "; Secure" if self._settings.cookie_secure else ""
        return f"{self._cookie}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}"

    def _browser(self, request: Request) -> str | None:
        for value in header_values(request.scope["headers"], b"cookie"):
            if kept := cookie_parser(value).get(self._cookie):
                return kept
        return None


def _once(request: Request, name: str) -> str | None:
    """A parameter that came once: what comes twice is read differently by different readers."""
    values = request.query_params.getlist(name)
    return values[0] if len(values) == 1 else None


def _redirect_uri(request: Request) -> str:
    """Where the provider sends the browser back to: this very host, as the browser reached it."""
    state = request_state(request.scope)
    origin = own_origin(state)
    if origin is None or state.host is None:
        raise NotFound
    return f"{origin[0]}://{state.host.authority}{CALLBACK}"
