"""The command that rotates keys, killed (kill -9) before its N-th write: `python -m tests.standin_rotate N …`."""

from __future__ import annotations

import sys

from pymongo.monitoring import CommandStartedEvent

from app.services import key_rotation
from scripts.rotate_keys import cli
from tests.dying import die_before

WRITES = frozenset({"insert", "update", "delete", "findAndModify", "bulkWrite"})


def is_write(event: CommandStartedEvent) -> bool:
    return event.command_name in WRITES


if __name__ == "__main__":
    die_before(int(sys.argv.pop(1)), is_write)
    key_rotation.BATCH = 2
    cli()
