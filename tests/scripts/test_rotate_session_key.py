"""Rotating the key of sessions: an operator is told all of it and nothing secret, and nobody is signed out."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from bson import ObjectId
from dotenv import dotenv_values
from pydantic import SecretStr

from app.auth.tokens import STAFF, StaffClaims, Tokens
from app.config import Settings, secret_weakness
from models.values import now
from tests.conftest import TEST_SECRET
from tests.scripts.commands import ROOT, environment, run

KEPT = "Zt5nKz1PdYb7hLs9uMfE-cGa2iRoBt4_jX0v3Wq8r"
CLAIMS = StaffClaims("a-session", ObjectId(), 1, frozenset())


def ring(file: Path) -> list[SecretStr]:
    values = dotenv_values(file)
    return [
        SecretStr(one)
        for one in [values["SESSION_SECRET"], *(values.get("SESSION_SECRETS_OLD") or "").split(",")]
        if one
    ]


def token(secrets: list[SecretStr]) -> str:
    return Tokens(STAFF, secrets).sign(CLAIMS, issued_at=now(), expires_at=now() + timedelta(days=1))


@pytest.fixture(name="kept")
def _kept(tmp_path: Path) -> Path:
    """What `make run` left after it ended."""
    file = tmp_path / "data" / "dev.env"
    file.parent.mkdir()
    file.write_text(f"SESSION_SECRET={KEPT}\nAUDIT_SECRET={KEPT[::-1]}\nROOT_DOMAIN=localhost\n")
    return file


def rotate(kept: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a folder where nothing but `make run` has chosen settings, and no database runs."""
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATA_DIR": str(kept.parent), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "scripts.rotate_session_key", *arguments],
        cwd=kept.parent.parent,
        env=own,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_in_development_the_kept_secret_changes_and_old_tokens_stay_good(kept: Path) -> None:
    before = token(ring(kept))

    done = [rotate(kept), rotate(kept)]

    assert [one.returncode for one in done] == [0, 0], done

    assert Tokens(STAFF, ring(kept)).read(before) == CLAIMS
    assert Tokens(STAFF, ring(kept)[:1]).read(before) is None
    assert len(ring(kept)) == 3
    values = dotenv_values(kept)
    assert (values["AUDIT_SECRET"], values["ROOT_DOMAIN"]) == (KEPT[::-1], "localhost")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    for secret in ring(kept):
        assert not [one for one in done if secret.get_secret_value() in one.stdout + one.stderr]
        assert secret_weakness(secret.get_secret_value()) is None


def test_finishing_drops_the_former_secret_and_needs_one(kept: Path) -> None:
    assert rotate(kept, "--finish").returncode == 1
    before = token(ring(kept))
    rotate(kept)

    assert rotate(kept, "--finish").returncode == 0

    assert len(ring(kept)) == 1
    assert Tokens(STAFF, ring(kept)).read(before) is None


def test_a_compromised_secret_is_not_kept(kept: Path) -> None:
    before = token(ring(kept))

    assert rotate(kept, "--compromised").returncode == 0

    assert Tokens(STAFF, ring(kept)).read(before) is None
    assert KEPT not in kept.read_text()


def test_the_status_names_keys_and_changes_nothing(kept: Path) -> None:
    text = kept.read_text()

    told = rotate(kept, "--status")

    assert f"staff: signs by key {Tokens(STAFF, ring(kept)).key_id}" in told.stdout
    assert kept.read_text() == text


def test_elsewhere_it_tells_each_step_and_never_the_former_secret(settings: Settings) -> None:
    told = run(settings, "rotate_session_key")

    assert told.returncode == 0, told.stderr
    assert TEST_SECRET not in told.stdout + told.stderr
    first = re.search(r"SESSION_SECRETS_OLD=(\S+)", told.stdout)
    second = re.search(r"SESSION_SECRET=(\S+)", told.stdout)
    assert first is not None
    assert second is not None
    assert first[1] == second[1]
    assert secret_weakness(first[1]) is None
    assert told.stdout.index("1. ") < told.stdout.index("2. ") < told.stdout.index("3. After 7 days")


def test_the_steps_as_told_lose_no_token_on_any_server(settings: Settings) -> None:
    """Each server is restarted at another moment, so at each step those before and after it must understand it."""
    told = run(settings, "rotate_session_key").stdout
    fresh = re.search(r"SESSION_SECRETS_OLD=(\S+)", told)
    assert fresh is not None
    before = settings.session_ring
    one = settings.model_copy(update={"session_secrets_old": (SecretStr(fresh[1]),)}).session_ring
    changed = {"session_secret": SecretStr(fresh[1]), "session_secrets_old": (settings.session_secret,)}
    two = settings.model_copy(update=changed).session_ring

    for here, there in ((before, one), (one, two)):
        assert Tokens(STAFF, here).read(token(list(there))) == CLAIMS
        assert Tokens(STAFF, there).read(token(list(here))) == CLAIMS


def test_finishing_elsewhere_needs_a_rotation_under_way(settings: Settings) -> None:
    assert run(settings, "rotate_session_key", "--finish").returncode == 1
    under_way = run(settings, "rotate_session_key", "--finish", SESSION_SECRETS_OLD=KEPT)

    assert under_way.returncode == 0
    assert KEPT not in under_way.stdout
    assert "and reads" in under_way.stdout


def test_two_wishes_at_once_are_refused(settings: Settings) -> None:
    assert run(settings, "rotate_session_key", "--finish", "--compromised").returncode == 2
    assert environment(settings)["SESSION_SECRET"] == TEST_SECRET
