"""What patients see, book and change in the portal; and what they never see."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from typing import Any

import pytest
import pytest_asyncio
from beanie import PydanticObjectId
from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from models import Appointment, AuditEntry, Consent, ConsentTemplate, LabResult, Patient, PatientRecord
from models.appointment import AppointmentStatus
from models.consent import LocalText
from models.values import now
from tests.fixtures._portal import allow
from tests.fixtures.clinics import Answer, Clinic, MakeClinic
from tests.fixtures.desks import Desk, OpenDesk, day_ahead, wall
from tests.fixtures.mailbox import Mailbox, text_of
from tests.fixtures.portal import Visit, Visitor

LIST = "{ patientAppointments { totalCount edges { node { id status startsAt doctor { name } } } } }"
BOOK = """mutation($input: PatientBookAppointmentInput!) {
    patientBookAppointment(input: $input) { id version status startsAt doctor { id } }
}"""
CANCEL = """mutation($input: PatientCancelAppointmentInput!) {
    patientCancelAppointment(input: $input) { id status version }
}"""
CONFIRM = (
    "mutation($input: ConfirmAppointmentInput!) { confirmAppointment(input: $input) { status history { action } } }"
)
SLOTS = """query($doctorId: ID!, $from: Date!, $to: Date!) {
    patientAvailableSlots(doctorId: $doctorId, from: $from, to: $to) { startsAt }
}"""
CONTACT = """mutation($input: PatientUpdateContactInput!) {
    patientUpdateContact(input: $input) { version phone email address { city } }
}"""
LOG = """query($own: Boolean!) { patientAccessLog(first: 100, includeOwn: $own) {
    edges { node { action act actor refused kinds person { name kind } } } } }"""
HISTORY = """query($id: ID!) { appointment(id: $id) {
    status reason history { action byPatient by { id } } patient { id } } }"""


@pytest_asyncio.fixture
async def portal(make_clinic: MakeClinic, open_desk: OpenDesk, visit: Visit) -> tuple[Desk, Visitor]:
    """A clinic of this test's own, whose doctor can be booked at short notice, and a patient of it."""
    clinic = await make_clinic()
    desk, visitor = await open_desk(clinic), await visit(clinic)
    await allow(clinic, portal_booking="book")
    return desk, visitor


Portal = tuple[Desk, Visitor]


async def book(visitor: Visitor, desk: Desk, starts_at: str, **more: Any) -> Answer:
    asked = {"doctorId": desk.doctor, "startsAt": starts_at, **more}
    return await visitor.client.gql(BOOK, input=asked)


async def booked(visitor: Visitor, desk: Desk, starts_at: str, **more: Any) -> dict[str, Any]:
    shown: dict[str, Any] = (await book(visitor, desk, starts_at, **more)).data["patientBookAppointment"]
    return shown


async def cancel(visitor: Visitor, id: str, **more: Any) -> Answer:
    return await visitor.client.gql(CANCEL, input={"id": id, **more})


async def slots(visitor: Visitor, desk: Desk, first: date, last: date | None = None) -> list[str]:
    shown = await visitor.asks(SLOTS, **{"doctorId": desk.doctor, "from": str(first), "to": str(last or first)})
    return [slot["startsAt"] for slot in shown["patientAvailableSlots"]]


async def stored(clinic: Clinic, **where: Any) -> list[dict[str, Any]]:
    async with tenant_scope(clinic.ref):
        return await Appointment.rows(where)


# --- seeing -----------------------------------------------------------------------------------------------------------


async def test_a_patient_sees_their_own_appointments_and_no_others(portal: Portal, visit: Visit) -> None:
    desk, visitor = portal
    neighbour = await visit(desk.clinic)
    mine = await booked(visitor, desk, wall(9))
    theirs = await booked(neighbour, desk, wall(10))

    shown = (await visitor.asks(LIST))["patientAppointments"]

    assert shown["totalCount"] == 1
    assert [edge["node"]["id"] for edge in shown["edges"]] == [mine["id"]]
    assert shown["edges"][0]["node"]["doctor"] == {"name": "Dora Doctor"}
    assert (await cancel(visitor, theirs["id"])).codes == ["NOT_FOUND"]
    assert [row["status"] for row in await stored(desk.clinic, patient_id=neighbour.patient_id)] == ["booked"]


async def test_what_should_never_have_been_entered_is_not_shown(portal: Portal) -> None:
    desk, visitor = portal
    made = await booked(visitor, desk, wall(9))
    async with tenant_scope(desk.clinic.ref):
        await Appointment.change(
            PydanticObjectId(made["id"]), None, {"status": AppointmentStatus.ENTERED_IN_ERROR.value}
        )
    assert (await visitor.asks(LIST))["patientAppointments"]["edges"] == []
    assert (await cancel(visitor, made["id"])).codes == ["NOT_FOUND"]


@pytest.mark.parametrize(
    "field", ["notes", "reason", "claims", "overbookReason", "history { reason }", "patient { id }", "cancelReason"]
)
async def test_what_the_clinic_writes_to_itself_has_no_place_in_the_portal(portal: Portal, field: str) -> None:
    _, visitor = portal
    answer = await visitor.client.gql(f"{{ patientAppointments {{ edges {{ node {{ {field} }} }} }} }}")
    assert answer.codes == ["VALIDATION_FAILED"]


async def test_a_patient_sees_what_they_agreed_to(portal: Portal, visit: Visit) -> None:
    desk, visitor = portal
    neighbour = await visit(desk.clinic)
    words = {"title": "Sharing", "text": "I agree."}
    what: dict[str, Any] = {"categories": ["visits"], "purpose": "treatment"}
    given: dict[str, Any] = {**what, "method": "paper", "valid_until": now() + timedelta(days=1)}
    async with tenant_scope(desk.clinic.ref):
        form = await ConsentTemplate(name="Sharing", name_key="sharing", en=LocalText(**words), **what).insert()
        for one in (visitor, neighbour):
            await Consent(
                patient_id=one.patient_id, consent_template_id=form.key, patient_name=one.email, **given
            ).insert()

    query = "{ patientConsents { totalCount edges { node { state categories form { en { title text } } } } } }"
    shown = (await visitor.asks(query))["patientConsents"]

    assert shown["totalCount"] == 1
    assert shown["edges"][0]["node"] == {"state": "LIVE", "categories": ["VISITS"], "form": {"en": words}}


REVOKE = "mutation($input: PatientRevokeConsentInput!) { patientRevokeConsent(input: $input) { state revokedBy } }"


async def test_a_patient_takes_back_their_own_consent_and_nobody_elses(portal: Portal, visit: Visit) -> None:
    desk, visitor = portal
    neighbour = await visit(desk.clinic)
    what: dict[str, Any] = {"categories": ["visits"], "purpose": "treatment"}
    given: dict[str, Any] = {**what, "method": "paper", "valid_until": now() + timedelta(days=1)}
    async with tenant_scope(desk.clinic.ref):
        words = LocalText(title="Sharing", text="I agree.")
        form = await ConsentTemplate(name="Taking back", name_key="taking back", en=words, **what).insert()
        mine, theirs = [
            await Consent(
                patient_id=one.patient_id, consent_template_id=form.key, patient_name=one.email, **given
            ).insert()
            for one in (visitor, neighbour)
        ]

    foreign = await visitor.client.gql(REVOKE, input={"id": str(theirs.id)})
    assert (foreign.codes, foreign.paths) == (["NOT_FOUND"], ["input.id"])
    answer = await visitor.client.gql(REVOKE, input={"id": str(mine.id), "reason": "Changed my mind"})
    assert answer.data["patientRevokeConsent"] == {"state": "REVOKED", "revokedBy": "PATIENT"}
    assert (await visitor.client.gql(REVOKE, input={"id": str(mine.id)})).codes == ["INVALID_STATE"]
    async with tenant_scope(desk.clinic.ref):
        left = await Consent.rows({"_id": theirs.id})
    assert left[0]["revoked_at"] is None


async def test_doctors_and_services_are_shown_without_what_is_the_clinics_own(portal: Portal) -> None:
    desk, visitor = portal
    service = await desk.new_service(30)
    shown = await visitor.asks(
        "{ patientDoctors { edges { node { id } } } patientServices { edges { node { id durationMinutes } } } }"
    )
    assert desk.doctor in [edge["node"]["id"] for edge in shown["patientDoctors"]["edges"]]
    assert shown["patientServices"]["edges"] == [{"node": {"id": service, "durationMinutes": 30}}]
    nurse = str(desk.clinic.staff["nurse"].key)
    assert nurse not in [edge["node"]["id"] for edge in shown["patientDoctors"]["edges"]]


# --- who looked -------------------------------------------------------------------------------------------------------


async def test_a_patient_sees_who_looked_at_their_record_and_what_kind_of_act_it_was(
    portal: Portal, visit: Visit
) -> None:
    desk, visitor = portal
    neighbour = await visit(desk.clinic)
    nurse = await desk.server.sign_in(desk.clinic, "nurse")
    see = "query($id: ID!) { patient(id: $id) { name } }"
    await nurse.gql(see, id=str(visitor.patient_id))
    await nurse.gql(see, id=str(neighbour.patient_id))
    change = "mutation($input: UpdatePatientInput!) { updatePatient(input: $input) { id } }"
    await desk.client.gql(change, input={"id": str(visitor.patient_id), "version": 1, "sex": "FEMALE"})
    await visitor.asks("{ patientMe { name } }")

    told = [edge["node"] for edge in (await visitor.asks(LOG, own=False))["patientAccessLog"]["edges"]]
    own = [edge["node"] for edge in (await visitor.asks(LOG, own=True))["patientAccessLog"]["edges"]]

    by_action = {one["action"]: one for one in told}
    assert by_action["patient"]["act"] == "READ"
    assert by_action["patient"]["person"] == {"name": "Nurse Person", "kind": "NURSE"}
    assert by_action["patient"]["actor"] == "STAFF"
    assert "patients" in by_action["patient"]["kinds"]
    assert by_action["updatePatient"]["act"] == "CHANGE"
    assert by_action["updatePatient"]["person"]["kind"] == "RECEPTIONIST"
    assert [one["action"] for one in told].count("patient") == 1, "the neighbour's is not told, nor one act twice"
    assert [one["action"] for one in told].count("updatePatient") == 1
    assert "PATIENT" not in {one["actor"] for one in told}
    assert "patientMe" in {one["action"] for one in own if one["actor"] == "PATIENT"}


# --- booking ----------------------------------------------------------------------------------------------------------


async def test_a_booking_is_the_patients_own_act(portal: Portal) -> None:
    desk, visitor = portal

    made = await booked(visitor, desk, wall(9), reason="My knee")

    seen = (await desk.client.gql(HISTORY, id=made["id"])).data["appointment"]
    assert seen["patient"] == {"id": str(visitor.patient_id)}
    assert seen["reason"] == "My knee"
    assert seen["history"] == [{"action": "booked", "byPatient": True, "by": None}]
    [row] = await stored(desk.clinic, patient_id=visitor.patient_id)
    assert row["created_by"] is None
    async with tenant_scope(desk.clinic.ref):
        entries = await AuditEntry.rows({"action": "patientBookAppointment", "patient_ids": visitor.patient_id})
    assert entries
    assert {(entry["user_id"], entry["by_patient"]) for entry in entries} == {(None, visitor.patient_id)}


async def test_a_clinic_may_want_to_be_asked_first(portal: Portal) -> None:
    desk, visitor = portal
    await allow(desk.clinic, portal_booking="request")

    made = await booked(visitor, desk, wall(9))

    assert made["status"] == "REQUESTED"
    assert wall(9) not in [slot[:16] for slot in await desk.slots()], "the time is kept meanwhile"
    agreed = await desk.client.gql(CONFIRM, input={"id": made["id"], "version": made["version"]})
    assert agreed.data["confirmAppointment"] == {
        "status": "BOOKED", "history": [{"action": "requested"}, {"action": "confirmed"}]
    }  # fmt: skip
    again = await desk.client.gql(CONFIRM, input={"id": made["id"], "version": made["version"] + 1})
    assert again.codes == ["INVALID_STATE"]


async def test_a_clinic_may_take_no_bookings_at_all(portal: Portal) -> None:
    desk, visitor = portal
    await allow(desk.clinic, portal_booking="off")
    day = str(day_ahead())
    assert (await book(visitor, desk, wall(9))).codes == ["INVALID_STATE"]
    listed = await visitor.client.gql(SLOTS, **{"doctorId": desk.doctor, "from": day, "to": day})
    assert listed.codes == ["INVALID_STATE"]
    assert not await stored(desk.clinic)


async def test_slots_are_those_that_can_be_booked(portal: Portal) -> None:
    desk, visitor = portal
    await allow(desk.clinic, portal_notice_hours=72, portal_horizon_days=10)

    soon, in_time, late = [await slots(visitor, desk, day_ahead(days)) for days in (1, 5, 11)]

    assert (soon, late) == ([], [])
    assert len(in_time) == 40
    for start, path in ((wall(9, day=day_ahead(1)), "input.startsAt"), (wall(9, day=day_ahead(11)), "input.startsAt")):
        refused = await book(visitor, desk, start)
        assert (refused.codes, refused.paths) == (["VALIDATION_FAILED"], [path])
    assert not await stored(desk.clinic)
    assert await booked(visitor, desk, in_time[0])
    assert len(await slots(visitor, desk, day_ahead(5))) < 40


async def test_a_taken_time_is_refused_with_times_that_the_patient_may_book(portal: Portal, visit: Visit) -> None:
    desk, visitor = portal
    await allow(desk.clinic, portal_horizon_days=7)
    last = wall(17, 45, day=day_ahead(7))
    neighbour = await visit(desk.clinic)
    await booked(neighbour, desk, last)

    answer = await book(visitor, desk, last)

    assert answer.codes == ["SLOT_TAKEN"]
    assert answer.errors[0]["extensions"]["alternatives"] == [], "later ones are beyond what patients may book"


async def test_a_patient_has_only_so_many_appointments_to_come_even_when_booking_at_once(portal: Portal) -> None:
    desk, visitor = portal
    await allow(desk.clinic, portal_open_bookings=2)

    answers = await asyncio.gather(*(book(visitor, desk, wall(hour)) for hour in range(9, 14)))

    assert [answer.codes for answer in answers].count([]) == 2, [answer.body for answer in answers]
    assert {code for answer in answers for code in answer.codes} == {"INVALID_STATE"}
    rows = await stored(desk.clinic, patient_id=visitor.patient_id)
    assert len(rows) == 2
    await cancel(visitor, str(rows[0]["_id"]))
    assert not (await book(visitor, desk, wall(15))).errors, "what was called off does not count"


async def test_the_same_key_books_once(portal: Portal, visit: Visit) -> None:
    desk, visitor = portal
    first = await booked(visitor, desk, wall(9), idempotencyKey="k")
    again = await booked(visitor, desk, wall(9), idempotencyKey="k")
    other = await book(visitor, desk, wall(10), idempotencyKey="k")
    neighbour = await visit(desk.clinic)

    assert again["id"] == first["id"]
    assert other.codes == ["IDEMPOTENCY_CONFLICT"]
    assert (await booked(neighbour, desk, wall(11), idempotencyKey="k"))["id"] != first["id"], "keys are each one's own"
    assert len(await stored(desk.clinic, patient_id=visitor.patient_id)) == 1


async def test_two_patients_who_want_one_time_do_not_both_get_it(portal: Portal, visit: Visit) -> None:
    desk, visitor = portal
    others = [visitor, *[await visit(desk.clinic) for _ in range(3)]]
    answers = await asyncio.gather(*(book(one, desk, wall(9)) for one in others))
    assert sorted(answer.codes for answer in answers) == [[], ["SLOT_TAKEN"], ["SLOT_TAKEN"], ["SLOT_TAKEN"]]
    assert len(await stored(desk.clinic)) == 1


# --- cancelling -------------------------------------------------------------------------------------------------------


async def test_a_patient_cancels_in_time_and_the_clinic_sees_who_it_was(portal: Portal) -> None:
    desk, visitor = portal
    made = await booked(visitor, desk, wall(9))

    answer = await cancel(visitor, made["id"])

    assert answer.data["patientCancelAppointment"]["status"] == "CANCELLED"
    seen = (await desk.client.gql(HISTORY, id=made["id"])).data["appointment"]
    assert seen["history"][-1] == {"action": "cancelled", "byPatient": True, "by": None}
    assert made["startsAt"] in await slots(visitor, desk, day_ahead()), "the time is free again"
    assert (await cancel(visitor, made["id"])).codes == ["INVALID_STATE"]


async def test_a_patient_cannot_cancel_at_the_last_moment(portal: Portal) -> None:
    desk, visitor = portal
    made = await booked(visitor, desk, wall(9))
    hours = 24 * 30
    await allow(desk.clinic, portal_cancel_hours=hours)

    answer = await cancel(visitor, made["id"])

    assert answer.codes == ["INVALID_STATE"]
    assert [row["status"] for row in await stored(desk.clinic)] == ["booked"]


async def test_an_appointment_that_was_moved_meanwhile_is_not_cancelled(portal: Portal) -> None:
    desk, visitor = portal
    made = await booked(visitor, desk, wall(9))
    await desk.move(made, wall(11))
    answer = await cancel(visitor, made["id"], version=made["version"])
    assert answer.codes == ["CONFLICT"]
    assert [row["status"] for row in await stored(desk.clinic)] == ["booked"]


async def test_another_patients_appointment_is_answered_as_none(portal: Portal, visit: Visit) -> None:
    desk, visitor = portal
    theirs = await booked(await visit(desk.clinic), desk, wall(9))
    for id in (theirs["id"], str(ObjectId()), "nonsense"):
        answer = await cancel(visitor, id)
        assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.id"])


# --- their own data ---------------------------------------------------------------------------------------------------


async def test_a_patient_changes_their_own_contact_data(portal: Portal) -> None:
    _, visitor = portal
    changes = {"version": 1, "phone": "+1 212 555 0101", "address": {"city": "Troy"}}

    answer = await visitor.client.gql(CONTACT, input=changes)

    assert answer.data["patientUpdateContact"] == {
        "version": 2, "phone": "+1 212 555 0101", "email": visitor.email, "address": {"city": "Troy"}
    }  # fmt: skip
    async with tenant_scope(visitor.clinic.ref):
        [row] = await Patient.rows({"_id": visitor.patient_id})
    assert row["phone_key"] == "12125550101", "and is found by it"
    assert (await visitor.client.gql(CONTACT, input=changes)).codes == ["CONFLICT"]


async def test_an_address_to_which_codes_no_longer_come_is_told(portal: Portal, mailbox: Mailbox) -> None:
    _, visitor = portal
    fresh = f"new-{visitor.email}"
    assert not (await visitor.client.gql(CONTACT, input={"version": 1, "address": {"city": "Troy"}})).errors
    assert not await mailbox.arrived(visitor.email)

    assert not (await visitor.client.gql(CONTACT, input={"version": 2, "email": fresh})).errors

    [letter] = await mailbox.arrived(visitor.email)
    assert visitor.clinic.tenant.name in text_of(letter)
    assert fresh not in text_of(letter)
    assert not await mailbox.arrived(fresh)


async def test_a_clinic_may_keep_contact_data_to_itself(portal: Portal) -> None:
    _, visitor = portal
    await allow(visitor.clinic, portal_contact_changes=False)
    answer = await visitor.client.gql(CONTACT, input={"version": 1, "email": "new@example.com"})
    assert answer.codes == ["INVALID_STATE"]
    async with tenant_scope(visitor.clinic.ref):
        [row] = await Patient.rows({"_id": visitor.patient_id})
    assert (row["email"], row["version"]) == (visitor.email, 1)


async def test_wrong_contact_data_is_told_with_its_place(portal: Portal) -> None:
    _, visitor = portal
    answer = await visitor.client.gql(CONTACT, input={"version": 1, "email": "no address"})
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.email"])


async def test_settings_of_the_portal_are_changed_by_the_clinic(portal: Portal) -> None:
    desk, _ = portal
    admin = await desk.server.sign_in(desk.clinic)
    shown = (await admin.gql("{ settings { version portalBooking portalHorizonDays } }")).data["settings"]
    assert shown["portalBooking"] == "BOOK"
    update = (
        "mutation($input: UpdateSettingsInput!) { updateSettings(input: $input) { portalBooking portalCancelHours } }"
    )
    answer = await admin.gql(
        update, input={"version": shown["version"], "portalBooking": "OFF", "portalCancelHours": 48}
    )
    assert answer.data["updateSettings"] == {"portalBooking": "OFF", "portalCancelHours": 48}
    wrong = await admin.gql(update, input={"version": shown["version"] + 1, "portalHorizonDays": 0})
    assert wrong.paths == ["input.portalHorizonDays"]


async def test_a_record_of_another_clinic_is_not_shown(portal: Portal, clinic_b: Clinic) -> None:
    _, visitor = portal
    async with tenant_scope(visitor.clinic.ref):
        await Patient.guarded().grant(visitor.patient_id, clinic_b.ref.id)
    async with tenant_scope(clinic_b.ref):
        await PatientRecord(patient_id=visitor.patient_id, code=f"B-{visitor.patient_id}", insurer="Other").insert()
    shown = (await visitor.asks("{ patientMe { record { code insurer } } }"))["patientMe"]
    assert shown["record"] == {"code": visitor.code, "insurer": None}


async def test_a_patient_sees_released_lab_results_alone(portal: Portal, visit: Visit) -> None:
    desk, visitor = portal
    neighbour = await visit(desk.clinic)
    made = {}
    async with tenant_scope(desk.clinic.ref):
        for one, status in (
            (visitor, "released"),
            (visitor, "reviewed"),
            (visitor, "resulted"),
            (neighbour, "released"),
        ):
            found: dict[str, Any] = {
                "panel": {"name": "Lipids"}, "observations": [{"name": "LDL", "value": "90", "unit": "mg/dL"}],
                "performed_at": now(), "reported_at": now(), "status": status,
            }  # fmt: skip
            result = LabResult(patient_id=one.patient_id, accession=f"{status}-{one.code}", **found)
            made[one.code, status] = str((await result.insert()).key)

    query = """{ patientLabResults { totalCount edges { node {
        id replaced panel { name } observations { name value unit } } } } }"""
    shown = (await visitor.asks(query))["patientLabResults"]

    assert shown["totalCount"] == 1
    assert shown["edges"][0]["node"] == {
        "id": made[visitor.code, "released"], "replaced": False, "panel": {"name": "Lipids"},
        "observations": [{"name": "LDL", "value": "90", "unit": "mg/dL"}],
    }  # fmt: skip
