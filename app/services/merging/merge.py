"""Merging: in one transaction the duplicate's documents become the survivor's, and the duplicate leaves this clinic.

Either all of it is done or none, so there is nothing in between to be seen or to be repaired. A request that had looked
at the duplicate before and writes after the commit is followed: see `following`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import after_commit, in_transaction
from app.errors import Conflict
from app.services.audit import record
from app.services.changes import Row, build, row_of
from app.services.idempotency import mark_of, once
from app.services.merging import snapshot
from app.services.merging.choices import Choices, Outcome, combined
from app.services.merging.files import Pair, check_versions, read_pair
from app.services.merging.following import follow
from app.services.merging.moving import SECONDS, move, packed
from app.services.merging.obstacles import claims_of_both, collisions, own_claims, refuse_obstructed
from app.tenancy.scope import current_scope
from models import Appointment, Patient, PatientMerge
from models.appointment import RequestMark
from models.patient import RecordStatus
from models.values import now

LATER = timedelta(milliseconds=1)


async def merge(values: Mapping[str, Any], choices: Choices, *, key: str | None = None) -> Row:
    """Merges `duplicate_id` into `survivor_id`; answers with the merge's row.

    `values`: both ids, the versions of both files (see `files.VERSIONS`) and a `reason`. Raises VALIDATION_FAILED,
    NOT_FOUND and CONFLICT at `input.…`, INVALID_STATE that names all that is in the way or for one who was merged
    before, and IDEMPOTENCY_CONFLICT for a used `key` with another input.
    """
    mark = mark_of("mergePatients", key, {**values, "choices": sorted(f"{a}:{b}" for a, b in choices.items())})
    work = partial(_merge, values, choices, mark)
    try:
        return await once(PatientMerge, mark, lambda: in_transaction(work, seconds=SECONDS))
    except DuplicateKeyError:  # what stood in nobody's way when it was looked for
        raise Conflict from None


async def _merge(
    values: Mapping[str, Any], choices: Choices, mark: RequestMark | None, session: AsyncClientSession
) -> Row:
    pair = await read_pair(values["survivor_id"], values["duplicate_id"], at="input.", session=session)
    made = _made(pair, values["reason"], mark)  # what is wrong with the input comes before what is in the way
    check_versions(pair, values)
    outcome = combined(pair, choices)
    await refuse_obstructed(pair, session)
    return row_of(await _carry_out(made, pair, outcome, session))


def _made(pair: Pair, reason: str, mark: RequestMark | None) -> PatientMerge:
    actor = current_scope().signed_in
    made: PatientMerge = build(
        PatientMerge,
        {
            "id": ObjectId(),
            "patient_id": pair.survivor.id,
            "into_id": str(pair.survivor.id),
            "former_id": str(pair.duplicate.id),
            "former_code": pair.duplicate.code,
            "reason": reason,
            "merged_by": actor.user_id,
            "person_name": actor.name[:200],
            "archived": pair.duplicate.record["status"] == RecordStatus.ARCHIVED.value,
            "patient": pair.duplicate.patient,
            "requests": [mark] if mark else [],
        },
    )
    return made


async def _carry_out(made: PatientMerge, pair: Pair, outcome: Outcome, session: AsyncClientSession) -> PatientMerge:
    survivor, duplicate = pair.survivor, pair.duplicate
    made.before, made.after = snapshot.before(survivor, outcome), snapshot.after(outcome)
    await snapshot.write(survivor, outcome, session)
    made.kept = await snapshot.take_out(duplicate, survivor, session)
    made.dropped = await _drop_claims(pair, session)
    moved = await move(duplicate.id, survivor.id, session)
    made.moved = {name: packed(ids) for name, ids in moved.items()}
    made.merged_at = await _in_order(survivor.id, session)
    await Patient.guarded().leave(duplicate.id, session=session)
    await made.insert(session=session)
    await record("patient.merge", subject=made, patients=[survivor.id, duplicate.id], session=session)
    after_commit(session, ("merge", made.id), partial(follow, made.key))
    return made


async def _drop_claims(pair: Pair, session: AsyncClientSession) -> list[Any]:
    """Lets go of what past appointments of the duplicate claim for the patient at times that the survivor's claim too.

    Two at once in the past are as they are, and nobody is booked there any more. Those to come are an obstacle.
    """
    dropped = []
    for row, _ in collisions(*await claims_of_both(pair, session)):
        own = own_claims(row, pair.duplicate.id)
        left = [claim for claim in row["claims"] if claim not in own]
        await Appointment.guarded().update_one(
            {"_id": row["_id"], "patient_id": pair.duplicate.id}, {"$set": {"claims": left}}, session=session
        )
        dropped.append({"appointment_id": row["_id"], "claims": own})
    return dropped


async def _in_order(patient_id: ObjectId, session: AsyncClientSession) -> datetime:
    """A time behind that of every other merge that the survivor now stands for, whatever the clocks say: merges are
    undone in the opposite order."""
    latest = await PatientMerge.rows(
        {"patient_id": patient_id}, projection=["merged_at"], sort=[("merged_at", -1)], limit=1, session=session
    )
    behind: list[datetime] = [row["merged_at"] + LATER for row in latest]
    return max([now(), *behind])
