"""Writes who did what at a clinic: acts that are named, and what the guard noted of patients' data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from beanie import Document
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import after_commit
from app.services.audit_chain import append
from app.tenancy.scope import Scope, current_scope, open_scope
from app.tenancy.trail import BEGUN, OK, Act, Patients, Touched, Trail
from models import AuditPending
from models.values import now

Row = dict[str, Any]

SWEPT_AT_ONCE = 500
MOST_NAMED = 1_000
"""So many patients are named by one entry; more make several."""


async def record(
    action: str,
    *,
    subject: Document | None = None,
    patients: Sequence[ObjectId] = (),
    session: AsyncClientSession | None = None,
) -> None:
    """Adds an entry for the scope's actor at the scope's clinic. `subject` is named by collection and id.

    With `session` the entry is stored in its transaction, and so if and only if the act is; it joins the chain
    after the commit.
    """
    scope = current_scope()
    named = f"{subject.get_collection_name()}/{subject.id}" if subject is not None else None
    row = _row(scope, action, OK, patients=patients, subject=named, asker=_asker(scope, scope.trail))
    if session is None:
        await append(scope, [row])
        return
    await AuditPending(id=row["_id"], entry={key: value for key, value in row.items() if key != "_id"}).insert(
        session=session
    )
    after_commit(session, scope.tenant_id, partial(_sweep_at, scope))


def new_trail(action: str) -> Trail:
    """The trail of one request; `action` names what it does where no root field does."""
    return Trail(action, announce=_announce, write=_write)


async def _announce(trail: Trail, act: Act, touched: Touched, named: Patients) -> None:
    await append(touched.scope, _rows(trail, act, touched, BEGUN, named))


async def _write(trail: Trail, acts: Sequence[Act]) -> None:
    """One entry per act and clinic, those of one clinic in one go."""
    clinics: dict[ObjectId, list[_Telling]] = {}
    for act in acts:
        for touched in act.touched.values():
            if touched.written != touched.as_told(act.result):
                telling = _Telling(act, touched, touched.as_told(act.result), dict(touched.fresh))
                clinics.setdefault(touched.scope.tenant_id, []).append(telling)
    for tellings in clinics.values():
        rows = [row for one in tellings for row in _rows(trail, one.act, one.touched, one.act.result, one.patients)]
        await append(tellings[0].touched.scope, rows)
        for one in tellings:
            one.touched.written = one.state
            one.touched.tell(one.patients)


@dataclass(frozen=True, slots=True)
class _Telling:
    """What is about to be told. A list that is sent in parts names in each entry the patients of that part."""

    act: Act
    touched: Touched
    state: tuple[str, int, int]
    patients: Patients


def _rows(trail: Trail, act: Act, touched: Touched, result: str, named: Patients) -> list[Row]:
    patients = [named[one] for one in sorted(named)]
    parts = [patients[at : at + MOST_NAMED] for at in range(0, len(patients), MOST_NAMED)] or [[]]
    asker = _asker(touched.scope, trail)
    return [
        _row(touched.scope, act.action, result, patients=part, collections=sorted(touched.collections), asker=asker)
        for part in parts
    ]


def _asker(scope: Scope, trail: Trail | None) -> Scope:
    """The scope of whoever asks: another clinic's that was opened in a request names nobody itself."""
    named = scope.actor is not None or scope.patient is not None
    return scope if named or trail is None or trail.asker is None else trail.asker


def _row(
    scope: Scope,
    action: str,
    result: str,
    *,
    patients: Sequence[ObjectId] = (),
    collections: Sequence[str] = (),
    subject: str | None = None,
    asker: Scope | None = None,
) -> Row:
    """An entry before it is linked. `asker` is the scope of the request where another clinic's was opened in it."""
    asker = asker or scope
    actor, patient = asker.actor, asker.patient
    crossed = asker.tenant is not None and scope.tenant is not None and asker.tenant.id != scope.tenant.id
    return {
        "_id": ObjectId(),
        "at": now(),
        "user_id": actor.user_id if actor and not crossed else None,  # a clinic is not told another's people
        "by_patient": patient.patient_id if patient and not actor else None,
        "operator_entry": actor.entry_id if actor and not crossed else None,
        "crossed": crossed,
        "action": action,
        "result": result,
        "patient_ids": list(patients),
        "collections": list(collections),
        "subject": subject,
        "request_id": scope.request_id,
        "address": "" if crossed else scope.address,  # an address would tell which clinic
    }


async def _sweep_at(scope: Scope) -> None:
    with open_scope(scope):
        await sweep()


async def sweep() -> int:
    """Brings the scope's clinic's pending entries into its chain; how many there were.

    Safe to repeat and to run twice at once: an entry keeps its id, and the chain takes each id once.
    """
    swept = 0
    while rows := await AuditPending.rows({}, sort=[("_id", 1)], limit=SWEPT_AT_ONCE):
        await append(current_scope(), [{"_id": row["_id"], **row["entry"]} for row in rows])
        await AuditPending.guarded().delete_many({"_id": {"$in": [row["_id"] for row in rows]}})
        swept += len(rows)
    return swept
