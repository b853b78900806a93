"""Same key and input: the first answer again. The mark of a request is stored with the change it made, in one write."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any

from pydantic import BaseModel
from pymongo.errors import DuplicateKeyError

from app.errors import AppError, IdempotencyConflict
from app.services.changes import Row, checked
from app.tenancy.scope import current_scope
from models.appointment import RequestMark
from models.values import Line


class _Key(BaseModel):
    idempotency_key: Line


def mark_of(operation: str, key: str | None, values: Mapping[str, Any]) -> RequestMark | None:
    """The mark of a request: whose it is and, as a digest, what it asked for. None for a request without a key.

    Keys belong to one person and one operation. Raises VALIDATION_FAILED at `input.idempotencyKey`.
    """
    if key is None:
        return None
    key = checked(_Key, {"idempotency_key": key})["idempotency_key"]
    text = json.dumps(dict(values), sort_keys=True, default=str)
    return RequestMark(id=f"{operation}:{_person()}:{key}", digest=sha256(text.encode()).hexdigest())


def _person() -> str:
    """Whoever acts: somebody on the staff, else the patient who is signed in."""
    scope = current_scope()
    if scope.actor is None and scope.patient is not None:
        return f"patient-{scope.patient.patient_id}"
    return str(scope.signed_in.user_id)


async def once(model: Any, mark: RequestMark | None, work: Callable[[], Awaitable[Row]]) -> Row:
    """Answers with the row that `work` stores with its mark or, when it did so before, with that row as it is now.

    `model` has `requests` under a unique index. A repeat always fails in `work` (its time is taken, by itself),
    so only failures pay for the look at what was answered before. Raises IDEMPOTENCY_CONFLICT when the key
    came with another input, else what `work` raises.
    """
    try:
        return await work()
    except (AppError, DuplicateKeyError):
        answered = await _answered(model, mark) if mark is not None else None
        if answered is None:
            raise
        return answered


async def _answered(model: Any, mark: RequestMark) -> Row | None:
    rows: list[Row] = await model.rows({"requests.id": mark.id}, limit=1)
    if not rows:
        return None
    if not any(kept["id"] == mark.id and kept["digest"] == mark.digest for kept in rows[0]["requests"]):
        raise IdempotencyConflict
    return rows[0]
