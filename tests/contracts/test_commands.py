"""Each command that the whole suite sends to a clinic's collection carries its clinic, and a bare one fails the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo.monitoring import CommandStartedEvent

from app.config import PROJECT_ROOT
from app.tenancy.listener import TenantWall, Verdict
from app.tenancy.scope import Scope, TenantId, TenantRef, open_scope
from tests.fixtures.mirror import Mirror
from tests.fixtures.wire import TITLE, WireRecorder

OWN = TenantRef(TenantId(ObjectId()), "own", "Own")
MINE = {"tenant_id": {"$eq": OWN.id}}


def event(content: dict[str, Any]) -> CommandStartedEvent:
    return CommandStartedEvent(content, "db", 1, ("localhost", 1), 1)


def recorded(content: dict[str, Any], scope: Scope | None, verdict: Verdict = Verdict.HELD) -> WireRecorder:
    """What a recorder makes of one command; the verdict is what a wall that sees nothing wrong would say."""
    recorder = WireRecorder()
    if scope is None:
        recorder(event(content), verdict)
    else:
        with open_scope(scope):
            recorder(event(content), verdict)
    return recorder


def in_clinic() -> Scope:
    return Scope(request_id="test", tenant=OWN)


# --- the run ----------------------------------------------------------------------------------------------------------


async def test_a_request_is_seen_command_by_command(mirror: Mirror, wire: WireRecorder) -> None:
    before, patients = wire.seen["its clinic"], wire.collections["patients"]
    answer = await mirror.a.admin.gql("{ patients { totalCount edges { node { id record { code } } } } }")
    assert answer.data
    assert wire.seen["its clinic"] >= before + 3, "patients, their count and their records were read"
    assert wire.collections["patients"] == patients + 2


async def test_no_command_so_far_went_without_its_clinic(mirror: Mirror, wire: WireRecorder) -> None:
    assert wire.bare == []
    assert wire.seen["nothing"] == 0
    assert wire.seen["its clinic"] > 50, "making two clinics takes more than that: is every wall recorded?"


def test_each_wall_that_is_built_is_recorded(wire: WireRecorder) -> None:
    assert wire in TenantWall().recorders


# --- the recorder itself ----------------------------------------------------------------------------------------------

BARE = {
    "a find without a filter": {"find": "rooms", "filter": {}},
    "a find with another clinic's id": {"find": "rooms", "filter": {"tenant_id": {"$eq": ObjectId()}}},
    "an update of everything": {"update": "rooms", "updates": [{"q": {}, "u": {"$set": {"a": 1}}}]},
    "a delete of everything": {"delete": "rooms", "deletes": [{"q": {}, "limit": 0}]},
    "an insert without an owner": {"insert": "rooms", "documents": [{"_id": 1}]},
    "a join out of the platform": {"aggregate": "tenants", "pipeline": [{"$lookup": {"from": "rooms", "as": "r"}}]},
    "a union": {"aggregate": "tenants", "pipeline": [{"$unionWith": "rooms"}]},
    "a nested join": {"aggregate": "tenants", "pipeline": [{"$facet": {"x": [{"$unionWith": {"coll": "rooms"}}]}}]},
    "an export": {"aggregate": "tenants", "pipeline": [{"$merge": {"into": "rooms"}}]},
    "an index": {"createIndexes": "rooms", "indexes": []},
    "a count": {"count": "patients", "query": {}},
    "a distinct": {"distinct": "patients", "key": "email", "query": {}},
}


@pytest.mark.parametrize("content", BARE.values(), ids=BARE)
@pytest.mark.parametrize(
    "scope", [None, Scope(request_id="test"), in_clinic()], ids=["no scope", "no clinic", "clinic"]
)
def test_a_bare_command_is_caught(content: dict[str, Any], scope: Scope | None) -> None:
    assert len(recorded(content, scope).bare) == 1


def test_a_command_that_carries_its_clinic_is_let_through() -> None:
    recorder = recorded({"find": "rooms", "filter": {"$and": [MINE, {"name": "1"}]}}, in_clinic())
    assert recorder.bare == []
    assert recorder.seen == {"its clinic": 1}


def test_a_command_inside_a_system_scope_is_let_through() -> None:
    recorder = recorded({"find": "rooms", "filter": {}}, Scope(request_id="test", system_reason="a test of it"))
    assert recorder.seen == {"a system scope": 1}


def test_a_command_that_the_wall_refused_was_never_sent() -> None:
    recorder = recorded({"find": "rooms", "filter": {}}, None, Verdict.BROKEN)
    assert recorder.bare == []


def test_a_command_on_the_platforms_collections_is_no_business_of_it() -> None:
    recorder = recorded({"find": "users", "filter": {}}, None, Verdict.NO_CLINIC_DATA)
    assert not recorder.seen


# --- the end of a run -------------------------------------------------------------------------------------------------

RUN = """
from pymongo.monitoring import CommandStartedEvent
from app.tenancy.listener import Verdict
from tests.fixtures.wire import RECORDER
import models

def test_passes():
    RECORDER(CommandStartedEvent({command}, "db", 1, ("localhost", 1), 1), Verdict.HELD)

def test_passes_too():
    pass
"""


@pytest.mark.parametrize(
    ("collection", "code", "parallel"),
    [("rooms", 1, ()), ("rooms", 1, ("-n", "1")), ("users", 0, ())],
    ids=["bare", "bare, in a process of its own", "no clinic's"],
)
def test_a_run_fails_for_a_bare_command_though_its_tests_pass(
    tmp_path: Path, collection: str, code: int, parallel: tuple[str, ...]
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tests.fixtures.wire"]\n')
    (tmp_path / "test_run.py").write_text(RUN.format(command={"find": collection, "filter": {}}))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *parallel, str(tmp_path)],
        cwd=tmp_path,
        env={**_plain_environment(), "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert (TITLE in done.stdout) is bool(code)


def _plain_environment() -> dict[str, str]:
    """Without what a parallel run tells its processes."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
