"""Procedures: planned, begun, done, with what was found and how it went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import ObjectId

from app.errors import NotFound, ValidationFailed
from app.services.care.orders import place
from app.services.care.people import actor_id, refuse_future
from app.services.changes import Row, checked
from app.services.states import advance
from models import Procedure
from models.procedure import ProcedureStatus
from models.values import now

_S = ProcedureStatus


async def plan(values: Mapping[str, Any]) -> Row:
    """Plans a procedure for a patient; answers with its row."""
    return await place(Procedure, values)


async def start(procedure_id: ObjectId, version: int) -> Row:
    """It begins. Answers with the new row."""
    values = {"started_at": now(), "performed_by": actor_id()}
    return await advance(Procedure, procedure_id, version, _S.IN_PROGRESS, values=values)


async def end(
    procedure_id: ObjectId, version: int, to: ProcedureStatus, told: Mapping[str, Any], reason: str | None = None
) -> Row:
    """It is done, or was broken off (`to`). Answers with the new row.

    `told`: `findings, outcome, complications, started_at, ended_at`, each if there is something to say. Raises
    VALIDATION_FAILED at `input.…`.
    """
    for name, path in (("started_at", "input.startedAt"), ("ended_at", "input.endedAt")):
        refuse_future(told.get(name), at=path)
    values = {"ended_at": now(), **checked(Procedure, told)}
    began = values.get("started_at") or await _began(procedure_id)
    if began is not None and values["ended_at"] < began:
        raise ValidationFailed.at("input.endedAt", "must not be before it began")
    if began is None:
        values |= {"started_at": values["ended_at"], "performed_by": actor_id()}
    return await advance(Procedure, procedure_id, version, to, values=values, reason=reason)


async def _began(procedure_id: ObjectId) -> Any:
    rows = await Procedure.rows({"_id": procedure_id}, projection=["started_at"], limit=1)
    if not rows:
        raise NotFound.at("input.id")
    return rows[0].get("started_at")


async def step(procedure_id: ObjectId, version: int, to: ProcedureStatus, reason: str) -> Row:
    """It is cancelled, or should never have been entered (`to`). Answers with the new row."""
    return await advance(Procedure, procedure_id, version, to, reason=reason)
