"""Kills a process (kill -9) before its N-th write, as the machine that it ran on might have."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from pymongo.monitoring import CommandStartedEvent

from app.tenancy.listener import TenantWall

WRITES = frozenset({"insert", "update", "delete", "findAndModify", "commitTransaction"})


def is_write(event: CommandStartedEvent) -> bool:
    return event.command_name in WRITES


def die_before(write: int, counts: Callable[[CommandStartedEvent], bool] = is_write) -> None:
    """From here on, this process dies before the database command of that number among those that count."""
    left = write
    started = TenantWall.started

    def dying(wall: TenantWall, event: CommandStartedEvent) -> None:
        nonlocal left
        left -= counts(event)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        started(wall, event)

    setattr(TenantWall, "started", dying)  # noqa: B010 - a method is replaced on purpose
