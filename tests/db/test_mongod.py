"""The local mongod: closed to other machines, gone with its parent, and never without yesterday's data."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from app.db import mongod
from app.db.mongod import MongodError, embedded_mongod, find_mongod
from tests.processes import is_gone

Client = MongoClient[dict[str, Any]]

HOLD = """
import sys
from pathlib import Path
from app.db.mongod import embedded_mongod
with embedded_mongod(Path(sys.argv[1]), cache_gb=0.25) as uri:
    print(uri, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def holder(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process with a mongod on `data_dir`, and that mongod's address."""
    command = [sys.executable, "-c", HOLD, str(data_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def test_data_written_today_is_there_tomorrow_on_another_port(data_dir: Path) -> None:
    with embedded_mongod(data_dir, cache_gb=0.25) as first, Client(first) as client:
        client["clinic"]["patients"].insert_one({"name": "Ada"})
        taken = socket.create_server(("127.0.0.1", 0))
    with taken, embedded_mongod(data_dir, cache_gb=0.25) as second, Client(second) as client:
        assert second != first
        with client.start_session() as session, session.start_transaction():
            client["clinic"]["patients"].insert_one({"name": "Bob"}, session=session)
        assert sorted(row["name"] for row in client["clinic"]["patients"].find()) == ["Ada", "Bob"]


def test_only_this_machine_reaches_it_and_it_runs_no_scripts(data_dir: Path) -> None:
    with embedded_mongod(data_dir, cache_gb=0.25) as uri, Client(uri) as client:
        options = client.admin.command("getCmdLineOpts")["parsed"]
        assert options["net"]["bindIp"] == "127.0.0.1"
        assert options["net"]["compression"]["compressors"] == "disabled"
        with pytest.raises(OperationFailure):
            list(client["clinic"]["patients"].find({"$where": "true"}))
        assert stat.S_IMODE((data_dir / "mongodb").stat().st_mode) == 0o700


def test_two_folders_run_side_by_side(tmp_path: Path) -> None:
    with (
        embedded_mongod(tmp_path / "one", cache_gb=0.25) as one,
        embedded_mongod(tmp_path / "two", cache_gb=0.25) as two,
        Client(one) as first,
        Client(two) as second,
    ):
        first["clinic"]["patients"].insert_one({"name": "Ada"})
        assert second["clinic"]["patients"].count_documents({}) == 0


def test_a_folder_in_use_is_refused_in_one_sentence(data_dir: Path, holder: tuple[subprocess.Popen[str], str]) -> None:
    with pytest.raises(MongodError, match=r"in use by another running instance: .* another DATA_DIR\.$"):
        embedded_mongod(data_dir).__enter__()


def test_it_dies_with_a_killed_parent_and_the_next_start_finds_the_data(
    data_dir: Path, holder: tuple[subprocess.Popen[str], str]
) -> None:
    parent, uri = holder
    with Client(uri) as client:
        child = int(client.admin.command("serverStatus")["pid"])
        client["clinic"]["patients"].insert_one({"name": "Ada"})
    parent.kill()
    parent.wait()
    with embedded_mongod(data_dir, cache_gb=0.25) as again, Client(again) as client:
        assert client["clinic"]["patients"].count_documents({}) == 1
    assert is_gone(child)


def test_it_is_gone_when_the_block_ends_in_an_error(data_dir: Path) -> None:
    children: list[int] = []

    def fail_inside() -> None:
        with embedded_mongod(data_dir, cache_gb=0.25) as uri, Client(uri) as client:
            children.append(int(client.admin.command("serverStatus")["pid"]))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()
    assert is_gone(children[0])


def test_a_snatched_port_is_tried_again_elsewhere(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free_port = mongod.free_port
    with socket.create_server(("127.0.0.1", 0)) as thief:
        ports = iter([thief.getsockname()[1]])
        monkeypatch.setattr(mongod, "free_port", lambda: next(ports, None) or free_port())
        told: list[str] = []
        with embedded_mongod(data_dir, cache_gb=0.25, report=told.append) as uri, Client(uri) as client:
            assert client.admin.command("ping")["ok"] == 1
    assert told == ["The port chosen for mongod is taken, trying again"]


def test_the_path_comes_before_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = _program(tmp_path / "mongod", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_mongod() == own
    monkeypatch.setenv("PATH", "")
    assert find_mongod() != own


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (
            "echo 'mongod: error while loading shared libraries: libcurl.so.4: cannot open' >&2; exit 127",
            r"^mongod needs libcurl.so.4: apt-get install libcurl4, or set MONGODB_URI\.$",
        ),
        ("exit 14", r"^mongod ended at once with code 14: see .*mongod.log\.$"),
    ],
)
def test_a_mongod_that_cannot_run_says_what_to_do(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, sentence: str
) -> None:
    _program(tmp_path / "mongod", script)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(MongodError, match=sentence):
        embedded_mongod(data_dir).__enter__()


def test_a_machine_without_any_mongod_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MongodError, match="set MONGODB_URI"):
        find_mongod()


def _program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path
