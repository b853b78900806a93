"""Indexes of documents that are about one patient, by one doctor, in a state, and listed by time."""

from __future__ import annotations

from pymongo import ASCENDING, DESCENDING, IndexModel


def by_time(column: str) -> tuple[IndexModel, ...]:
    """The indexes of a list by `column`, the latest first: of all, of a patient, by a doctor, of a status."""
    latest = [(column, DESCENDING), ("_id", DESCENDING)]
    return (
        IndexModel([("tenant_id", ASCENDING), *latest], name="time"),
        IndexModel([("tenant_id", ASCENDING), ("patient_id", ASCENDING), *latest], name="patient_time"),
        IndexModel([("tenant_id", ASCENDING), ("doctor_id", ASCENDING), *latest], name="doctor_time"),
        IndexModel([("tenant_id", ASCENDING), ("status", ASCENDING), *latest], name="status_time"),
    )
