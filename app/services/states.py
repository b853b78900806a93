"""Moves documents between their states: each step one atomic comparison of state and version, with a row of history."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import Conflict, InvalidState, NotFound
from app.services.changes import Row, another_version, change_row, checked, storable
from app.tenancy.scope import current_scope
from models.states import Step, before, followers
from models.values import now

MOST_STEPS = 200
"""Steps that one document may have taken; more are no ordinary work."""


def step_to(status: StrEnum, reason: str | None = None) -> Step:
    """The step that whoever acts takes now. Raises VALIDATION_FAILED at `input.reason`."""
    scope = current_scope()
    actor = scope.actor
    return Step(
        by=actor.user_id if actor is not None else None,  # type: ignore[arg-type]
        by_patient=actor is None and scope.patient is not None,
        status=status.value,
        reason=checked(Step, {"reason": reason})["reason"],
    )


async def advance(
    model: Any,
    id: ObjectId,
    version: int | None,
    to: StrEnum,
    *,
    values: Mapping[str, Any] | None = None,
    unset: Iterable[str] = (),
    push: Mapping[str, Any] | None = None,
    state: Mapping[str, Any] | None = None,
    reason: str | None = None,
    at: str = "input.id",
    again: bool = False,
    session: AsyncClientSession | None = None,
) -> Row:
    """Moves the document of that id to the state `to`, setting `values` (checked and storable) in the same step.

    `push` are items that are added to lists. `version` None skips the comparison; `state` is what else must hold; with
    `again` it may be in the state `to` already, and takes the step all the same. Answers with the new row. Raises
    NOT_FOUND at `at`, INVALID_STATE that names what may follow, or CONFLICT at `input.version`.
    """
    allowed = [*before(model.transitions, to), *([to.value] if again else ())]
    asked: Row = {"_id": id, "status": {"$in": allowed}, **(state or {})}
    asked[f"history.{MOST_STEPS - 1}"] = {"$exists": False}
    if version is not None:
        asked["version"] = version
    change: Row = {
        "$set": {**(values or {}), "status": to.value, "updated_at": now()},
        "$inc": {"version": 1},
        "$push": {**(push or {}), "history": storable(step_to(to, reason))},
    }
    if dropped := dict.fromkeys(unset, ""):
        change["$unset"] = dropped
    row: Row | None = await model.guarded().find_one_and_update(
        asked, change, return_document=ReturnDocument.AFTER, session=session
    )
    if row is None:
        raise await _refusal(model, id, version, allowed, at, session)
    return row


async def change_while(
    model: Any,
    states: Collection[StrEnum],
    id: ObjectId,
    version: int,
    values: Mapping[str, Any],
    *,
    session: AsyncClientSession | None = None,
) -> Row:
    """Sets checked `values` on that version of a document that stands in one of `states`; its new row.

    Raises NOT_FOUND at `input.id`, INVALID_STATE that names what may follow, or CONFLICT at `input.version`.
    """
    state = {"status": {"$in": [one.value for one in states]}}
    try:
        return await change_row(model, id, version, values, state=state, session=session)
    except Conflict:
        rows = await model.rows({"_id": id}, projection={"status": 1}, limit=1, session=session)
        if not rows:
            raise NotFound.at("input.id") from None
        status = type(next(iter(states)))(rows[0]["status"])
        raise (another_version() if status in states else refused(model, status)) from None


async def _refusal(
    model: Any,
    id: ObjectId,
    version: int | None,
    allowed: Iterable[str],
    at: str,
    session: AsyncClientSession | None,
) -> Exception:
    """Why the step could not be taken."""
    rows = await model.rows({"_id": id}, projection={"status": 1, "version": 1}, limit=1, session=session)
    if not rows:
        return NotFound.at(at)
    if rows[0]["status"] not in allowed:
        return refused(model, state_of(model, rows[0]))
    if version is not None and rows[0]["version"] != version:
        return another_version()
    return InvalidState(f"The {noun(model)} was changed too often, or what the step needs does not hold any more.")


def state_of(model: Any, row: Row) -> Any:
    """The state in which the document of a row is."""
    return next(state for state in model.transitions if state.value == row["status"])


def refused(model: Any, status: StrEnum) -> InvalidState:
    """INVALID_STATE for a document in this state, with what may follow."""
    steps = ", ".join(followers(model.transitions, status)) or "nothing"
    return InvalidState(f"The {noun(model)} is {status.name}. What may follow: {steps}.")


def require_state(model: Any, row: Row, wanted: StrEnum, why: str) -> None:
    """Raises INVALID_STATE, with what may follow and why, unless the document of the row is in the state `wanted`."""
    if row["status"] != wanted.value:
        raise InvalidState(f"{refused(model, state_of(model, row)).message} {why}")


def noun(model: type[Any]) -> str:
    """What a document is called in a sentence: `queue entry` for QueueEntry."""
    return "".join(f" {one.lower()}" if one.isupper() else one for one in model.__name__).strip()
