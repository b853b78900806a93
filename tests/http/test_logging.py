"""Logs say who and where, and never a secret or a patient's data."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from bson import ObjectId

from app.errors import TenantGuardRefused
from app.logging import configure_logging, error_trace
from app.tenancy.scope import Actor, Scope, TenantId, TenantRef, open_scope

CANARY = "Ada Lovelace 1815"


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    yield
    structlog.configure(**before)  # structlog's own defaults would draw tracebacks for minutes
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def log(restored: None) -> io.BytesIO:
    stream = io.BytesIO()
    configure_logging(SimpleNamespace(log_level="info", environment="production"), stream)
    return stream


def lines(log: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_a_line_names_request_clinic_and_user_of_its_scope(log: io.BytesIO) -> None:
    tenant = TenantRef(TenantId(ObjectId()), "alpha", "Alpha")
    actor = Actor(ObjectId(), "sid", CANARY, "ada@example.com")
    with open_scope(Scope("r-1", tenant, actor)):
        structlog.get_logger().info("booked", count=3)
        logging.getLogger("some.package").warning("slow %s", "thing")

    first, second = lines(log)
    for line in (first, second):
        assert (line["request_id"], line["tenant"], line["user"]) == ("r-1", "alpha", str(actor.user_id))
    assert (first["event"], first["level"], first["count"]) == ("booked", "info", 3)
    assert (second["event"], second["level"], second["logger"]) == ("slow thing", "warning", "some.package")
    assert "timestamp" in first
    assert CANARY.encode() not in log.getvalue()


@pytest.mark.parametrize(
    "key",
    ["password", "newPassword", "access_token", "Authorization", "set-cookie", "SESSION_SECRET", "api-key"],
)
def test_keys_that_hold_secrets_are_dropped_at_any_depth(key: str, log: io.BytesIO) -> None:
    _assert_dropped(key, log)


@pytest.mark.parametrize("key", ["email", "phone", "birth_date", "query", "body", "variables"])
def test_keys_that_hold_patients_are_dropped_at_any_depth(key: str, log: io.BytesIO) -> None:
    _assert_dropped(key, log)


def _assert_dropped(key: str, log: io.BytesIO) -> None:
    structlog.get_logger().info("e", **{key: CANARY}, inner=[{"deep": {key: CANARY, "kept": 1}}])

    (line,) = lines(log)
    assert line["inner"] == [{"deep": {"kept": 1}}]
    assert CANARY.encode() not in log.getvalue()


def test_an_error_is_logged_by_type_and_place_without_values(log: io.BytesIO) -> None:
    try:
        try:
            patient = CANARY
            raise ValueError(patient)
        except ValueError as error:
            raise LookupError(CANARY) from error
    except LookupError:
        structlog.get_logger().exception("failed")
        logging.getLogger("some.package").exception("failed")

    for line in lines(log):
        assert line["error"] == "LookupError"
        assert [entry for entry in line["stack"] if " in " not in entry] == ["LookupError", "ValueError"]
    assert CANARY.encode() not in log.getvalue()


def test_our_own_guards_keep_their_message_and_cycles_end() -> None:
    first, second = TenantGuardRefused("$out on patients"), ValueError()
    first.__cause__, second.__cause__ = second, first

    assert error_trace(first) == ["TenantGuardRefused: $out on patients", "ValueError"]


def test_objects_and_odd_text_are_logged_without_failing(log: io.BytesIO) -> None:
    structlog.get_logger().info("e", document=SimpleNamespace(name=CANARY), odd="\ud800", big=2**70)
    record = logging.LogRecord("some.package", logging.WARNING, "", 0, "bad %d", ("format",), None)
    logging.getLogger().handlers[0].handle(record)

    first, second = lines(log)
    assert first["document"] == "<SimpleNamespace>"
    assert second["event"] == "unreadable log record"


async def test_a_lost_tasks_error_text_stays_out(log: io.BytesIO) -> None:
    asyncio.get_running_loop().call_exception_handler(
        {"message": "Task exception was never retrieved", "exception": ValueError(CANARY), "future": CANARY}
    )

    (line,) = lines(log)
    assert (line["event"], line["error"]) == ("Task exception was never retrieved", "ValueError")
    assert CANARY.encode() not in log.getvalue()


def test_command_and_access_logs_stay_off_even_at_debug(restored: None) -> None:
    stream = io.BytesIO()
    configure_logging(SimpleNamespace(log_level="debug", environment="test"), stream)
    for name in ("pymongo.command", "uvicorn.access", "httpx", "pymongo.topology"):
        logging.getLogger(name).info(CANARY)

    assert stream.getvalue() == b""


def test_the_level_bounds_what_is_written(restored: None) -> None:
    stream = io.BytesIO()
    configure_logging(SimpleNamespace(log_level="warning", environment="test"), stream)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")

    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_in_development_lines_are_for_people_and_hide_the_same(restored: None) -> None:
    stream = io.BytesIO()
    configure_logging(SimpleNamespace(log_level="info", environment="development"), stream)
    structlog.get_logger().error("failed", password=CANARY, exc_info=ValueError(CANARY))

    text = stream.getvalue().decode()
    assert "failed" in text
    assert "ValueError" in text
    assert CANARY not in text
