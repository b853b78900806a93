"""The day of docs/guide/reception.md, walked with the operations of that page."""

from __future__ import annotations

from datetime import timedelta

import pytest
from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from models import QueueEntry
from models.values import now
from tests.fixtures.clinics import MakeClinic
from tests.fixtures.desks import OpenDesk, day_ahead, instant, wall
from tests.guide.page import Page

ANA = {"givenName": "Ana", "familyName": "García", "birthDate": "1984-03-09", "phone": "+1 212 555 0143"}


@pytest.mark.usefixtures("days_early")
async def test_the_day_at_the_reception(make_clinic: MakeClinic, open_desk: OpenDesk) -> None:
    page, desk = Page("reception"), await open_desk(await make_clinic())
    client, queue = desk.client, {"doctorId": desk.doctor}

    # somebody comes in without an appointment
    daughter = await page.told(client, "Register", patient={**ANA, "givenName": "Eva", "birthDate": "2012-05-01"})
    warned = await page.told(client, "Known", patient=ANA)
    refused = await page.ask(client, "Register", patient={**ANA, "confirmedDuplicates": []})
    ana = await page.told(client, "Register", patient={**ANA, "confirmedDuplicates": [daughter["id"]]})
    assert [one["id"] for one in warned] == [daughter["id"]]
    assert (refused.codes, refused.paths) == (["CONFLICT"], ["input.confirmedDuplicates"])
    assert refused.errors[0]["extensions"]["possibleDuplicates"] == [daughter["id"]]
    assert (daughter["record"]["code"], ana["record"]["code"]) == ("P-000001", "P-000002")

    # a ticket and a place in the queue
    first = await page.told(client, "Wait", input={"patientId": ana["id"], "queue": queue})
    twice = await page.ask(client, "Wait", input={"patientId": ana["id"], "queue": queue})
    assert (first["ticket"], first["place"]) == (1, {"position": 1, "estimatedMinutes": 0})
    assert twice.codes == ["CONFLICT"]

    # somebody comes for an appointment
    booked = await desk.booked(wall(9))
    came = await page.told(client, "Arrive", input={"id": booked["id"], "waiting": {}})
    assert came["status"] == "CHECKED_IN"
    assert came["queueEntries"]["edges"][0]["node"]["ticket"] == 2

    # somebody is to come each week, and cannot on one of the days
    rule = {"frequency": "WEEKLY", "count": 4}
    asked = {"patientId": ana["id"], "doctorId": desk.doctor, "startsAt": wall(9), "rule": rule}
    looked = await page.told(client, "Look", input=asked)
    series = await page.told(client, "Series", input={**asked, "onObstacle": "SKIP"})
    coming = [edge["node"] for edge in series["appointments"]["edges"]]
    assert (looked["free"], looked["obstructed"], looked["dates"][0]["obstacle"]) == (3, 1, "TAKEN")
    assert instant(looked["dates"][0]["alternatives"][0]) == instant(wall(9, 15))
    assert [one["startsAt"] for one in series["skipped"]] == [looked["dates"][0]["startsAt"]]
    moved = {"appointmentId": coming[1]["id"], "version": 1, "scope": "THIS_AND_FOLLOWING"}
    rest = await page.told(client, "Move", input={**moved, "startsAt": wall(11, day=day_ahead(21))})
    assert [instant(edge["node"]["startsAt"]) for edge in rest["appointments"]["edges"]] == [
        instant(wall(11, day=day_ahead(days))) for days in (21, 28)
    ]
    over = await page.told(
        client, "CallOff", input={**moved, "version": 2, "scope": "THIS_AND_FOLLOWING", "reason": "Moves away"}
    )
    assert [edge["node"]["status"] for edge in over["appointments"]["edges"]] == ["CANCELLED", "CANCELLED"]

    # a third one must not wait
    urgent = {"patientId": daughter["id"], "queue": queue, "priority": "URGENT", "priorityReason": "Cannot breathe"}
    await page.told(client, "Wait", input=urgent)
    there = await page.told(client, "Waiting", filter={"queue": queue})
    assert [edge["node"]["ticket"] for edge in there["edges"]] == [3, 1, 2]

    # called to a room, served, sent on
    room = await desk.new_room()
    called = await page.told(client, "Next", input={"queue": queue, "callRoomId": room})
    assert (called["ticket"], called["status"]) == (3, "CALLED")
    assert called["callRoom"]["name"].startswith("Room")
    await page.told(client, "Begin", input={"id": called["id"], "version": called["version"]})
    done = await page.told(client, "End", input={"id": called["id"]})
    over = await page.ask(client, "End", input={"id": called["id"]})
    assert done["status"] == "DONE"
    assert over.errors[0]["message"] == "The queue entry is DONE. What may follow: nothing."
    sent = await page.told(client, "SendOn", input={"id": first["id"], "queue": {"desk": "Blood samples"}})
    assert (sent["ticket"], sent["status"], sent["desk"]) == (1, "WAITING", "Blood samples")

    # another leaves
    gone = await page.told(client, "Leave", input={"id": sent["id"], "reason": "Could not wait"})
    assert [step["reason"] for step in gone["history"]] == [None, "Could not wait"]

    # the appointment's end
    second = await page.told(client, "Next", input={"queue": queue})
    await page.told(client, "Begin", input={"id": second["id"]})
    seen = await page.told(client, "Seen", input={"id": booked["id"]})
    empty = await page.told(client, "Next", input={"queue": queue})
    assert (seen["status"], empty) == ("FULFILLED", None)

    # how long people wait
    async with tenant_scope(desk.clinic.ref):
        called_at = now() - timedelta(minutes=12)
        since = {"waiting_since": called_at - timedelta(minutes=8), "called_at": called_at, "started_at": called_at}
        await QueueEntry.guarded().update_one({"_id": ObjectId(called["id"])}, {"$set": since})
    waits = {one["desk"]: one for one in await page.told(client, "Waits")}
    assert (waits[None]["served"], waits[None]["inService"], waits[None]["longestMinutes"]) == (1, 1, 8)
    assert (waits["Blood samples"]["left"], waits["Blood samples"]["waiting"]) == (1, 0)
    assert page.used == page.operations.keys()
