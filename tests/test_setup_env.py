"""A newcomer's first minute: the environment is made once, and what is missing is named in a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.config import PROJECT_ROOT
from scripts import setup_env

OFFLINE = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout whose lock file asks for nothing."""
    (tmp_path / "scripts").mkdir()
    script = (PROJECT_ROOT / "scripts" / "setup_env.py").read_text()
    (tmp_path / "scripts" / "setup_env.py").write_text(script)
    (tmp_path / "requirements.lock").write_text("")
    return tmp_path


def _setup(tree: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", "-E", "scripts/setup_env.py"],
        cwd=tree,
        env=dict(os.environ) | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_works_once_and_then_is_silent_until_the_lock_changes(tree: Path) -> None:
    first = _setup(tree)
    assert first.returncode == 0, first.stderr
    assert "Setting up .venv" in first.stdout
    made = (tree / ".venv" / "pyvenv.cfg").stat().st_mtime_ns
    assert _setup(tree).stdout == ""
    assert (tree / ".venv" / "pyvenv.cfg").stat().st_mtime_ns == made
    (tree / "requirements.lock").write_text("# another day\n")
    assert "Setting up .venv" in _setup(tree).stdout


def test_an_interrupted_setup_is_begun_anew(tree: Path) -> None:
    assert _setup(tree).returncode == 0
    (tree / ".venv" / "installed-lock.sha256").unlink()
    assert "Setting up .venv" in _setup(tree).stdout


def test_an_environment_that_is_a_link_is_refused_and_what_it_leads_to_stays(tree: Path, tmp_path: Path) -> None:
    """Clearing it would empty an environment that other checkouts use."""
    shared = tmp_path / "shared"
    (shared / "bin").mkdir(parents=True)
    (shared / "bin" / "tool").write_text("in use")
    (tree / ".venv").symlink_to(shared)

    result = _setup(tree)

    assert result.returncode == 1
    assert "is a link to" in result.stderr
    assert (shared / "bin" / "tool").read_text() == "in use"


def test_without_a_network_it_says_so(tree: Path) -> None:
    (tree / "requirements.lock").write_text(f"nowhere-to-be-had==1.0 --hash=sha256:{'0' * 64}\n")
    result = _setup(tree, **OFFLINE, PIP_CONFIG_FILE=os.devnull, PIP_FIND_LINKS="", PIP_EXTRA_INDEX_URL="")
    assert result.returncode == 1
    assert result.stderr == (
        "Setup failed: the packages cannot be fetched: check the network or pip's settings, then try again.\n"
    )


def test_too_old_a_python_says_so_or_finds_a_newer_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 8, 10, "final", 0))
    monkeypatch.setenv("PATH", "")
    assert setup_env.main() == 1
    assert "Python 3.11 or newer is needed and this is 3.8" in capsys.readouterr().err


def test_a_signpost_to_no_python_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    signpost = tmp_path / "python3.13"
    signpost.write_text("#!/bin/sh\necho 'python3.13: command not found' >&2\nexit 127\n")
    signpost.chmod(0o755)
    monkeypatch.setattr(sys, "version_info", (3, 8, 10, "final", 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert setup_env.main() == 1
    assert capsys.readouterr().err.startswith("Setup failed: Python 3.11 or newer is needed")


def test_a_python_without_venv_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tree: Path
) -> None:
    crippled = tree / "python3"
    crippled.write_text("#!/bin/sh\necho 'Error: ensurepip is not available.'\nexit 1\n")
    crippled.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crippled))
    monkeypatch.setattr(setup_env, "STAMP", tree / "no-stamp")
    monkeypatch.setattr(setup_env, "VENV", tree / ".venv")
    monkeypatch.setattr(setup_env, "LOCK", tree / "requirements.lock")
    assert setup_env.main() == 1
    assert "apt-get install python3-venv" in capsys.readouterr().err


def test_the_lock_names_no_host_and_hashes_every_package() -> None:
    text = (PROJECT_ROOT / "requirements.lock").read_text()
    assert "://" not in text
    entries = [block for block in text.replace("\\\n", " ").splitlines() if "==" in block]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
