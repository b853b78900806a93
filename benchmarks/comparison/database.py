"""What the database did meanwhile: its own counters and CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient

from benchmarks.comparison.processes import cpu_of

OPERATIONS = ("insert", "query", "update", "delete", "getmore", "command")


@dataclass(frozen=True, slots=True)
class Counters:
    """Since mongod started: commands, rows given out, rows looked at, and seconds of CPU."""

    commands: int
    rows: int
    looked_at: int
    cpu: float


class Mongod:
    """The database under test. `counters` costs it one command, which is not counted."""

    def __init__(self, uri: str) -> None:
        self.client = MongoClient[dict[str, Any]](uri)
        status = self._status()
        self.version = str(status["version"])
        self.pid = int(status["pid"])
        self._asked = 1

    def counters(self) -> Counters:
        """Its counters now."""
        status = self._status()
        self._asked += 1
        commands = sum(int(status["opcounters"][name]) for name in OPERATIONS) - self._asked
        metrics = status["metrics"]
        return Counters(
            commands,
            int(metrics["document"]["returned"]),
            int(metrics["queryExecutor"]["scannedObjects"]),
            cpu_of(self.pid),
        )

    def close(self) -> None:
        self.client.close()

    def _status(self) -> dict[str, Any]:
        return self.client.admin.command("serverStatus")
