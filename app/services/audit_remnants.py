"""What stays of the audit when a clinic is deleted: when, what and how it ended, linked as it was. Nobody's name."""

from __future__ import annotations

from typing import Any

import pymongo
from bson import ObjectId

from app.tenancy.scope import current_scope
from models import AuditEntry, AuditRemnant

Row = dict[str, Any]

PER_DOCUMENT = 1_000
_KEPT = ("seq", "at", "action", "result", "mac")


async def keep_remnants() -> int:
    """Writes down what stays of the audit of the scope's clinic, as far as that is not done; how many entries.

    To be called before the entries are purged. Safe to repeat: it goes on behind the last entry that it kept.
    """
    clinic = current_scope().tenant_id
    kept = 0
    with pymongo.timeout(None):
        while rows := await AuditEntry.rows(
            {"seq": {"$gt": await _reached(clinic)}},
            projection=dict.fromkeys(_KEPT, 1),
            sort=[("seq", 1)],
            limit=PER_DOCUMENT,
        ):
            await _keep(clinic, rows)
            kept += len(rows)
    return kept


async def _reached(clinic: ObjectId) -> int:
    rows = await AuditRemnant.rows({"clinic_id_was": clinic}, sort=[("first_seq", -1)], limit=1)
    return int(rows[0]["last_seq"]) if rows else 0


async def _keep(clinic: ObjectId, rows: list[Row]) -> None:
    """One document; a second run of the same deletion that stores it at this moment stores the same."""
    place = {"clinic_id_was": clinic, "first_seq": rows[0]["seq"]}
    values = {"last_seq": rows[-1]["seq"], "entries": [[row[name] for name in _KEPT] for row in rows]}
    await AuditRemnant.guarded().update_one(place, {"$set": values}, upsert=True)
