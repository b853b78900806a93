"""What resolvers get beside their arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from strawberry.types import Info as StrawberryInfo

from app.config import Settings
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
    session_token: str | None = None
    loaders: Loaders = field(default_factory=Loaders)


Info: TypeAlias = StrawberryInfo[Context, None]
