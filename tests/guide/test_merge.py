"""The day of docs/guide/merge.md, walked with the operations of that page."""

from __future__ import annotations

from typing import Any

from app.services.merging.obstacles import MergeObstacle
from tests.fixtures.clinics import Client, MakeClinic, Server
from tests.fixtures.desks import CREATE, Desk, OpenDesk, instant, wall
from tests.guide.page import GUIDE, Page
from tests.resolvers.patient_calls import register

BORN = {"givenName": "Ana", "familyName": "García", "birthDate": "1984-03-09"}


async def booked(desk: Desk, patient: dict[str, Any], starts_at: str) -> dict[str, Any]:
    given = {"doctorId": desk.doctor, "patientId": patient["id"], "startsAt": starts_at}
    made: dict[str, Any] = (await desk.client.gql(CREATE, input=given)).data["createAppointment"]
    return made


def input_of(seen: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A merge's input, from what the preview showed."""
    given: dict[str, Any] = {}
    for side in ("survivor", "duplicate"):
        file = seen[side]
        given |= {
            f"{side}Id": file["id"], f"{side}Version": file["version"],
            f"{side}RecordVersion": file["record"]["version"],
        }  # fmt: skip
    return {**given, **more}


async def test_the_day_of_a_duplicate(make_clinic: MakeClinic, open_desk: OpenDesk, server: Server) -> None:
    page, clinic = Page("merge"), await make_clinic()
    desk, other, doctor = await open_desk(clinic), await open_desk(clinic), await server.sign_in(clinic, "doctor")
    survivor = await register(desk.client, **BORN, phone="+1 212 555 0143")
    duplicate = await register(
        desk.client, **BORN, phone="+1 212 555 0199", email="ana@example.com", allergies=[{"substance": "Latex"}]
    )
    await booked(desk, survivor, wall(9))
    theirs = await booked(other, duplicate, wall(9))

    # the duplicate is found
    alike = await page.told(desk.client, "Alike", patient=BORN)
    assert {one["id"] for one in alike} == {survivor["id"], duplicate["id"]}

    # both side by side, and what is in the way
    pair = {"survivorId": survivor["id"], "duplicateId": duplicate["id"]}
    seen = await page.told(desk.client, "Beside", **pair)
    assert (seen["conflicts"], seen["changes"]) == (["PHONE"], ["EMAIL", "ALLERGIES"])
    assert (seen["moves"], seen["demographicsShared"]) == ([{"kind": "appointments", "count": 1}], False)
    [obstacle] = seen["obstacles"]
    assert obstacle["kind"] == "SAME_TIME"
    assert obstacle["message"].endswith(" 09:00): cancel or move one of the appointments.")
    reason = "Same identity card, seen at the desk."
    refused = await page.ask(doctor, "Merge", input=input_of(seen, reason=reason))
    assert refused.codes == ["INVALID_STATE"]
    await other.move(theirs, wall(11))

    # the merge
    choices = [{"field": "PHONE", "take": "DUPLICATE"}]
    given = input_of(seen, reason=reason, choices=choices, idempotencyKey="merge-4711")
    made = await page.told(doctor, "Merge", input=given)
    assert (made["survivor"]["phone"], made["survivor"]["email"]) == ("+1 212 555 0199", "ana@example.com")
    starts = {instant(edge["node"]["startsAt"]) for edge in made["survivor"]["appointments"]["edges"]}
    assert starts == {instant(wall(9)), instant(wall(11))}
    assert (await page.told(doctor, "Merge", input=given))["id"] == made["id"]

    # the old id and the old code
    old = await page.told(desk.client, "Old", id=duplicate["id"])
    assert (old["id"], old["mergedFrom"][0]["code"]) == (survivor["id"], duplicate["record"]["code"])
    found = await page.told(desk.client, "Search", search=duplicate["record"]["code"])
    assert [edge["node"]["id"] for edge in found["edges"]] == [survivor["id"]]
    written = {"doctorId": desk.doctor, "patientId": duplicate["id"], "startsAt": wall(14)}
    assert (await desk.client.gql(CREATE, input=written)).codes == ["NOT_FOUND"]

    # they were two after all
    await _undone(page, doctor, duplicate, survivor)
    assert page.used == page.operations.keys()


async def _undone(page: Page, doctor: Client, duplicate: dict[str, Any], survivor: dict[str, Any]) -> None:
    [edge] = (await page.told(doctor, "Merges", patientId=duplicate["id"]))["edges"]
    merge = edge["node"]
    given = {"id": merge["id"], "version": merge["version"], "reason": "Twin sisters: the card was the other one's."}
    undone = await page.told(doctor, "Undo", input=given)
    assert undone["survivor"] == {"id": survivor["id"], "phone": "+1 212 555 0143", "email": None}
    assert (await page.told(doctor, "Old", id=duplicate["id"]))["id"] == duplicate["id"]
    assert (await page.ask(doctor, "Undo", input={**given, "version": merge["version"] + 1})).codes == ["INVALID_STATE"]


def test_the_page_names_every_obstacle() -> None:
    text = (GUIDE / "merge.md").read_text(encoding="utf-8")
    assert [one.name for one in MergeObstacle if f"| `{one.name}` |" not in text] == []
