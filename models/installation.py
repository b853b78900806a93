"""That the system was installed, once."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from models.base import PlatformDocument
from models.values import now

ONLY = "installation"


class Installation(PlatformDocument):
    """There is one at most: its fixed id is what makes a second installation impossible."""

    id: str = ONLY  # type: ignore[assignment]
    installed_at: datetime = Field(default_factory=now)

    class Settings:
        name = "installation"
