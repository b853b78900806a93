"""What resolvers get beside their arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from strawberry.types import Info as StrawberryInfo

from app.config import Settings
from app.graphql.fair_share import Gone
from app.graphql.loaders import Loaders


@dataclass(slots=True)
class Context:
    """One request's context. Who and where is in the scope; this carries the rest.

    `session_token` is set by a resolver that starts or changes a session ("" ends it): the HTTP layer turns it
    into the cookie.
    """

    settings: Settings
    api_client: bool = False
    """Whether the client may ask for the token in the answer (it sent `X-Polyclinic-Client`)."""
    device: str = ""
    origin: str = ""
    """Scheme, host and port of the pages of this host, such as `https://north.clinics.io`."""
    session_token: str | None = None
    gone: Gone | None = None
    """Returns when the client has left before its answer came."""
    cost: Mapping[str, Any] = field(default_factory=dict)
    """`extensions.cost` of the answer."""
    patient_token: str | None = None
    """As `session_token`, for the patient's own cookie."""
    loaders: Loaders = field(default_factory=Loaders)


Info: TypeAlias = StrawberryInfo[Context, None]
