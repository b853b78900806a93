"""`python -m scripts.outbox`: dead messages are seen without their contents, and tried again on demand."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from bson import ObjectId
from pymongo.database import Database

from models.values import now
from tests.fixtures.clinics import Server
from tests.scripts.commands import run

Stored = Database[dict[str, Any]]


def dead(stored: Stored, *, kind: str, late: bool = False) -> ObjectId:
    row = {
        "_id": ObjectId(),
        "clinic_id": None,
        "channel": "mail",
        "kind": kind,
        "sealed": b"pia@example.com",
        "status": "dead",
        "tries": 8,
        "next_at": now(),
        "lease": None,
        "error": "SMTPDataError 554",
        "created_at": now(),
        "expires_at": now() + timedelta(hours=-1 if late else 1),
        "sent_at": None,
        "purge_at": now() + timedelta(days=30),
    }
    stored["outbox"].insert_one(row)
    return row["_id"]  # type: ignore[return-value]


def test_dead_messages_are_listed_and_revived_unless_too_late(server: Server, stored: Stored) -> None:
    stored["outbox"].delete_many({})
    fresh, late = dead(stored, kind="invitation"), dead(stored, kind="code", late=True)

    listed = run(server.settings, "outbox", "dead")
    assert listed.returncode == 0, listed.stderr
    assert f"id={fresh}" in listed.stdout
    assert "kind=invitation" in listed.stdout
    assert "error=SMTPDataError 554" in listed.stdout
    assert "2 dead" in listed.stdout
    assert "pia" not in listed.stdout

    assert run(server.settings, "outbox", "retry", str(late)).stdout == "0 will be tried again\n"
    again = run(server.settings, "outbox", "retry", "--all", "--json")
    assert json.loads(again.stdout) == {"retried": 1}
    rows = {row["_id"]: row for row in stored["outbox"].find()}
    assert (rows[fresh]["status"], rows[fresh]["tries"]) == ("waiting", 0)
    assert rows[late]["status"] == "dead"
    stored["outbox"].delete_many({})


def test_what_to_try_again_must_be_said(server: Server) -> None:
    assert run(server.settings, "outbox", "retry").returncode == 2
    assert run(server.settings, "outbox", "retry", "nonsense").returncode == 2
    assert run(server.settings, "outbox", "retry", str(ObjectId()), "--all").returncode == 2
