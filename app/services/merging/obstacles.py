"""What is in the way of a merge: each names what somebody must settle first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import InvalidState
from app.services.changes import Row
from app.services.merging import moving
from app.services.merging.choices import untold_allergies
from app.services.merging.files import Pair
from app.services.merging.moving import about, claimed_by, movable
from app.services.scheduling.rekey import TOLD, bucket_starts
from app.services.sharing.lending import live_emergency
from models import Appointment, BreakGlass, Erasure, PatientMembership, QueueEntry
from models.erasure import ErasureStatus
from models.patient import RecordStatus
from models.patient_membership import MembershipState
from models.queue import ACTIVE_VALUES
from models.values import now


class MergeObstacle(StrEnum):
    """What is in the way."""

    SURVIVOR_ARCHIVED = "survivor_archived"
    ERASED = "erased"
    SAME_TIME = "same_time"
    SAME_QUEUE = "same_queue"
    TWO_MEMBERSHIPS = "two_memberships"
    EMERGENCY_OPEN = "emergency_open"
    ALLERGIES = "allergies"
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True)
class Found:
    """One obstacle, and in words what must be done about it."""

    kind: MergeObstacle
    message: str


Look = Callable[[Pair, AsyncClientSession | None], Awaitable[str | None]]


async def obstacles(pair: Pair, session: AsyncClientSession | None = None) -> list[Found]:
    """All that is in the way now."""
    found = [(kind, await look(pair, session)) for kind, look in _LOOKS.items()]
    return [Found(kind, message) for kind, message in found if message is not None]


async def refuse_obstructed(pair: Pair, session: AsyncClientSession) -> None:
    """Raises INVALID_STATE that names everything that is in the way."""
    if found := await obstacles(pair, session):
        raise InvalidState("These two cannot be merged now. " + " ".join(one.message for one in found))


async def _archived(pair: Pair, _: AsyncClientSession | None) -> str | None:
    if pair.survivor.record["status"] == RecordStatus.ACTIVE.value:
        return None
    return "The survivor is archived: restore them first."


async def _erased(pair: Pair, session: AsyncClientSession | None) -> str | None:
    partial = {**_of_both(pair), "status": ErasureStatus.PARTIAL.value}
    if not await Erasure.rows(partial, projection={"_id": 1}, limit=1, session=session):
        return None
    return "One of them was erased: what the law holds of them stays by itself."


async def _same_time(pair: Pair, session: AsyncClientSession | None) -> str | None:
    taken = collisions(*await claims_of_both(pair, session))
    ahead = [claim for row, claims in taken if row["ends_at"] > now() for claim in claims]
    if not ahead:
        return None
    times = bucket_starts(tuple(ahead), claimed_by(pair.duplicate.id))
    told = ", ".join(times[:TOLD]) + (", …" if len(times) > TOLD else "")
    return f"Both are booked at the same time ({told}): cancel or move one of the appointments."


async def claims_of_both(pair: Pair, session: AsyncClientSession | None) -> tuple[list[Row], set[str]]:
    """The duplicate's appointments that occupy time, and the times (of claims) that the survivor's occupy."""
    rows = await Appointment.rows(
        {**about(Appointment, pair.duplicate.id), "claims": {"$gt": ""}},
        projection=["claims", "ends_at"],
        session=session,
    )
    return rows, await times_claimed(pair.survivor.id, session)


async def times_claimed(patient_id: ObjectId, session: AsyncClientSession | None) -> set[str]:
    """The buckets that a patient's appointments claim for the patient."""
    occupying = {**about(Appointment, patient_id), "claims": {"$gt": ""}}
    rows = await Appointment.rows(occupying, projection=["claims"], session=session)
    return {claim.rpartition(":")[2] for row in rows for claim in own_claims(row, patient_id)}


def own_claims(row: Row, patient_id: ObjectId) -> list[str]:
    """What an appointment claims for the patient, and not for doctor or room."""
    return [claim for claim in row["claims"] if claim.startswith(f"{claimed_by(patient_id)}:")]


def collisions(rows: Iterable[Row], taken: Collection[str]) -> list[tuple[Row, list[str]]]:
    """Those of the appointments that meet one of the times, with what they claim for their patient there."""
    own = [(row, [claim for claim in row["claims"] if claim.startswith("patient:")]) for row in rows]
    met = [(row, [claim for claim in claims if claim.rpartition(":")[2] in taken]) for row, claims in own]
    return [(row, claims) for row, claims in met if claims]


async def _same_queue(pair: Pair, session: AsyncClientSession | None) -> str | None:
    waiting = {**_of_both(pair), "status": {"$in": ACTIVE_VALUES}}
    rows = await QueueEntry.rows(waiting, projection=["patient_id", "queue_key", "ticket"], session=session)
    queues = [{row["queue_key"] for row in rows if row["patient_id"] == one} for one in _ids(pair)]
    tickets = sorted(str(row["ticket"]) for row in rows if row["queue_key"] in queues[0] & queues[1])
    if not tickets:
        return None
    return f"Both are in the same queue (tickets {', '.join(tickets)}): take one of them out."


async def _two_memberships(pair: Pair, session: AsyncClientSession | None) -> str | None:
    active = {**_of_both(pair), "status": MembershipState.ACTIVE.value}
    if len(await PatientMembership.rows(active, projection=["_id"], session=session)) < 2:
        return None
    return "Both have a membership: cancel one of them."


async def _emergency(pair: Pair, session: AsyncClientSession | None) -> str | None:
    live = {**about(BreakGlass, pair.duplicate.id), **live_emergency()}
    if not await BreakGlass.rows(live, projection=["_id"], limit=1, session=session):
        return None
    return "Emergency access to the duplicate is open: it ends within the hour, or by endBreakGlass."


async def _allergies(pair: Pair, _: AsyncClientSession | None) -> str | None:
    if not pair.shared or not (untold := untold_allergies(pair)):
        return None
    named = ", ".join(one["substance"] for one in untold)
    return (
        f"The duplicate has allergies that the survivor has not ({named}), and other clinics have the survivor too: "
        "write them down with updatePatient first."
    )


async def _too_large(pair: Pair, session: AsyncClientSession | None) -> str | None:
    there = 0
    for model in movable():
        there += await model.guarded().count_documents(about(model, pair.duplicate.id), session=session)
    if there <= moving.MOST:
        return None
    return f"The duplicate has {there} documents, more than {moving.MOST}: make the other one the duplicate."


_LOOKS: dict[MergeObstacle, Look] = {
    MergeObstacle.SURVIVOR_ARCHIVED: _archived,
    MergeObstacle.ERASED: _erased,
    MergeObstacle.SAME_TIME: _same_time,
    MergeObstacle.SAME_QUEUE: _same_queue,
    MergeObstacle.TWO_MEMBERSHIPS: _two_memberships,
    MergeObstacle.EMERGENCY_OPEN: _emergency,
    MergeObstacle.ALLERGIES: _allergies,
    MergeObstacle.TOO_LARGE: _too_large,
}


def _ids(pair: Pair) -> list[ObjectId]:
    return [pair.survivor.id, pair.duplicate.id]


def _of_both(pair: Pair) -> Row:
    """Filter: documents of either."""
    return {"patient_id": {"$in": _ids(pair)}}
