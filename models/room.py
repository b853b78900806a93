"""A room of the clinic."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from models.base import TenantDocument, Versioned
from models.named import BY_NAME, ONE_PER_NAME
from models.values import Line, Text


class RoomKind(StrEnum):
    """What the room is for."""

    CONSULTATION = "consultation"
    PROCEDURE = "procedure"
    LABORATORY = "laboratory"
    IMAGING = "imaging"
    OTHER = "other"


class Room(Versioned, TenantDocument):
    """A room that appointments can be booked into. Two rooms in use never bear the same name."""

    remembered: ClassVar[bool] = True

    name: Line
    name_key: str
    kind: RoomKind = RoomKind.CONSULTATION
    floor: Line | None = None
    notes: Text | None = None
    archived_at: datetime | None = None

    class Settings:
        name = "rooms"
        indexes = (BY_NAME, ONE_PER_NAME)
