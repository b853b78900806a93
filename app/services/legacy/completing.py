"""What a clinic needs beside the documents that it was given: a record of each patient, and counters that go on."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from pymongo.errors import DuplicateKeyError

from app.services.counters import next_numbers
from app.services.settings import clinic_settings
from app.services.watching import Report
from models import (
    Counter,
    CreditNote,
    Imaging,
    Invoice,
    LabOrder,
    Patient,
    PatientRecord,
    Payment,
    Prescription,
    Quote,
    Ticket,
)
from models.values import now

Row = dict[str, Any]
BATCH = 500


NUMBERED: tuple[tuple[str, Any, str], ...] = (
    ("patient_code", PatientRecord, "code"),
    ("quote", Quote, "number"),
    ("invoice", Invoice, "number"),
    ("credit_note", CreditNote, "number"),
    ("receipt", Payment, "number"),
    ("prescription", Prescription, "number"),
    ("lab_orders", LabOrder, "number"),
    ("imaging", Imaging, "number"),
    ("ticket", Ticket, "number"),
)
"""Running number → where documents bear it."""
_BORNE = re.compile(r"(?:[A-Z][A-Z0-9]*-)?(\d{1,9})")


async def complete_clinic(report: Report) -> None:
    """For the clinic in scope; safe to repeat."""
    for name, model, column in NUMBERED:
        await _count_on(name, model, column)
    await _add_records(report)


async def _count_on(name: str, model: Any, column: str) -> None:
    """No number is given out that a document from before already bears."""
    highest = 0
    async for rows in _pages(model, {column: 1}):
        matches = (_BORNE.fullmatch(str(row.get(column))) for row in rows)
        highest = max([highest, *(int(match[1]) for match in matches if match)])
    if highest:
        await _raise_counter(name, highest)


async def _raise_counter(name: str, least: int) -> None:
    """Makes the clinic's running number go on behind `least`."""
    for _ in range(2):
        with suppress(DuplicateKeyError):  # two firsts at once: the next try finds the counter
            await Counter.guarded().update_one({"name": name}, {"$max": {"value": least}}, upsert=True)
            return


async def _add_records(report: Report) -> None:
    """A record, with the next code, for each patient who has none here."""
    prefix = (await clinic_settings()).patient_code_prefix
    async for rows in _pages(Patient, {"created_at": 1}):
        ids = [row["_id"] for row in rows]
        kept = await PatientRecord.rows({"patient_id": {"$in": ids}}, projection={"patient_id": 1})
        known = {one["patient_id"] for one in kept}
        missing = [row for row in rows if row["_id"] not in known]
        if not missing:
            continue
        numbers = await next_numbers("patient_code", len(missing))
        for row, number in zip(missing, numbers, strict=True):
            with suppress(DuplicateKeyError):  # somebody has just made it
                await PatientRecord(
                    patient_id=row["_id"], code=f"{prefix}-{number:06d}", created_at=row.get("created_at") or now()
                ).insert()
        report(PatientRecord.guarded_name(), len(missing))


async def _pages(model: Any, columns: Row) -> AsyncIterator[list[Row]]:
    """The clinic's rows in parts, by id."""
    after: Row = {}
    while rows := await model.rows(after, projection=columns, sort=[("_id", 1)], limit=BATCH):
        yield rows
        after = {"_id": {"$gt": rows[-1]["_id"]}}
