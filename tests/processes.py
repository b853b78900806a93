"""What tests of whole processes ask: has it ended, does it answer?"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 20.0


def is_gone(pid: int) -> bool:
    """Whether the process has ended, or does so within some seconds."""
    return _soon(lambda: not _runs(pid))


def is_closed(uri: str) -> bool:
    """Whether nobody listens at the connection string's address, now or within some seconds."""
    return _soon(lambda: not answers(uri))


def answers(uri: str) -> bool:
    """Whether somebody listens at the connection string's address."""
    host, _, port = uri.split("//")[1].split("/")[0].partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _runs(pid: int) -> bool:
    """A process that has ended and waits to be collected (state Z) does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _soon(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
