"""Conversations: who may read and answer, what is new to whom, and that nothing is said twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest_asyncio
from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from models import ClinicDocument, Message, Notification
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.portal import Visit
from tests.http.document_calls import PDF, fetch, uploaded

FIELDS = """id kind subject messageCount unreadCount waitingSince participants { id kind } patient { id }
    messages { edges { node { number body byPatient sender { kind } attachments { title documentId } } } }"""
START = f"mutation($input: StartConversationInput!) {{ startConversation(input: $input) {{ {FIELDS} }} }}"
TO_PATIENT = f"mutation($input: WriteToPatientInput!) {{ writeToPatient(input: $input) {{ {FIELDS} }} }}"
SEND = "mutation($input: SendMessageInput!) { sendMessage(input: $input) { id number body } }"
ONE = f"query($id: ID!) {{ conversation(id: $id) {{ {FIELDS} }} }}"
MINE = """query($unread: Boolean! = false) { unreadConversations
    conversations(filter: {unread: $unread}) { edges { node { id unreadCount } } } }"""
INBOX = """query($waiting: Boolean! = false) {
    clinicInbox(filter: {waiting: $waiting}) { totalCount edges { node { id waitingSince } } } }"""
READ = "mutation($input: ConversationInput!) { markConversationRead(input: $input) { unreadCount } }"
LEAVE = "mutation($input: ConversationInput!) { leaveConversation(input: $input) { participants { id } } }"
ADD = "mutation($input: AddParticipantsInput!) { addParticipants(input: $input) { participants { kind } } }"
TOLD = "{ unreadNotifications notifications { edges { node { id kind conversationId readAt } } } }"
PORTAL = """{ patientConversations { edges { node { id subject unreadCount waitingSince
    messages { edges { node { body byPatient sender { name } attachments { contentPath } } } } } } }
    patientNotifications { edges { node { kind } } } }"""
PORTAL_START = """mutation($input: PatientStartConversationInput!) {
    patientStartConversation(input: $input) { id subject messageCount } }"""
PORTAL_SEND = "mutation($input: PatientSendMessageInput!) { patientSendMessage(input: $input) { number body } }"


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


def profile(clinic: Clinic, role: str) -> str:
    return str(clinic.staff[role].id)


async def begun(client: Client, clinic: Clinic, *roles: str, **more: Any) -> dict[str, Any]:
    asked = {"subject": "Gloves", "staffIds": [profile(clinic, role) for role in roles], "body": "None left.", **more}
    shown: dict[str, Any] = (await client.gql(START, input=asked)).data["startConversation"]
    return shown


async def mine(client: Client, **asked: Any) -> dict[str, int]:
    data = (await client.gql(MINE, **asked)).data
    return {edge["node"]["id"]: edge["node"]["unreadCount"] for edge in data["conversations"]["edges"]}


async def test_people_talk_and_see_what_is_new(server: Server, clinic: Clinic) -> None:
    doctor, nurse = await server.sign_in(clinic, "doctor"), await server.sign_in(clinic, "nurse")
    made = await begun(doctor, clinic, "nurse")
    assert (made["kind"], made["messageCount"], made["unreadCount"]) == ("STAFF", 1, 0)
    assert {one["kind"] for one in made["participants"]} == {"DOCTOR", "NURSE"}

    assert await mine(nurse, unread=True) == {made["id"]: 1}
    told = (await nurse.gql(TOLD)).data
    assert [(one["node"]["kind"], one["node"]["conversationId"]) for one in told["notifications"]["edges"]] == [
        ("MESSAGE", made["id"])
    ]
    await nurse.gql(SEND, input={"conversationId": made["id"], "body": "Ordered."})
    assert await mine(nurse, unread=True) == {}
    assert (await doctor.gql(MINE)).data["unreadConversations"] == 1
    shown = (await doctor.gql(READ, input={"id": made["id"]})).data["markConversationRead"]
    assert shown["unreadCount"] == 0
    assert await mine(doctor, unread=True) == {}
    said = (await doctor.gql(ONE, id=made["id"])).data["conversation"]["messages"]["edges"]
    assert [(one["node"]["number"], one["node"]["body"]) for one in said] == [(2, "Ordered."), (1, "None left.")]


async def test_who_takes_no_part_sees_and_says_nothing(server: Server, clinic: Clinic, stranger: Client) -> None:
    doctor = await server.sign_in(clinic, "doctor")
    made = await begun(doctor, clinic, "nurse")
    for client in (await server.sign_in(clinic, "admin"), stranger):
        assert (await client.gql(ONE, id=made["id"])).codes == ["NOT_FOUND"]
        said = await client.gql(SEND, input={"conversationId": made["id"], "body": "Hello"})
        assert (said.codes, said.paths) == (["NOT_FOUND"], ["input.conversationId"])
        assert (await client.gql(READ, input={"id": made["id"]})).codes == ["NOT_FOUND"]
        added = await client.gql(ADD, input={"id": made["id"], "staffIds": [profile(clinic, "admin")]})
        assert added.codes == ["NOT_FOUND"]
    async with tenant_scope(clinic.ref):
        assert await Message.guarded().count_documents({}) == 1


async def test_people_come_and_go(server: Server, clinic: Clinic) -> None:
    doctor, nurse, desk = [await server.sign_in(clinic, role) for role in ("doctor", "nurse", "receptionist")]
    made = await begun(doctor, clinic, "nurse")
    await doctor.gql(ADD, input={"id": made["id"], "staffIds": [profile(clinic, "receptionist")]})
    assert await mine(desk, unread=True) == {made["id"]: 1}
    await nurse.gql(LEAVE, input={"id": made["id"]})
    assert (await nurse.gql(ONE, id=made["id"])).codes == ["NOT_FOUND"]
    assert await mine(nurse) == {}


async def test_a_patient_writes_to_the_clinic_and_whoever_answers_takes_part(
    server: Server, clinic: Clinic, visit: Visit
) -> None:
    vera, other = await visit(clinic), await visit(clinic)
    desk = await server.sign_in(clinic, "receptionist")
    card = await uploaded(vera.client, PDF, "card.pdf")
    asked = {"subject": "My card", "body": "Is it the right one?", "documentIds": [card["id"]]}
    made = (await vera.asks(PORTAL_START, input=asked))["patientStartConversation"]

    waiting = (await desk.gql(INBOX, waiting=True)).data["clinicInbox"]
    assert [edge["node"]["id"] for edge in waiting["edges"]] == [made["id"]]
    shown = (await desk.gql(ONE, id=made["id"])).data["conversation"]
    assert (shown["kind"], shown["unreadCount"], shown["participants"]) == ("PATIENT", 1, [])
    [said] = shown["messages"]["edges"]
    assert said["node"]["attachments"] == [{"title": "card", "documentId": card["id"]}]

    await desk.gql(SEND, input={"conversationId": made["id"], "body": "It is."})
    assert (await desk.gql(INBOX, waiting=True)).data["clinicInbox"]["totalCount"] == 0
    assert list(await mine(desk)) == [made["id"]]
    portal = await vera.asks(PORTAL)
    [edge] = portal["patientConversations"]["edges"]
    assert (edge["node"]["unreadCount"], edge["node"]["waitingSince"]) == (1, None)
    assert [one["node"]["byPatient"] for one in edge["node"]["messages"]["edges"]] == [False, True]
    assert [one["node"]["kind"] for one in portal["patientNotifications"]["edges"]] == ["MESSAGE"]

    await vera.asks(PORTAL_SEND, input={"conversationId": made["id"], "body": "Thank you."})
    kinds = [edge["node"]["kind"] for edge in (await desk.gql(TOLD)).data["notifications"]["edges"]]
    assert kinds == ["PATIENT_MESSAGE"]
    assert (await other.asks(PORTAL))["patientConversations"]["edges"] == []
    refused = await other.client.gql(PORTAL_SEND, input={"conversationId": made["id"], "body": "Me too"})
    assert (refused.codes, refused.paths) == (["NOT_FOUND"], ["input.conversationId"])


async def test_what_is_sent_to_a_patient_is_theirs_and_shared_with_them(
    server: Server, clinic: Clinic, visit: Visit
) -> None:
    vera, other = await visit(clinic), await visit(clinic)
    doctor = await server.sign_in(clinic, "doctor")
    letter = await uploaded(doctor, PDF, "letter.pdf", patientId=str(vera.patient_id))
    foreign = await uploaded(doctor, PDF, "foreign.pdf", patientId=str(other.patient_id))
    own = await uploaded(doctor, PDF, "own.pdf")
    asked = {"patientId": str(vera.patient_id), "subject": "Results", "body": "See the letter."}
    for wrong in (foreign, own):
        refused = await doctor.gql(TO_PATIENT, input={**asked, "documentIds": [letter["id"], wrong["id"]]})
        assert (refused.codes, refused.paths) == (["NOT_FOUND"], ["input.documentIds.1"])
    assert (await fetch(vera.client, letter["id"])).status_code == 404

    await doctor.gql(TO_PATIENT, input={**asked, "documentIds": [letter["id"]]})
    [edge] = (await vera.asks(PORTAL))["patientConversations"]["edges"]
    [said] = edge["node"]["messages"]["edges"]
    assert said["node"]["attachments"] == [{"contentPath": f"/api/documents/{letter['id']}/content"}]
    assert (await fetch(vera.client, letter["id"])).content == PDF


async def test_a_patient_attaches_nothing_that_they_may_not_see(clinic: Clinic, server: Server, visit: Visit) -> None:
    vera = await visit(clinic)
    hidden = await uploaded(await server.sign_in(clinic, "doctor"), PDF, patientId=str(vera.patient_id))
    asked = {"subject": "x", "body": "y", "documentIds": [hidden["id"]]}
    refused = await vera.client.gql(PORTAL_START, input=asked)
    assert (refused.codes, refused.paths) == (["NOT_FOUND"], ["input.documentIds.0"])
    async with tenant_scope(clinic.ref):
        assert (await ClinicDocument.rows({"_id": ObjectId(hidden["id"])}))[0]["shared_at"] is None


async def test_the_same_key_says_it_once(server: Server, clinic: Clinic) -> None:
    doctor = await server.sign_in(clinic, "doctor")
    starts = await asyncio.gather(*(begun(doctor, clinic, "nurse", idempotencyKey="s") for _ in range(5)))
    assert len({one["id"] for one in starts}) == 1
    asked = {"conversationId": starts[0]["id"], "body": "Once", "idempotencyKey": "k"}
    sent = await asyncio.gather(*(doctor.gql(SEND, input=asked) for _ in range(5)))
    assert {one.data["sendMessage"]["number"] for one in sent} == {2}
    other = await doctor.gql(SEND, input={**asked, "body": "Twice"})
    assert other.codes == ["IDEMPOTENCY_CONFLICT"]


async def test_twenty_at_once_get_a_number_each(server: Server, clinic: Clinic) -> None:
    doctor, nurse = await server.sign_in(clinic, "doctor"), await server.sign_in(clinic, "nurse")
    made = await begun(doctor, clinic, "nurse")
    answers = await asyncio.gather(
        *((doctor, nurse)[n % 2].gql(SEND, input={"conversationId": made["id"], "body": f"No. {n}"}) for n in range(20))
    )
    sent = [answer for answer in answers if not answer.errors]
    assert {code for answer in answers for code in answer.codes} <= {"UNAVAILABLE"}
    numbers = sorted(answer.data["sendMessage"]["number"] for answer in sent)
    async with tenant_scope(clinic.ref):
        stored = [row["number"] for row in await Message.rows({}, sort=[("number", 1)])]
        told = await Notification.guarded().count_documents({})
    assert stored == list(range(1, len(sent) + 2))
    assert set(numbers) <= set(stored)
    assert told == len(stored)


async def test_wrong_input_is_told_at_its_path(server: Server, clinic: Clinic) -> None:
    doctor = await server.sign_in(clinic, "doctor")
    good = {"subject": "x", "staffIds": [profile(clinic, "nurse")], "body": "y"}
    for more, code, path in (
        ({"staffIds": []}, "VALIDATION_FAILED", "input.staffIds"),
        ({"staffIds": [str(ObjectId())]}, "NOT_FOUND", "input.staffIds.0"),
        ({"body": " "}, "VALIDATION_FAILED", "input.body"),
        ({"subject": ""}, "VALIDATION_FAILED", "input.subject"),
        ({"patientId": str(ObjectId())}, "NOT_FOUND", "input.patientId"),
    ):
        answer = await doctor.gql(START, input={**good, **more})
        assert (answer.codes, answer.paths) == ([code], [path]), more
    async with tenant_scope(clinic.ref):
        assert await Message.guarded().count_documents({}) == 0
