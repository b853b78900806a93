"""The queue: who waits for what, who is called next, and what must not happen when many call at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId

from app.config import Settings
from app.jobs.runs import run_job
from app.tenancy.crossing import tenant_scope
from models import QueueEntry
from models.queue import ACTIVE_VALUES
from models.values import now
from tests.fixtures.clinics import Clinic
from tests.fixtures.desks import Desk, OpenDesk, day_ahead
from tests.resolvers.queue_calls import LOG, WAITS, done, say, waiting


def queue_of(desk: Desk) -> dict[str, str]:
    """The queue of the desk's own doctor."""
    return {"doctorId": desk.doctor}


async def enqueue(desk: Desk, **more: Any) -> Any:
    patient = more.pop("patientId", None) or await desk.new_patient()
    return await done(desk.client, "enqueuePatient", patientId=patient, **{"queue": queue_of(desk), **more})


async def test_patients_are_called_in_the_order_of_coming_and_urgent_ones_before_them(desk: Desk) -> None:
    first, second = await enqueue(desk), await enqueue(desk)
    urgent = await enqueue(desk, priority="URGENT", priorityReason="Chest pain")

    there = await waiting(desk.client, **queue_of(desk))
    called = [await done(desk.client, "callNext", queue=queue_of(desk)) for _ in range(4)]

    assert [one["id"] for one in there] == [urgent["id"], first["id"], second["id"]]
    assert [one["place"]["position"] for one in there] == [1, 2, 3]
    assert urgent["priorityReason"] == "Chest pain"
    assert second["ticket"] == first["ticket"] + 1
    assert [one and one["id"] for one in called] == [urgent["id"], first["id"], second["id"], None]
    assert called[0]["status"] == "CALLED"
    assert called[0]["place"] is None


async def test_of_twenty_who_call_at_once_one_gets_the_only_patient(desk: Desk) -> None:
    entry = await enqueue(desk)

    answers = await asyncio.gather(*(say(desk.client, "callNext", queue=queue_of(desk)) for _ in range(20)))

    got = [one.data["callNext"] for one in answers]
    assert [one["id"] for one in got if one] == [entry["id"]]


async def test_of_twenty_who_call_at_once_each_gets_somebody_else(desk: Desk) -> None:
    entries = [await enqueue(desk) for _ in range(12)]

    answers = await asyncio.gather(*(say(desk.client, "callNext", queue=queue_of(desk)) for _ in range(20)))

    got = [one.data["callNext"]["id"] for one in answers if one.data["callNext"]]
    assert sorted(got) == sorted(one["id"] for one in entries)


async def test_a_patient_is_in_a_queue_once_however_often_they_are_put_there(desk: Desk) -> None:
    asked = {"patientId": desk.patient, "queue": queue_of(desk)}

    answers = await asyncio.gather(*(say(desk.client, "enqueuePatient", **asked) for _ in range(20)))

    assert Counter(code for answer in answers for code in answer.codes) == {"CONFLICT": 19}
    assert len(await waiting(desk.client, **queue_of(desk))) == 1
    elsewhere = await done(desk.client, "enqueuePatient", patientId=desk.patient, queue={"desk": "Blood samples"})
    assert elsewhere["desk"] == "Blood samples"


async def test_tickets_of_a_day_are_given_out_once(desk: Desk) -> None:
    patients = [await desk.new_patient() for _ in range(20)]

    entries = await asyncio.gather(*(enqueue(desk, patientId=patient) for patient in patients))

    assert len({one["ticket"] for one in entries}) == 20
    assert {one["day"] for one in entries} == {str(day_ahead(0))}


async def test_a_turn_from_waiting_to_done_with_who_did_what(desk: Desk) -> None:
    room = await desk.new_room()
    entry = await enqueue(desk)
    await done(desk.client, "callNext", queue=queue_of(desk), callRoomId=room)
    again = await done(desk.client, "recallQueueEntry", id=entry["id"])
    served = await done(desk.client, "startService", id=entry["id"], version=again["version"])
    finished = await done(desk.client, "finishService", id=entry["id"])

    assert (again["calls"], again["callRoom"]["id"]) == (2, room)
    assert served["startedAt"]
    assert [step["status"] for step in finished["history"]] == ["WAITING", "CALLED", "CALLED", "IN_SERVICE", "DONE"]
    assert finished["history"][-1]["by"]["name"] == "Receptionist Person"
    assert await waiting(desk.client, **queue_of(desk)) == []


async def test_somebody_passed_over_may_turn_up_after_all(desk: Desk) -> None:
    entry = await enqueue(desk)
    early = await say(desk.client, "recallQueueEntry", id=entry["id"])
    await done(desk.client, "callNext", queue=queue_of(desk))
    skipped = await done(desk.client, "skipQueueEntry", id=entry["id"], reason="Did not answer")

    back = await done(desk.client, "recallQueueEntry", id=entry["id"])

    assert early.codes == ["INVALID_STATE"]
    assert skipped["history"][-1]["reason"] == "Did not answer"
    assert back["status"] == "CALLED"
    assert back["calledAt"] == skipped["calledAt"], "how long they have waited is told by the first call"


async def test_whoever_was_passed_over_and_waits_anew_is_not_called_twice(desk: Desk) -> None:
    entry = await enqueue(desk, patientId=desk.patient)
    await done(desk.client, "callNext", queue=queue_of(desk))
    await done(desk.client, "skipQueueEntry", id=entry["id"])
    await enqueue(desk, patientId=desk.patient)

    assert (await say(desk.client, "recallQueueEntry", id=entry["id"])).codes == ["CONFLICT"]


@pytest.mark.parametrize("step", ["startService", "finishService", "skipQueueEntry"])
async def test_a_step_that_may_not_follow_names_those_that_may(desk: Desk, step: str) -> None:
    entry = await enqueue(desk)

    answer = await say(desk.client, step, id=entry["id"])

    assert answer.codes == ["INVALID_STATE"]
    assert "WAITING. What may follow: CALLED, LEFT, TRANSFERRED." in answer.errors[0]["message"]


async def test_who_is_sent_on_before_being_served_keeps_ticket_and_place(desk: Desk, open_desk: OpenDesk) -> None:
    other = await open_desk(desk.clinic)
    entry = await enqueue(desk, priority="ELEVATED", priorityReason="Pregnant")
    later = await enqueue(other, priority="ELEVATED", priorityReason="In pain")

    sent = await done(
        desk.client, "transferQueueEntry", id=entry["id"], queue=queue_of(other), reason="Asked for her own doctor"
    )

    assert (sent["ticket"], sent["status"], sent["priority"]) == (entry["ticket"], "WAITING", "ELEVATED")
    assert sent["priorityReason"] == "Pregnant"
    assert [one["id"] for one in await waiting(desk.client, **queue_of(other))] == [sent["id"], later["id"]]
    assert await waiting(desk.client, **queue_of(desk)) == []


async def test_who_was_served_waits_anew_in_the_next_queue(desk: Desk, open_desk: OpenDesk) -> None:
    other = await open_desk(desk.clinic)
    entry = await enqueue(desk)
    await done(desk.client, "callNext", queue=queue_of(desk))
    await done(desk.client, "startService", id=entry["id"])
    first = await enqueue(other)

    sent = await done(desk.client, "transferQueueEntry", id=entry["id"], queue=queue_of(other))
    same = await say(desk.client, "transferQueueEntry", id=sent["id"], queue=queue_of(other))

    assert [one["id"] for one in await waiting(desk.client, **queue_of(other))] == [first["id"], sent["id"]]
    assert same.codes == ["VALIDATION_FAILED"]


async def test_a_transfer_into_a_queue_where_the_patient_waits_already_leaves_them_where_they_are(
    desk: Desk, open_desk: OpenDesk
) -> None:
    other = await open_desk(desk.clinic)
    entry = await enqueue(desk, patientId=desk.patient)
    await done(desk.client, "enqueuePatient", patientId=desk.patient, queue=queue_of(other))

    answer = await say(desk.client, "transferQueueEntry", id=entry["id"], queue=queue_of(other))

    assert answer.codes == ["CONFLICT"]
    assert [one["status"] for one in await waiting(desk.client, **queue_of(desk))] == ["WAITING"]


async def test_priority_needs_a_reason_and_can_be_given_while_somebody_waits(desk: Desk) -> None:
    first, second = await enqueue(desk), await enqueue(desk)
    asked = {"id": second["id"], "version": 1, "priority": "URGENT"}

    refused = await say(desk.client, "prioritiseQueueEntry", **asked)
    raised = await done(desk.client, "prioritiseQueueEntry", **asked, priorityReason="Fainted")
    stale = await say(desk.client, "prioritiseQueueEntry", **asked, priorityReason="Fainted")
    called = await done(desk.client, "callNext", queue=queue_of(desk))
    late = await say(desk.client, "prioritiseQueueEntry", **{**asked, "version": 3}, priorityReason="Fainted")

    assert (refused.codes, refused.paths) == (["VALIDATION_FAILED"], ["input.priorityReason"])
    assert raised["priority"] == "URGENT"
    assert stale.codes == ["CONFLICT"]
    assert called["id"] == second["id"] != first["id"]
    assert late.codes == ["INVALID_STATE"]


async def test_queues_cannot_be_named_two_ways_at_once(desk: Desk) -> None:
    room = await desk.new_room()
    both = {"doctorId": desk.doctor, "roomId": room}

    answer = await say(desk.client, "callNext", queue=both)

    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.queue"])


async def test_wait_times_of_now_and_of_today(make_clinic: Any, open_desk: OpenDesk) -> None:
    desk = await open_desk(await make_clinic())
    served, there = await enqueue(desk), await enqueue(desk)
    await done(desk.client, "callNext", queue=queue_of(desk))
    await done(desk.client, "startService", id=served["id"])
    await done(desk.client, "finishService", id=served["id"])
    moment = now()
    async with tenant_scope(desk.clinic.ref):
        await _times(served, moment, waited=30, took=10)
        await QueueEntry.guarded().update_one(
            {"_id": ObjectId(there["id"])}, {"$set": {"waiting_since": moment - timedelta(minutes=25)}}
        )
    third = await enqueue(desk)

    [wait] = (await desk.client.gql(WAITS)).data["queueWaits"]
    places = {one["id"]: one["place"] for one in await waiting(desk.client, **queue_of(desk))}

    assert wait == {
        "desk": None,
        "waiting": 2,
        "called": 0,
        "inService": 0,
        "served": 1,
        "left": 0,
        "waitingMinutes": 25,
        "averageMinutes": 30,
        "longestMinutes": 30,
        "serviceMinutes": 10,
        "doctor": {"id": desk.doctor},
    }
    assert places[there["id"]] == {"position": 1, "estimatedMinutes": 0}
    assert places[third["id"]] == {"position": 2, "estimatedMinutes": 10}


async def _times(entry: dict[str, Any], end: Any, *, waited: int, took: int) -> None:
    called = end - timedelta(minutes=took)
    times = {"waiting_since": called - timedelta(minutes=waited), "called_at": called, "started_at": called}
    await QueueEntry.guarded().update_one({"_id": ObjectId(entry["id"])}, {"$set": {**times, "finished_at": end}})


async def test_the_log_shows_who_was_there_on_a_day_or_one_patients_turns(desk: Desk) -> None:
    entry = await enqueue(desk, patientId=desk.patient)
    await done(desk.client, "leaveQueue", id=entry["id"], reason="Could not wait")

    for filter in ({"patientId": desk.patient}, {"day": str(day_ahead(0)), "queue": queue_of(desk), "status": "LEFT"}):
        shown = (await desk.client.gql(LOG, filter=filter)).data["queueLog"]["edges"]
        assert [edge["node"]["id"] for edge in shown] == [entry["id"]]
    none = await desk.client.gql(LOG, filter={"day": str(day_ahead(-1)), "queue": queue_of(desk)})
    assert none.data["queueLog"]["edges"] == []


async def test_whoever_was_forgotten_is_taken_out_on_the_next_day_and_not_during_the_night(
    make_clinic: Any, open_desk: OpenDesk, settings: Settings
) -> None:
    desk = await open_desk(await make_clinic())
    forgotten, tonight = await enqueue(desk), await enqueue(desk)
    yesterday, moment = str(day_ahead(-1)), now()
    async with tenant_scope(desk.clinic.ref):
        for entry, hours in ((forgotten, 13), (tonight, 1)):
            since = {"day": yesterday, "waiting_since": moment - timedelta(hours=hours)}
            await QueueEntry.guarded().update_one({"_id": ObjectId(entry["id"])}, {"$set": since})

    await run_job("close-queues", settings)

    assert [one["id"] for one in await waiting(desk.client, **queue_of(desk))] == [tonight["id"]]
    async with tenant_scope(desk.clinic.ref):
        assert await QueueEntry.guarded().count_documents({"status": {"$in": ACTIVE_VALUES}}) == 1


async def test_another_clinics_queue_is_not_there(desk: Desk, open_desk: OpenDesk, clinic_b: Clinic) -> None:
    other = await open_desk(clinic_b)
    entry = await enqueue(desk)

    for step in ("startService", "leaveQueue", "recallQueueEntry"):
        assert (await say(other.client, step, id=entry["id"])).codes == ["NOT_FOUND"]
    assert (await say(other.client, "callNext", queue=queue_of(desk))).codes == ["NOT_FOUND"]
    assert await waiting(other.client, **queue_of(desk)) == []
    assert [one["status"] for one in await waiting(desk.client, **queue_of(desk))] == ["WAITING"]
