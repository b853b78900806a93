"""Lists of the queue: who is in it now, and who was on a day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.services.changes import Row
from app.services.queue.entries import today
from app.services.queue.places import queue_key
from app.services.scheduling.claims import check_year
from models.queue import ACTIVE, ACTIVE_VALUES

LATEST = [("waiting_since", -1), ("_id", -1)]


def now_in(chosen: Mapping[str, Any]) -> Row:
    """The filter for those who are in a queue now: `queue`, `status`. Raises VALIDATION_FAILED at `filter.queue`."""
    status = chosen.get("status")
    states = ACTIVE_VALUES if status is None else [status.value] if status in ACTIVE else []
    return {**_in(chosen), "status": {"$in": states}}


def of_day(chosen: Mapping[str, Any]) -> Row:
    """The filter for turns of a day or of a patient: `day, queue, status, patient_id`.

    Raises VALIDATION_FAILED at `filter.…`.
    """
    where = _in(chosen)
    day, patient_id, status = chosen.get("day"), chosen.get("patient_id"), chosen.get("status")
    if day is not None:
        check_year(day, "filter.day")
    if status is not None:
        where["status"] = status.value
    if patient_id is not None:
        where["patient_id"] = patient_id
    if day is not None or patient_id is None:
        where["day"] = day.isoformat() if day is not None else today()
    return where


def _in(chosen: Mapping[str, Any]) -> Row:
    return {"queue_key": queue_key(chosen["queue"], at="filter.queue")} if "queue" in chosen else {}
