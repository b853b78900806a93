"""The command that moves clinics, killed (kill -9) before its N-th write: `python -m tests.standin_move N …`; with
`tN`, before its N-th write to the clinics' own rows, by which a move goes from stage to stage."""

from __future__ import annotations

import sys

from pymongo.monitoring import CommandStartedEvent

from scripts.move_tenant import cli
from tests.dying import die_before

WRITES = frozenset({"insert", "update", "delete", "findAndModify", "create", "dropDatabase"})


def is_write(event: CommandStartedEvent) -> bool:
    return event.command_name in WRITES


def is_step(event: CommandStartedEvent) -> bool:
    return is_write(event) and event.command.get(event.command_name) == "tenants"


if __name__ == "__main__":
    which = sys.argv.pop(1)
    die_before(int(which.removeprefix("t")), is_step if which.startswith("t") else is_write)
    cli()
