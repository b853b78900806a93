"""`make run` starts all it needs, tells where to look, ends all it started and says what is in the way."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from dotenv import dotenv_values
from graphql import parse, validate
from pymongo import MongoClient

from app.config import PROJECT_ROOT, Settings
from app.db.mongod import free_port
from resolvers.schema import build_schema, core_schema
from scripts.demo import SignIn
from scripts.dev import first_queries
from tests.processes import answers, is_closed, is_gone

Client = MongoClient[dict[str, Any]]
READY = "Ctrl-C ends it"


class Run:
    """One `make run` with a stand-in server, on its own folder and port."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port = int(settings.get("PORT", free_port()))
        clean = {key: value for key, value in os.environ.items() if key.lower() not in Settings.model_fields}
        own = {
            "DATA_DIR": str(folder / "data"),
            "PORT": str(self.port),
            "PYTHONPATH": str(PROJECT_ROOT),
            "WORKERS": "1",
        }
        folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.standin_dev"],
            cwd=folder,
            env=clean | own | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""

    def until_ready(self) -> Run:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if READY in line:
                return self
        raise AssertionError(f"it ended early:\n{self.output}")

    def health(self) -> dict[str, Any]:
        with urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as answer:
            return dict(json.load(answer))

    def until_ended(self) -> int:
        rest, _ = self.process.communicate(timeout=60)
        self.output += rest
        return self.process.returncode

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=60)

    def interrupt(self) -> int:
        """What Ctrl-C does: the terminal tells the whole foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.until_ended()


Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as runs:

        def begin(folder: str = "one", **settings: str) -> Run:
            run = Run(tmp_path / folder, **settings)
            runs.callback(run.close)
            return run

        yield begin


def test_it_serves_tells_where_and_ends_all_it_started(start: Start, tmp_path: Path) -> None:
    run = start().until_ready()
    health = run.health()
    assert f"http://start-1.localhost:{run.port}/graphql" in run.output
    assert "ada@demo.example" in run.output
    assert "login(input:" in run.output
    assert run.interrupt() == 0
    assert "Traceback" not in run.output
    assert is_gone(health["pid"])
    assert is_closed(health["database"])


def test_a_simulator_of_paypal_runs_beside_it_and_ends_with_it(start: Start, tmp_path: Path) -> None:
    run = start().until_ready()
    found = re.search(r"A simulator of PayPal: (http://127\.0\.0\.1:\d+)", run.output)
    assert found is not None
    with urlopen(found[1], timeout=5) as page:  # noqa: S310 - an address of this machine
        assert b"No money is moved." in page.read()
    chosen = dotenv_values(tmp_path / "one" / "data" / "dev.env")
    assert chosen["PAYPAL_URL"] == found[1]
    assert Path(str(chosen["PAYPAL_ROOTS"])).read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
    assert run.interrupt() == 0
    assert is_closed(found[1])
    assert "PAYPAL_URL" not in dotenv_values(tmp_path / "one" / "data" / "dev.env")


def test_where_paypal_is_set_up_already_no_simulator_runs(start: Start) -> None:
    app = {"PAYPAL_CLIENT_ID": "app", "PAYPAL_CLIENT_SECRET": "whatever", "PAYPAL_WEBHOOK_ID": "WH1"}
    run = start(**app).until_ready()
    assert "simulator" not in run.output


def test_the_printed_queries_fit_the_schema() -> None:
    schema = core_schema(build_schema())
    for query in first_queries(SignIn("north", "admin", "ada@demo.example", "a long demo password")):
        assert validate(schema, parse(query)) == []


def test_a_second_start_keeps_the_data_and_the_secret(start: Start, tmp_path: Path) -> None:
    start().until_ready().interrupt()
    file = tmp_path / "one" / "data" / "dev.env"
    secret = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    second = start().until_ready()
    assert "start-2.localhost" in second.output
    second.interrupt()
    assert file.read_text() == secret


def test_two_run_side_by_side(start: Start) -> None:
    one, two = start("one").until_ready(), start("two").until_ready()
    assert one.health()["database"] != two.health()["database"]
    assert "start-1.localhost" in two.output


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_or_a_plain_kill_ends_all_too(start: Start, end: signal.Signals) -> None:
    run = start().until_ready()
    health = run.health()
    run.process.send_signal(end)
    assert run.until_ended() == 0
    assert is_gone(health["pid"])
    assert is_closed(health["database"])


def test_a_killed_runner_takes_everything_with_it(start: Start) -> None:
    run = start().until_ready()
    health = run.health()
    run.process.kill()
    assert is_gone(health["pid"])
    assert is_closed(health["database"])


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
@pytest.mark.parametrize("workers", ["2", ""], ids=["two", "one for each core"])
def test_several_server_processes_answer_and_end(start: Start, workers: str, end: signal.Signals) -> None:
    run = start(WORKERS=workers).until_ready()
    pids = {run.health()["pid"] for _ in range(50)}
    os.killpg(run.process.pid, end)
    assert run.until_ended() == (0 if end is signal.SIGINT else -end)
    assert all(is_gone(pid) for pid in pids)


def test_a_server_that_dies_ends_the_run_with_a_word(start: Start) -> None:
    run = start().until_ready()
    os.kill(run.health()["pid"], signal.SIGKILL)
    assert run.until_ended() == 1
    assert "The server ended by itself" in run.output
    assert "Traceback" not in run.output


def test_other_commands_find_the_running_database(start: Start, tmp_path: Path) -> None:
    run = start().until_ready()
    code = "from app.config import load_settings; print(load_settings().mongodb_uri)"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT_ROOT), "DATA_DIR": "data"}
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "one",
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == run.health()["database"]


def test_the_database_of_mongodb_uri_is_used_and_left_running(
    start: Start, mongodb_uri: str, database_name: str
) -> None:
    run = start(MONGODB_URI=mongodb_uri, MONGODB_DATABASE=f"{database_name}_dev").until_ready()
    assert run.health()["database"] == mongodb_uri
    assert run.interrupt() == 0
    assert answers(mongodb_uri)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"MONGODB_URI": "mongodb://127.0.0.1:1/"},
            r"MONGODB_URI does not answer within 5 s: start that .*\.",
        ),
        ({"MONGODB_URI": "mongodb://a:b:c@x/"}, r"MONGODB_URI cannot be read: .*\."),
        (
            {"ENVIRONMENT": "production"},
            r"make run is for development .*: start .* python -m scripts.serve\.",
        ),
        ({"PORT": "99999"}, r"PORT should be less than or equal to 65535"),
        ({"HOST": "256.1.1.1"}, r"HOST=256\.1\.1\.1 is no address of this machine: try"),
        ({"DATA_DIR": __file__}, r"DATA_DIR=.*test_dev_command\.py cannot be made \(File exists\): give another"),
        ({"SESSION_SECRET": "short"}, r"SESSION_SECRET is too short.*make one with.*"),
    ],
)
def test_what_is_in_the_way_is_said_in_one_sentence(start: Start, settings: dict[str, str], sentence: str) -> None:
    run = start(**settings)
    assert run.until_ended() == 1
    assert re.search(sentence, run.output)
    assert "Traceback" not in run.output


def test_a_taken_port_is_told_before_anything_is_started(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = start(PORT=str(port))
        assert run.until_ended() == 1
    assert run.output == (
        f"Port {port} on 127.0.0.1 is not free (Address already in use): choose another, such as PORT={port + 1}.\n"
    )
    assert not (tmp_path / "one" / "data").exists()


def test_a_folder_in_use_is_told(start: Start) -> None:
    start("one").until_ready()
    second = start("one")
    assert second.until_ended() == 1
    assert "is in use by another running instance" in second.output
