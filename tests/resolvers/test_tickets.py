"""Tickets: numbers, states, who sees to them, and what the patient reads of it."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from models import Ticket
from models.ticket import TRANSITIONS, TicketStatus
from tests.fixtures.clinics import Answer, Client, Clinic, MakeClinic, Server
from tests.fixtures.portal import Visit
from tests.http.document_calls import PDF, uploaded

FIELDS = """id version number status subject category priority byPatient commentCount assignee { id } openedBy { kind }
    history { status reason by { kind } } comments { edges { node { number body internal byPatient } } }"""
OPEN = f"mutation($input: OpenTicketInput!) {{ openTicket(input: $input) {{ {FIELDS} }} }}"
MOVE = f"mutation($input: MoveTicketInput!) {{ moveTicket(input: $input) {{ {FIELDS} }} }}"
UPDATE = f"mutation($input: UpdateTicketInput!) {{ updateTicket(input: $input) {{ {FIELDS} }} }}"
COMMENT = "mutation($input: AddTicketCommentInput!) { addTicketComment(input: $input) { number internal } }"
ONE = f"query($id: ID!) {{ ticket(id: $id) {{ {FIELDS} }} }}"
LIST = "query($filter: TicketFilter) { tickets(filter: $filter) { edges { node { number } } } }"
TOLD = "{ notifications { edges { node { kind ticketId } } } }"
PORTAL = "{ patientTickets { edges { node { id number status } } } patientNotifications { edges { node { kind } } } }"
PORTAL_OPEN = "mutation($input: PatientOpenTicketInput!) { patientOpenTicket(input: $input) { id number } }"
PORTAL_COMMENTS = """query($id: ID!) { patientTicketComments(ticketId: $id) {
    edges { node { body byPatient attachments { title } } } } }"""
PORTAL_COMMENT = "mutation($input: PatientAddTicketCommentInput!) { patientAddTicketComment(input: $input) { body } }"


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture
async def admin(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic)


async def opened(client: Client, **more: Any) -> dict[str, Any]:
    asked = {"subject": "Printer", "body": "It jams.", **more}
    shown: dict[str, Any] = (await client.gql(OPEN, input=asked)).data["openTicket"]
    return shown


async def moved(client: Client, ticket: dict[str, Any], status: str, **more: Any) -> Answer:
    return await client.gql(MOVE, input={"id": ticket["id"], "version": ticket["version"], "status": status, **more})


async def test_a_ticket_is_opened_given_written_on_and_closed(server: Server, admin: Client, clinic: Clinic) -> None:
    nurse = await server.sign_in(clinic, "nurse")
    made = await opened(admin, category="EQUIPMENT", priority="HIGH", assigneeId=str(clinic.staff["nurse"].id))
    assert (made["number"], made["status"], made["openedBy"]) == (1, "OPEN", {"kind": "ADMIN"})
    told = (await nurse.gql(TOLD)).data["notifications"]["edges"]
    assert [(one["node"]["kind"], one["node"]["ticketId"]) for one in told] == [
        ("TICKET_COMMENT", made["id"]),
        ("TICKET_ASSIGNED", made["id"]),
    ]

    await nurse.gql(COMMENT, input={"ticketId": made["id"], "body": "Paper ordered."})
    waiting = (await moved(nurse, made, "PENDING", reason="Paper")).data["moveTicket"]
    solved = (await moved(nurse, waiting, "SOLVED")).data["moveTicket"]
    closed = (await moved(nurse, solved, "CLOSED")).data["moveTicket"]
    assert [(one["status"], one["reason"]) for one in closed["history"]] == [
        ("OPEN", None), ("PENDING", "Paper"), ("SOLVED", None), ("CLOSED", None)
    ]  # fmt: skip
    assert [one["node"]["body"] for one in closed["comments"]["edges"]] == ["It jams.", "Paper ordered."]
    late = await nurse.gql(COMMENT, input={"ticketId": made["id"], "body": "More"})
    assert late.codes == ["INVALID_STATE"]
    assert (await admin.gql(UPDATE, input={"id": made["id"], "version": 4, "priority": "LOW"})).codes == [
        "INVALID_STATE"
    ]


@pytest.mark.parametrize(
    ("source", "target"),
    [pair for pair in product(TicketStatus, TicketStatus) if pair[1] not in TRANSITIONS[pair[0]]],
)
async def test_a_step_that_may_not_follow_is_refused_with_those_that_may(
    admin: Client, clinic: Clinic, source: TicketStatus, target: TicketStatus
) -> None:
    made = await opened(admin)
    async with tenant_scope(clinic.ref):
        await Ticket.guarded().update_one({"_id": ObjectId(made["id"])}, {"$set": {"status": source.value}})
    answer = await moved(admin, made, target.name)
    assert answer.codes == ["INVALID_STATE"]
    assert all(one.name in answer.errors[0]["message"] for one in TRANSITIONS[source])


async def test_twenty_at_once_get_twenty_numbers(admin: Client, clinic: Clinic) -> None:
    answers = await asyncio.gather(*(admin.gql(OPEN, input={"subject": "x", "body": "y"}) for _ in range(20)))
    numbers = [answer.data["openTicket"]["number"] for answer in answers if not answer.errors]
    assert len(set(numbers)) == len(numbers)
    assert {code for answer in answers for code in answer.codes} <= {"UNAVAILABLE"}
    async with tenant_scope(clinic.ref):
        assert sorted(row["number"] for row in await Ticket.rows({})) == sorted(numbers)


async def test_of_twenty_who_move_one_ticket_one_does(admin: Client) -> None:
    made = await opened(admin)
    answers = await asyncio.gather(*(moved(admin, made, "SOLVED") for _ in range(20)))
    assert sorted(len(answer.errors) for answer in answers) == [0] + [1] * 19


async def test_tickets_are_listed_by_state_and_who_sees_to_them(admin: Client, clinic: Clinic) -> None:
    nurse = str(clinic.staff["nurse"].id)
    first = await opened(admin, assigneeId=nurse)
    await opened(admin, assigneeId=nurse)
    await opened(admin)
    await moved(admin, first, "SOLVED")

    async def numbers(**filter: Any) -> list[int]:
        edges = (await admin.gql(LIST, filter=filter)).data["tickets"]["edges"]
        return [edge["node"]["number"] for edge in edges]

    assert await numbers() == [3, 2, 1]
    assert await numbers(assigneeId=nurse) == [2, 1]
    assert await numbers(assigneeId=nurse, status="OPEN") == [2]
    assert await numbers(unassigned=True) == [3]
    assert await numbers(status="SOLVED") == [1]


async def test_a_patient_reads_what_is_written_for_them(
    server: Server, admin: Client, clinic: Clinic, visit: Visit
) -> None:
    vera, other = await visit(clinic), await visit(clinic)
    made = (await vera.asks(PORTAL_OPEN, input={"subject": "Bill", "body": "Too much"}))["patientOpenTicket"]
    await opened(admin, subject="About her", patientId=str(vera.patient_id))
    letter = await uploaded(admin, PDF, "letter.pdf", patientId=str(vera.patient_id))
    answers = {"body": "We look into it.", "documentIds": [letter["id"]]}
    await admin.gql(COMMENT, input={"ticketId": made["id"], **answers})
    await admin.gql(COMMENT, input={"ticketId": made["id"], "body": "She is right.", "internal": True})
    await vera.asks(PORTAL_COMMENT, input={"ticketId": made["id"], "body": "Thanks"})

    portal = await vera.asks(PORTAL)
    assert [one["node"]["number"] for one in portal["patientTickets"]["edges"]] == [made["number"]]
    assert [one["node"]["kind"] for one in portal["patientNotifications"]["edges"]] == ["TICKET_COMMENT"]
    read = (await vera.asks(PORTAL_COMMENTS, id=made["id"]))["patientTicketComments"]["edges"]
    assert [one["node"]["body"] for one in read] == ["Thanks", "We look into it.", "Too much"]
    assert read[1]["node"]["attachments"] == [{"title": "letter"}]

    assert (await other.asks(PORTAL_COMMENTS, id=made["id"]))["patientTicketComments"]["edges"] == []
    refused = await other.client.gql(PORTAL_COMMENT, input={"ticketId": made["id"], "body": "x"})
    assert (refused.codes, refused.paths) == (["NOT_FOUND"], ["input.ticketId"])


async def test_documents_come_along_by_the_right_to_read_them(server: Server, admin: Client, clinic: Clinic) -> None:
    letter = await uploaded(admin, PDF)
    accountant = await server.sign_in(clinic, "accountant")
    refused = await accountant.gql(OPEN, input={"subject": "x", "body": "y", "documentIds": [letter["id"]]})
    assert refused.codes == ["FORBIDDEN"]
    assert (await opened(admin, documentIds=[letter["id"]]))["commentCount"] == 1


async def test_the_same_key_opens_one(admin: Client) -> None:
    made = await asyncio.gather(*(opened(admin, idempotencyKey="k") for _ in range(5)))
    assert len({one["id"] for one in made}) == 1
