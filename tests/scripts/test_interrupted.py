"""Ctrl-C while a command is still being loaded: whoever typed it sees no trace, whichever command it is."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.config import Settings
from tests.scripts.commands import ROOT, environment

COMMANDS = sorted(
    path.stem
    for path in (ROOT / "scripts").glob("*.py")
    if '__name__ == "__main__"' in path.read_text() and path.stem != "setup_env"
)
"""All but the one that sets up, which loads nothing."""
INTERRUPTS = """
import os, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("app", "typer", "httpx", "tomllib") and "scripts" in sys.modules:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background
sys.meta_path.insert(0, Interrupts())
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_while_it_is_loaded_prints_no_trace(command: str, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTS)
    ended = subprocess.run(
        [sys.executable, "-m", f"scripts.{command}", "--help"],
        cwd=ROOT,
        env=environment(settings, PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode in (-signal.SIGINT, 130, 1), ended
    assert (ended.stdout, ended.stderr) == ("", "")


def test_any_other_failure_while_it_is_loaded_is_told(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        INTERRUPTS.replace("os.kill(os.getpid(), signal.SIGINT)", "raise OSError(name)")
    )
    ended = subprocess.run(
        [sys.executable, "-m", "scripts.cron", "--list"],
        cwd=ROOT,
        env=environment(settings, PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, "OSError" in ended.stderr) == (1, True)
