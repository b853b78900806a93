"""What the layers of one request tell each other. The outermost layer makes it and logs it at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.http.peers import Fields
from app.http.registry import RouteSpec
from app.tenancy.hosts import HostPort

_KEY = "polyclinic_request"


@dataclass(slots=True)
class RequestState:
    """Mutable, one per request or websocket. Inner layers set `tenant`, `user` and `code` for the log."""

    request_id: str
    fields: Fields
    """The header fields, without those that are never believed."""
    address: str
    """The client's address as far as it can be trusted; empty when unknown."""
    scheme: str
    """`http` or `https`, as the browser sees it."""
    authority: str | None
    """The untested host (and port) that the request names; None when it names none or several."""
    template: str | None = None
    spec: RouteSpec | None = None
    host: HostPort | None = None
    tenant: str | None = None
    user: str | None = None
    code: str | None = None


def attach_state(asgi_scope: Mapping[str, Any], state: RequestState) -> dict[str, Any]:
    """A copy of the server's own `state` (never the shared one) that also holds `state`."""
    return {**asgi_scope.get("state", {}), _KEY: state}


def request_state(asgi_scope: Mapping[str, Any]) -> RequestState:
    """This request's state. Raises KeyError outside of `RequestContext`."""
    state: RequestState = asgi_scope["state"][_KEY]
    return state
