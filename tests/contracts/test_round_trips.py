"""What the main reads and writes ask of the database: every round trip, in order, and how many rows come.

A change that makes one of them dearer fails here, without a clock. What a request needs besides its own commands:
`aggregate sessions`, by which it is known who asks; `insert audit_entries`, once before something is changed and once
before anything is shown.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio
from beanie import PydanticObjectId
from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from models import Appointment, AuditEntry
from models.appointment import AppointmentStatus
from tests.fixtures.clinics import Client, MakeClinic, Server
from tests.fixtures.commands import Commands
from tests.fixtures.desks import Desk, OpenDesk, day_ahead, instant, wall
from tests.fixtures.portal import Visit
from tests.resolvers.patient_calls import register

WHO, TOLD = "aggregate sessions", "insert audit_entries"
BOOK = "mutation($input: CreateAppointmentInput!) { createAppointment(input: $input) { id version } }"
MOVE = "mutation($input: RescheduleAppointmentInput!) { rescheduleAppointment(input: $input) { id version } }"
CANCEL = "mutation($input: CancelAppointmentInput!) { cancelAppointment(input: $input) { id version } }"
CONFIRM = "mutation($input: ConfirmAppointmentInput!) { confirmAppointment(input: $input) { id version } }"
REGISTER = "mutation($input: CreatePatientInput!) { createPatient(input: $input) { id } }"
DAY = """query($day: Date!) { appointments(first: 50, filter: {day: $day}) {
    edges { node { id startsAt status reason patient { id name phone } doctor { id name } } } pageInfo { hasNextPage }
} }"""
ARCHIVE = "mutation($input: ArchivePatientInput!) { archivePatient(input: $input) { id } }"
VIEWER = "{ viewer { name } }"
WAIT = "mutation($input: EnqueuePatientInput!) { enqueuePatient(input: $input) { id } }"
QUEUE = "{ queue(first: 50) { edges { node { ticket place { position estimatedMinutes } patient { name } } } } }"


@pytest_asyncio.fixture
async def desk(open_desk: OpenDesk, make_clinic: MakeClinic, commands: Commands) -> Desk:
    """A desk of a clinic of its own, where somebody has worked already: keys, roles and the log's end are known."""
    desk = await open_desk(await make_clinic(), user_id=PydanticObjectId())
    await register(desk.client)
    await desk.booked(wall(17), durationMinutes=15)
    commands.clear()
    return desk


def asked(desk: Desk, **more: Any) -> dict[str, Any]:
    return {"patientId": desk.patient, "doctorId": desk.doctor, "startsAt": wall(9), "reason": "Check-up", **more}


# --- writes -----------------------------------------------------------------------------------------------------------


async def test_booking_is_one_read_and_one_insert(desk: Desk, commands: Commands) -> None:
    assert not (await desk.client.gql(BOOK, input=asked(desk))).errors
    assert commands.trips() == [WHO, "aggregate staff", TOLD, "insert appointments", TOLD]
    assert commands.read("sessions") == 4, "the session, its person, their membership, the clinic"
    assert commands.read("staff") == 10, "the doctor, the patient, the settings, seven working days"


async def test_a_room_a_service_and_a_key_cost_no_round_trip(desk: Desk, commands: Commands) -> None:
    more = {"roomId": await desk.new_room(), "serviceId": await desk.new_service(30), "idempotencyKey": "once"}
    commands.clear()
    assert not (await desk.client.gql(BOOK, input=asked(desk, **more))).errors
    assert commands.trips() == [WHO, "aggregate staff", TOLD, "insert appointments", TOLD]
    assert commands.read("staff") == 12


async def test_a_doctor_without_an_account_is_looked_at_once_more(
    open_desk: OpenDesk, desk: Desk, commands: Commands
) -> None:
    """They may have got one in between, and then it is another person's time."""
    other = await open_desk(desk.clinic)
    commands.clear()
    assert not (await desk.client.gql(BOOK, input=asked(desk, doctorId=other.doctor))).errors
    assert commands.trips() == [WHO, "aggregate staff", TOLD, "insert appointments", "find staff", TOLD]


async def test_moving_reads_the_appointment_too(desk: Desk, commands: Commands) -> None:
    made = (await desk.client.gql(BOOK, input=asked(desk))).data["createAppointment"]
    commands.clear()
    assert not (await desk.client.gql(MOVE, input={**made, "startsAt": wall(11)})).errors
    assert commands.trips() == [
        WHO, "find appointments", "aggregate staff", TOLD, "findAndModify appointments", TOLD
    ]  # fmt: skip
    assert commands.read("appointments") == 1


async def test_calling_off_reads_the_appointment_and_changes_it(desk: Desk, commands: Commands) -> None:
    made = (await desk.client.gql(BOOK, input=asked(desk))).data["createAppointment"]
    commands.clear()
    assert not (await desk.client.gql(CANCEL, input={**made, "reason": "Ill"})).errors
    assert commands.trips() == [WHO, "find appointments", TOLD, "findAndModify appointments", TOLD]


async def test_agreeing_reads_the_appointment_and_changes_it(desk: Desk, commands: Commands) -> None:
    made = (await desk.client.gql(BOOK, input=asked(desk))).data["createAppointment"]
    async with tenant_scope(desk.clinic.ref):
        requested = {"$set": {"status": AppointmentStatus.REQUESTED.value}}
        await Appointment.guarded().update_one({"_id": ObjectId(made["id"])}, requested)
    commands.clear()
    assert not (await desk.client.gql(CONFIRM, input=made)).errors
    assert commands.trips() == [WHO, "find appointments", TOLD, "findAndModify appointments", TOLD]


async def test_registering_takes_a_number_and_stores_two_documents_in_one_transaction(
    desk: Desk, commands: Commands
) -> None:
    assert not (await desk.client.gql(REGISTER, input={"givenName": "Ana", "familyName": "New"})).errors
    who, *reads = commands.trips()[:3]
    assert (who, sorted(reads)) == (WHO, ["find settings", "findAndModify counters"])
    assert commands.trips()[3:] == [TOLD, "insert patients", "insert patient_records", "commitTransaction", TOLD]


async def test_changing_a_patient_keeps_what_was_there_and_looks_who_else_must_know(
    desk: Desk, commands: Commands
) -> None:
    made = await register(desk.client)
    change = "mutation($input: UpdatePatientInput!) { updatePatient(input: $input) { version } }"
    commands.clear()
    assert not (await desk.client.gql(change, input={"id": made["id"], "version": 1, "email": "a@example.com"})).errors
    assert commands.trips() == [
        WHO, "find patients", TOLD, "findAndModify patients", "insert patient_versions", "find patients",
        "findAndModify portal_accounts", "commitTransaction", TOLD,
    ]  # fmt: skip


async def test_archiving_ends_what_the_patient_signs_in_by(desk: Desk, commands: Commands) -> None:
    made = await register(desk.client)
    commands.clear()
    assert not (await desk.client.gql(ARCHIVE, input={"id": made["id"]})).errors
    assert commands.trips() == [
        WHO, "find patient_records", TOLD, "update patient_records", "update patients", "update portal_sessions",
        "delete portal_codes", "delete portal_tickets", "commitTransaction", "find patients", TOLD,
    ]  # fmt: skip


# --- reads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 12])
async def test_a_page_with_two_relations_is_two_round_trips_however_long_it_is(
    desk: Desk, commands: Commands, count: int
) -> None:
    day = day_ahead(9)
    patients = [desk.patient, *[await desk.new_patient() for _ in range(count - 1)]]
    for number, patient in enumerate(patients):
        await desk.booked(wall(9, 5 * number, day=day), patientId=patient, durationMinutes=5)
    commands.clear()

    page = (await desk.client.gql(DAY, day=str(day))).data["appointments"]

    assert len(page["edges"]) == count
    trips = commands.trips()
    assert (trips[0], trips[1], trips[-1]) == (WHO, "find appointments", TOLD)
    read = trips[2:-1]
    assert read in (["find patients"], ["find staff", "find patients"])  # most often the doctor is remembered
    assert [commands.read(one) for one in ("appointments", "patients")] == [count, count]
    assert commands.read("staff") <= 1


@pytest.mark.parametrize("count", [1, 12])
async def test_a_queue_with_places_and_patients_is_one_round_trip_per_kind_however_long_it_is(
    desk: Desk, commands: Commands, count: int
) -> None:
    patients = [desk.patient, *[await desk.new_patient() for _ in range(count - 1)]]
    for patient in patients:
        assert not (await desk.client.gql(WAIT, input={"patientId": patient})).errors
    commands.clear()

    page = (await desk.client.gql(QUEUE)).data["queue"]

    assert [edge["node"]["place"]["position"] for edge in page["edges"]] == list(range(1, count + 1))
    trips = commands.trips()
    assert (trips[0], trips[1], trips[-1]) == (WHO, "find queue_entries", TOLD)
    assert sorted(trips[2:-1]) == ["aggregate queue_entries", "find patients", "find settings"]


async def test_what_concerns_no_patient_is_not_told(desk: Desk, commands: Commands) -> None:
    assert (await desk.client.gql(VIEWER)).data
    assert commands.trips() == [WHO]


# --- those who ask at once --------------------------------------------------------------------------------------------


async def test_requests_at_once_share_the_reads_by_which_it_is_known_who_asks(
    server: Server, desk: Desk, make_clinic: MakeClinic, commands: Commands
) -> None:
    """Also those of other people, of another clinic and of the root host."""
    elsewhere = await make_clinic()
    clients = [desk.client, await server.sign_in(elsewhere, "nurse"), await server.sign_in(elsewhere, "doctor")]
    clients.append(server.client(token=clients[1].token))
    for client in clients:
        await client.gql(VIEWER)
    commands.clear()

    answers = await asyncio.gather(*(client.gql(VIEWER) for client in clients * 15))

    names = [answer.data["viewer"]["name"] for answer in answers]
    assert names == ["Receptionist Person", "Nurse Person", "Doctor Person", "Nurse Person"] * 15
    assert commands.trips().count(WHO) < 20


async def test_bookings_at_once_share_their_reads_and_writes(desk: Desk, commands: Commands) -> None:
    patients = [await desk.new_patient() for _ in range(30)]
    times = [wall(9 + number // 12, 5 * (number % 12)) for number in range(30)]
    commands.clear()

    answers = await asyncio.gather(
        *(
            desk.client.gql(BOOK, input=asked(desk, patientId=patient, startsAt=start, durationMinutes=5))
            for patient, start in zip(patients, times, strict=True)
        )
    )

    assert not [answer.errors for answer in answers if answer.errors]
    trips = commands.trips()
    assert trips.count("insert appointments") < 20
    assert trips.count("aggregate staff") < 15
    assert trips.count(TOLD) < 40, "each has two entries"
    async with tenant_scope(desk.clinic.ref):
        log = await AuditEntry.rows({"action": "createAppointment"}, sort=[("seq", 1)])
    for patient in patients:
        mine = [entry["result"] for entry in log if entry["patient_ids"] == [ObjectId(patient)]]
        assert mine == ["begun", "ok"], "each has entries of its own, whoever sent the command"
    stored = {row["starts_at"]: str(row["patient_id"]) for row in await desk.stored()}
    assert [stored[instant(start)] for start in times] == patients


async def test_a_patients_request_is_two_reads_side_by_side(
    make_clinic: MakeClinic, visit: Visit, commands: Commands
) -> None:
    visitor = await visit(await make_clinic())
    client: Client = visitor.client
    await client.gql("{ clinic { name } }")
    commands.clear()
    assert (await client.gql("{ patientMe { name } }")).body
    assert commands.trips()[0] == "aggregate portal_sessions"
    assert commands.read("portal_sessions") == 4, "the session, the account, the record, the patient"
    assert ("find", "tenants") in commands.asked()
