"""Runs the commands as people and scheduled jobs do: as processes, with pipes or at a terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

from app.config import Settings
from tests.conftest import TEST_ENCRYPTION_KEY, TEST_SECRET

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0


def environment(settings: Settings, **changes: str) -> dict[str, str]:
    """The environment in which a command finds the test's database."""
    chosen = {
        "ENVIRONMENT": "test",
        "MONGODB_URI": settings.mongodb_uri,
        "MONGODB_DATABASE": settings.mongodb_database,
        "SESSION_SECRET": TEST_SECRET,
        "AUDIT_SECRET": TEST_SECRET[::-1],
        "ENCRYPTION_KEY": TEST_ENCRYPTION_KEY,
        "ROOT_DOMAIN": settings.root_domain,
        "BLOB_URL": settings.blob_target,
        "TZ": "UTC",
        "TERM": "dumb",
        "COLUMNS": "100",
    }
    return {**os.environ, **chosen, **changes}


PRODUCTION = {
    "ENVIRONMENT": "production",
    "ROOT_DOMAIN": "polyclinic.org",
    "COOKIE_DOMAIN": ".polyclinic.org",
    "MAIL_URL": "smtps://clinics:let-me-send@mail.polyclinic.org",
}


def run(
    settings: Settings, module: str, *arguments: str, answers: str | None = None, **changes: str
) -> subprocess.CompletedProcess[str]:
    """One run of `python -m scripts.<module>`; `answers` are typed into a pipe."""
    return subprocess.run(
        [sys.executable, "-m", f"scripts.{module}", *arguments],
        cwd=ROOT,
        env=environment(settings, **changes),
        input=answers or "",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Terminal:
    """A command at a terminal of its own: wait for what it asks, then type."""

    def __init__(self, settings: Settings, module: str, *arguments: str, **changes: str) -> None:
        ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _AS_SESSION_LEADER.format(module=module), *arguments],
            cwd=ROOT,
            env=environment(settings, **changes),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._screen = ours
        self._seen = 0
        self.shown = ""

    def asked(self, text: str, answer: str) -> None:
        """Waits until `text` is shown, after all that was waited for before, then types the answer."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.shown.find(text, self._seen)) < 0:
            if time.monotonic() > deadline or not self._read():
                raise AssertionError(f"{text!r} is not in {self.shown!r}")
        self._seen = found + len(text)
        time.sleep(0.05)  # a hidden prompt shows its text just before it turns the echo off and drops what was typed
        os.write(self._screen, answer.encode() + b"\n")

    def end(self) -> int:
        """Waits for the end and gives the exit code."""
        while self._read():
            pass
        os.close(self._screen)
        return self._process.wait(PATIENCE)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._screen], [], [], PATIENCE)
        try:
            data = os.read(self._screen, 65_536) if ready else b""
        except OSError:  # the other side is closed
            return False
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


_AS_SESSION_LEADER = (
    "import fcntl, runpy, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "runpy.run_module('scripts.{module}', run_name='__main__', alter_sys=True)"
)
"""Takes the terminal as the controlling one, so that hidden prompts read from it."""
