"""Sets the peers in Node up: packages by the committed lock, into a folder beside them that is not committed."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent / "peers"
OLDEST_NODE = (20, 19)
_STAMP = PEERS / "node_modules" / ".installed"


def set_up(report: Callable[[str], None]) -> bool:
    """Makes the peers ready. False, with a line that says why, where they cannot be: they are then left out."""
    if problem := _problem(report):
        report(f"Peers: left out, as {problem}")
        return False
    return True


def _problem(report: Callable[[str], None]) -> str | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "node or npm is not on the PATH (version 20.19 or newer is needed)"
    version = node_version()
    if version is None or version < OLDEST_NODE:
        return f"node must be {'.'.join(map(str, OLDEST_NODE))} or newer"
    wanted = hashlib.sha256((PEERS / "package-lock.json").read_bytes()).hexdigest()
    if _STAMP.is_file() and _STAMP.read_text() == wanted:
        return None
    report("Peers: installing their packages by npm ci")
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=PEERS, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        told = (done.stderr or done.stdout).strip().splitlines()
        return f"npm ci failed ({told[0] if told else 'it does not say why'})"
    _STAMP.write_text(wanted)
    return None


def node_version() -> tuple[int, int] | None:
    """Major and minor version of the node on the PATH."""
    found = re.match(r"v(\d+)\.(\d+)", node_text())
    return (int(found[1]), int(found[2])) if found else None


def node_text() -> str:
    """What `node --version` says; empty where there is none."""
    node = shutil.which("node")
    if node is None:
        return ""
    return subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
