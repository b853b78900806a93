"""The command that moves clinics, killed (kill -9) before its N-th write: `python -m tests.standin_move N …`; with
`tN`, before its N-th write to the clinics' own rows, by which a move goes from stage to stage."""

from __future__ import annotations

import os
import signal
import sys

from pymongo.monitoring import CommandStartedEvent

from app.tenancy.listener import TenantWall
from scripts.move_tenant import cli

WRITES = frozenset({"insert", "update", "delete", "findAndModify", "create", "dropDatabase"})


def main() -> None:
    which = sys.argv.pop(1)
    left = int(which.removeprefix("t"))
    started = TenantWall.started

    def counts(event: CommandStartedEvent) -> bool:
        steps_only = which.startswith("t")
        return event.command_name in WRITES and (not steps_only or event.command.get(event.command_name) == "tenants")

    def dying(wall: TenantWall, event: CommandStartedEvent) -> None:
        nonlocal left
        left -= counts(event)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        started(wall, event)

    setattr(TenantWall, "started", dying)  # noqa: B010 - a method is replaced on purpose
    cli()


if __name__ == "__main__":
    main()
