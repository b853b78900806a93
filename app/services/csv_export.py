"""Lists as CSV (RFC 4180), read in parts and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Any

from bson import ObjectId

from app.services.appointments import listed
from app.services.care.lists import listed as in_span
from app.services.scheduling.diary import clinic_zone
from models import Appointment, InventoryItem, Patient, PatientRecord, Service, Staff, StockMovement

Row = dict[str, Any]

BATCH = 500
_FORMULA = re.compile("(^|[;\\t\\r\\n])(?=\\s*[=+\\-@|%\uff1d\uff0b\uff0d\uff20])")
"""Where a formula could begin: at the start, or behind what other spreadsheets take for the end of a cell (`;` where
the comma stands in decimals). The signs that begin one have full-width forms."""


def neutral(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula: what begins like one gets an apostrophe before it.

    Source: OWASP, CSV Injection.

    >>> neutral('=HYPERLINK("https://evil.example")')
    '\\'=HYPERLINK("https://evil.example")'
    """
    text = "" if value is None else str(value)
    if isinstance(value, int):  # minus two is a number, whatever it begins with
        return text
    return _FORMULA.sub(r"\1'", text)


def lines(rows: Iterable[Sequence[Any]]) -> bytes:
    """The rows as CSV in UTF-8, each cell neutral."""
    out = io.StringIO()
    csv.writer(out).writerows([neutral(cell) for cell in row] for row in rows)
    return out.getvalue().encode()


PATIENT_COLUMNS = ("code", "familyName", "givenName", "birthDate", "sex", "phone", "email", "city", "registeredAt")


async def patients() -> AsyncIterator[bytes]:
    """The clinic's patients who are not archived, by name."""
    yield b"\xef\xbb\xbf" + lines([PATIENT_COLUMNS])  # the mark by which spreadsheets know UTF-8
    async for rows in _parts(Patient, Patient.active_here(), ["name_key"]):
        kept = await PatientRecord.rows(
            {"patient_id": {"$in": [row["_id"] for row in rows]}}, projection=["patient_id", "code", "created_at"]
        )
        records = {one["patient_id"]: one for one in kept}
        yield lines(_patient(row, records.get(row["_id"], {})) for row in rows)


def _patient(row: Row, record: Row) -> Sequence[Any]:
    return (
        record.get("code"),
        row["family_name"],
        row["given_name"],
        row.get("birth_date"),
        row.get("sex"),
        row.get("phone"),
        row.get("email"),
        (row.get("address") or {}).get("city"),
        _instant(record.get("created_at")),
    )


APPOINTMENT_COLUMNS = ("startsAt", "endsAt", "status", "patientCode", "patient", "doctor", "service", "reason")


async def appointments(start: datetime | None, end: datetime | None) -> AsyncIterator[bytes]:
    """The appointments that start in [start, end), at most 93 days, in the clinic's time."""
    where = listed(day=None, start=start, end=end)
    yield b"\xef\xbb\xbf" + lines([APPOINTMENT_COLUMNS])
    async for rows in _parts(Appointment, where, ["starts_at"]):
        yield lines(await _appointments(rows))


async def _appointments(rows: list[Row]) -> list[Sequence[Any]]:
    people = await _by_id(Patient, {row["patient_id"] for row in rows}, ["given_name", "family_name"])
    doctors = await _by_id(Staff, {row["doctor_id"] for row in rows}, ["name"])
    services = await _by_id(Service, {row.get("service_id") for row in rows}, ["name"])
    kept = await PatientRecord.rows({"patient_id": {"$in": list(people)}}, projection=["patient_id", "code"])
    codes = {one["patient_id"]: one["code"] for one in kept}
    return [
        (
            _local(row["starts_at"]),
            _local(row["ends_at"]),
            row["status"],
            codes.get(row["patient_id"]),
            _name(people.get(row["patient_id"])),
            doctors.get(row["doctor_id"], {}).get("name"),
            services.get(row["service_id"], {}).get("name") if row.get("service_id") else None,
            row.get("reason"),
        )
        for row in rows
    ]


MOVEMENT_COLUMNS = (
    "at",
    "item",
    "kind",
    "quantity",
    "unit",
    "lot",
    "expiresOn",
    "balance",
    "unitCost",
    "currency",
    "reason",
    "reference",
    "by",
)
_SHOWN_OF_MOVEMENTS = (
    "item_id", "kind", "quantity", "lot", "expires_on", "balance", "unit_cost", "reason", "reference", "by", "at"
)  # fmt: skip


async def stock_movements(start: datetime | None, end: datetime | None) -> AsyncIterator[bytes]:
    """What came and went in [start, end), the first first, in the clinic's time. It names no patients."""
    where = in_span("at", start=start, end=end, equal={})
    yield b"\xef\xbb\xbf" + lines([MOVEMENT_COLUMNS])
    async for rows in _parts(StockMovement, where, ["at"], _SHOWN_OF_MOVEMENTS):
        yield lines(await _movements(rows))


async def _movements(rows: list[Row]) -> list[Sequence[Any]]:
    items = await _by_id(InventoryItem, {row["item_id"] for row in rows}, ["name", "unit"])
    people = {row.get("by") for row in rows} - {None}
    staff = await Staff.rows({"user_id": {"$in": list(people)}}, projection=["user_id", "name"])
    names = {one["user_id"]: one["name"] for one in staff}
    return [
        (
            _local(row["at"]),
            items.get(row["item_id"], {}).get("name"),
            row["kind"],
            row["quantity"],
            items.get(row["item_id"], {}).get("unit"),
            row.get("lot"),
            row.get("expires_on"),
            row["balance"],
            (row.get("unit_cost") or {}).get("amount"),
            (row.get("unit_cost") or {}).get("currency"),
            row.get("reason"),
            row.get("reference"),
            names.get(row.get("by")),
        )
        for row in rows
    ]


def _name(patient: Row | None) -> str | None:
    return f"{patient['family_name']}, {patient['given_name']}" if patient else None


async def _by_id(model: Any, ids: set[Any], columns: list[str]) -> dict[ObjectId, Row]:
    wanted = [one for one in ids if one is not None]
    return {row["_id"]: row for row in await model.rows({"_id": {"$in": wanted}}, projection=columns)}


async def _parts(
    model: Any, where: Row, order: list[str], shown: Sequence[str] | None = None
) -> AsyncIterator[list[Row]]:
    """The rows in parts that fit into memory, each read behind the one before; with all columns, or those `shown`."""
    columns = [*order, "_id"]
    after: Row | None = None
    while True:
        beyond = _behind(after, columns) if after else {}
        sort = [(name, 1) for name in columns]
        rows = await model.rows({"$and": [where, beyond]}, projection=shown, sort=sort, limit=BATCH)
        if not rows:
            return
        yield rows
        after = rows[-1]


def _behind(row: Row, columns: list[str]) -> Row:
    """The filter for what comes after `row` in this order."""
    return {
        "$or": [
            {**{name: row[name] for name in columns[:at]}, column: {"$gt": row[column]}}
            for at, column in enumerate(columns)
        ]
    }


def _local(moment: datetime) -> str:
    return moment.astimezone(clinic_zone()).isoformat(timespec="minutes")


def _instant(moment: datetime | None) -> str | None:
    return _local(moment) if moment else None
