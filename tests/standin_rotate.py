"""The command that rotates keys, killed (kill -9) before its N-th write: `python -m tests.standin_rotate N …`."""

from __future__ import annotations

import os
import signal
import sys

from pymongo.monitoring import CommandStartedEvent

from app.services import key_rotation
from app.tenancy.listener import TenantWall
from scripts.rotate_keys import cli

WRITES = frozenset({"insert", "update", "delete", "findAndModify", "bulkWrite"})


def main() -> None:
    left = int(sys.argv.pop(1))
    started = TenantWall.started

    def dying(wall: TenantWall, event: CommandStartedEvent) -> None:
        nonlocal left
        left -= event.command_name in WRITES
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        started(wall, event)

    setattr(TenantWall, "started", dying)  # noqa: B010 - a method is replaced on purpose
    key_rotation.BATCH = 2
    cli()


if __name__ == "__main__":
    main()
