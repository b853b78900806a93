"""Walks `docs/guide/messages.md`."""

from __future__ import annotations

from tests.fixtures.clinics import MakeClinic, Server
from tests.fixtures.portal import Visit
from tests.guide.pages import operations_of
from tests.http.document_calls import PDF, fetch, uploaded

PAGE = operations_of("messages")


async def test_a_day_of_messages(server: Server, make_clinic: MakeClinic, visit: Visit) -> None:
    clinic = await make_clinic()
    doctor, nurse, desk = [await server.sign_in(clinic, role) for role in ("doctor", "nurse", "receptionist")]
    vera, nurse_id = await visit(clinic), str(clinic.staff["nurse"].id)
    walked = set()

    def page(name: str) -> str:
        walked.add(name)
        return PAGE[name]

    # the doctor asks the nurse
    made = (await doctor.gql(page("Ask"), staffIds=[nurse_id])).data["startConversation"]
    assert (await doctor.gql(page("Ask"), staffIds=[nurse_id])).data["startConversation"]["id"] == made["id"]
    assert (made["kind"], made["messageCount"]) == ("STAFF", 1)
    new = (await nurse.gql(page("WhatIsNew"))).data
    assert new["unreadConversations"] == 1
    assert [edge["node"]["unreadCount"] for edge in new["conversations"]["edges"]] == [1]
    assert [edge["node"]["kind"] for edge in new["notifications"]["edges"]] == ["MESSAGE"]
    answered = (await nurse.gql(page("Answer"), id=made["id"])).data
    assert answered == {
        "sendMessage": {"number": 2}, "markConversationRead": {"unreadCount": 0}, "markNotificationsRead": 1
    }  # fmt: skip

    # a patient writes to the clinic
    card = await uploaded(vera.client, PDF, "card.pdf")
    written = (await vera.asks(page("PatientWrites"), documentIds=[card["id"]]))["patientStartConversation"]
    [edge] = (await desk.gql(page("Waiting"))).data["clinicInbox"]["edges"]
    assert edge["node"]["id"] == written["id"]
    [said] = edge["node"]["messages"]["edges"]
    assert said["node"]["attachments"][0]["title"] == "card"
    assert (await fetch(desk, card["id"])).content == PDF
    await desk.gql(page("AnswerPatient"), id=written["id"])
    assert (await desk.gql(page("Waiting"))).data["clinicInbox"]["edges"] == []
    read = await vera.asks(page("PatientReads"))
    assert read["patientConversations"]["edges"][0]["node"]["unreadCount"] == 1
    assert [one["node"]["kind"] for one in read["patientNotifications"]["edges"]] == ["MESSAGE"]

    # something has to be settled
    ticket = (await desk.gql(page("OpenTicket"), assigneeId=nurse_id)).data["openTicket"]
    assert (ticket["number"], ticket["status"]) == (1, "OPEN")
    [edge] = (await nurse.gql(page("MyTickets"), assigneeId=nurse_id)).data["tickets"]["edges"]
    await nurse.gql(page("Comment"), id=edge["node"]["id"])
    for status, reason in (("PENDING", "At the maker's"), ("SOLVED", None), ("CLOSED", None)):
        asked = {"id": ticket["id"], "version": ticket["version"], "status": status, "reason": reason}
        ticket = {**ticket, **(await nurse.gql(page("Move"), **asked)).data["moveTicket"]}
    assert [one["status"] for one in ticket["history"]] == ["OPEN", "PENDING", "SOLVED", "CLOSED"]
    back = {"id": ticket["id"], "version": ticket["version"], "status": "OPEN"}
    assert (await nurse.gql(page("Move"), **back)).codes == ["INVALID_STATE"]

    # how one is told
    chosen = (await nurse.gql(page("Choose"))).data["chooseNotificationChannels"]
    assert chosen == {"email": ["TICKET_ASSIGNED"], "sms": [], "push": ["MESSAGE", "PATIENT_MESSAGE"]}
    assert walked == PAGE.keys()
