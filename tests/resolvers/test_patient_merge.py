"""Merging two files of one patient at a clinic, and taking them apart again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from beanie import PydanticObjectId
from bson import ObjectId
from pymongo import AsyncMongoClient

from app.config import Settings
from app.jobs.runs import run_job
from app.services.audit_verification import verify
from app.services.merging import following, moving
from app.tenancy.collection import SharedCollection
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, open_scope
from models import Appointment, AuditEntry, Notification, PatientMembership, PatientMerge
from models.notification import NotificationKind
from models.values import now
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.desks import CREATE, Desk, OpenDesk, wall
from tests.fixtures.tills import OpenTill
from tests.resolvers.merge_calls import (
    MERGE,
    MERGES,
    PREVIEW,
    WHY,
    kept,
    merged,
    try_merge,
    try_unmerge,
    unmerged,
    versions,
)
from tests.resolvers.patient_calls import ARCHIVE, NOWHERE, ONE, UPDATE, found, register
from tests.resolvers.queue_calls import done, say

Row = dict[str, Any]


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture
async def admin(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic)


@pytest_asyncio.fixture
async def desk(open_desk: OpenDesk, clinic: Clinic) -> Desk:
    return await open_desk(clinic)


async def preview(client: Client, survivor: Row, duplicate: Row) -> Row:
    answer = await client.gql(PREVIEW, survivorId=survivor["id"], duplicateId=duplicate["id"])
    seen: Row = answer.data["patientMergePreview"]
    return seen


async def one(client: Client, patient: Row) -> Row:
    seen: Row = (await client.gql(ONE, id=patient["id"])).data["patient"]
    return seen


async def notification(clinic: Clinic, patient: Row) -> ObjectId:
    """A document of the patient that nothing else hangs on."""
    async with tenant_scope(clinic.ref):
        made = Notification(patient_id=PydanticObjectId(patient["id"]), kind=NotificationKind.MESSAGE)
        return ObjectId((await made.insert()).id)


async def whose(clinic: Clinic, notice: ObjectId) -> str:
    async with tenant_scope(clinic.ref):
        [row] = await Notification.rows({"_id": notice})
    return str(row["patient_id"])


# --- merging ----------------------------------------------------------------------------------------------------------


async def test_the_duplicates_file_becomes_part_of_the_survivors(admin: Client, clinic: Clinic) -> None:
    survivor = await register(admin, phone="+12125550101")
    duplicate = await register(admin, email="ana@example.com", nationalId="ID-4711", notes="Afraid of needles.")

    made = await merged(admin, survivor, duplicate)

    assert made["survivor"]["id"] == survivor["id"]
    assert (made["formerId"], made["formerCode"]) == (duplicate["id"], duplicate["record"]["code"])
    assert (made["reason"], made["mergedBy"], made["undoneAt"]) == (WHY, "Ada Admin", None)
    assert (made["survivor"]["phone"], made["survivor"]["email"]) == ("+12125550101", "ana@example.com")
    assert made["survivor"]["record"]["nationalId"] == "ID-4711"
    assert made["survivor"]["record"]["notes"] == "Afraid of needles."
    assert await kept(clinic, duplicate, changes=True) == {}


async def test_the_old_id_and_the_old_code_lead_to_the_survivor(admin: Client) -> None:
    survivor, duplicate = await register(admin), await register(admin, nationalId="ID 47-12")
    await merged(admin, survivor, duplicate)

    seen = (
        await admin.gql("query($id: ID!) { patient(id: $id) { id mergedFrom { id code } } }", id=duplicate["id"])
    ).data
    assert seen["patient"] == {
        "id": survivor["id"],
        "mergedFrom": [{"id": duplicate["id"], "code": duplicate["record"]["code"]}],
    }
    assert await found(admin, duplicate["record"]["code"].lower()) == [survivor["id"]]
    assert await found(admin, "ID4712") == [survivor["id"]]
    assert await found(admin) == [survivor["id"]]
    assert await found(admin, status="ARCHIVED") == []


async def test_what_was_merged_is_taken_apart_as_it_was(admin: Client, clinic: Clinic) -> None:
    survivor = await register(admin, phone="+12125550102", notes="Comes by bus.")
    duplicate = await register(admin, email="bo@example.com", nationalId="ID-4713", notes="Afraid of needles.")
    await admin.gql(ARCHIVE, input={"id": duplicate["id"]})
    before = await kept(clinic, survivor, duplicate)

    made = await merged(admin, survivor, duplicate)
    assert made["survivor"]["record"]["notes"] == "Comes by bus.\n\nAfraid of needles."
    undone = await unmerged(admin, made)

    assert (undone["undoneAt"] is None, undone["undoReason"]) == (False, "Two people after all.")
    assert await kept(clinic, survivor, duplicate) == before
    assert (await one(admin, duplicate))["record"]["status"] == "ARCHIVED"
    assert (await found(admin), await found(admin, status="ARCHIVED")) == ([survivor["id"]], [duplicate["id"]])
    assert await found(admin, "ID-4713", status="ARCHIVED") == [duplicate["id"]]
    async with tenant_scope(clinic.ref):
        [row] = await PatientMerge.rows({})
    assert [row[name] for name in ("patient", "kept", "before", "after", "moved")] == [{}] * 5


async def test_what_somebody_has_changed_since_stays_with_the_survivor(admin: Client, clinic: Clinic) -> None:
    survivor, duplicate = await register(admin), await register(admin, email="c@example.com", phone="+12125550103")
    made = await merged(admin, survivor, duplicate)
    change = {"id": survivor["id"], "version": made["survivor"]["version"], "phone": "+12125550199"}
    await admin.gql(UPDATE, input=change)
    notice = await notification(clinic, survivor)

    await unmerged(admin, made)

    seen = await one(admin, survivor)
    assert (seen["phone"], seen["email"]) == ("+12125550199", None)
    assert await whose(clinic, notice) == survivor["id"]


async def test_the_preview_shows_what_a_merge_would_do_and_does_nothing(admin: Client, clinic: Clinic) -> None:
    survivor = await register(admin, phone="+12125550104", givenName="Ana", familyName="Same")
    duplicate = await register(
        admin, phone="+12125550105", email="d@example.com", givenName="Ana", familyName="Same", sex="FEMALE"
    )
    await notification(clinic, duplicate)
    before = await kept(clinic, survivor, duplicate, changes=True)

    seen = await preview(admin, survivor, duplicate)

    assert [seen[side]["id"] for side in ("survivor", "duplicate")] == [survivor["id"], duplicate["id"]]
    assert [seen[side]["phone"] for side in ("survivor", "duplicate")] == ["+12125550104", "+12125550105"]
    assert (seen["conflicts"], seen["changes"]) == (["PHONE"], ["SEX", "EMAIL"])
    assert (seen["moves"], seen["obstacles"]) == ([{"kind": "notifications", "count": 1}], [])
    assert seen["demographicsShared"] is False
    assert await kept(clinic, survivor, duplicate, changes=True) == before


async def test_somebody_says_whose_values_stand(admin: Client) -> None:
    survivor = await register(
        admin, givenName="Anna", phone="+12125550106", allergies=[{"substance": "Latex"}],
        contacts=[{"name": "Son", "phone": "+12125550107"}], insurer="Mine",
    )  # fmt: skip
    duplicate = await register(
        admin, givenName="Ana", phone="+12125550108", allergies=[{"substance": "Penicillin", "severe": True}],
        contacts=[{"name": "Daughter", "phone": "+12125550109"}], insurer="Theirs",
    )  # fmt: skip
    choices = [
        {"field": "GIVEN_NAME", "take": "DUPLICATE"},
        {"field": "PHONE", "take": "DUPLICATE"},
        {"field": "CONTACTS", "take": "SURVIVOR"},
        {"field": "INSURER", "take": "DUPLICATE"},
    ]

    made = await merged(admin, survivor, duplicate, choices=choices)

    seen = made["survivor"]
    assert (seen["name"], seen["phone"]) == (f"Ana {survivor['familyName']}", "+12125550108")
    assert [one["substance"] for one in seen["allergies"]] == ["Latex", "Penicillin"]
    assert ([one["name"] for one in seen["contacts"]], seen["record"]["insurer"]) == (["Son"], "Theirs")
    assert await found(admin, f"{survivor['familyName']} Ana ") == [survivor["id"]]
    assert await found(admin, "2125550108") == [survivor["id"]]


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"reason": "twins"}, "input.reason"),
        ({"choices": [{"field": "PHONE", "take": "BOTH"}]}, "input.choices.0.take"),
        ({"choices": [{"field": "SEX", "take": "SURVIVOR"}] * 2}, "input.choices.1.field"),
    ],
)
async def test_a_wrong_input_merges_nobody(values: Row, path: str, admin: Client, clinic: Clinic) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    before = await kept(clinic, survivor, duplicate)
    answer = await try_merge(admin, survivor, duplicate, **values)
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])
    assert await kept(clinic, survivor, duplicate) == before


async def test_notes_that_are_too_long_together_are_chosen_between(admin: Client) -> None:
    survivor, duplicate = await register(admin, notes="a" * 3000), await register(admin, notes="b" * 3000)
    answer = await try_merge(admin, survivor, duplicate)
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.choices"])
    made = await merged(admin, survivor, duplicate, choices=[{"field": "NOTES", "take": "DUPLICATE"}])
    assert made["survivor"]["record"]["notes"] == "b" * 3000


async def test_a_patient_is_not_merged_with_themselves(admin: Client) -> None:
    made = await register(admin)
    answer = await try_merge(admin, made, made)
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.duplicateId"])


@pytest.mark.parametrize("stale", ["survivor", "duplicate"])
async def test_files_that_were_changed_since_they_were_looked_at_are_not_merged(
    stale: str, admin: Client, clinic: Clinic
) -> None:
    pair = {"survivor": await register(admin), "duplicate": await register(admin)}
    given = await versions(admin, pair["survivor"], pair["duplicate"])
    await admin.gql(UPDATE, input={"id": pair[stale]["id"], "version": 1, "sex": "MALE"})
    before = await kept(clinic, *pair.values())
    answer = await admin.gql(MERGE, input={**given, "reason": WHY})
    assert (answer.codes, answer.paths) == (["CONFLICT"], [f"input.{stale}Version"])
    assert await kept(clinic, *pair.values()) == before


async def test_patients_of_another_clinic_are_not_found(admin: Client, clinic: Clinic, stranger: Client) -> None:
    mine, theirs = await register(admin), await register(stranger)
    before = await kept(clinic, mine)
    for id in (theirs["id"], NOWHERE):
        other = {**theirs, "id": id}
        answer = await admin.gql(MERGE, input={**await versions(admin, mine, other), "reason": WHY})
        assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.duplicateId"])
        answer = await admin.gql(MERGE, input={**await versions(admin, other, mine), "reason": WHY})
        assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.survivorId"])
        answer = await admin.gql(PREVIEW, survivorId=mine["id"], duplicateId=id)
        assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["duplicateId"])
    assert await kept(clinic, mine) == before
    assert await one(stranger, theirs) == theirs


async def test_another_clinics_merge_is_neither_listed_nor_undone(admin: Client, stranger: Client) -> None:
    made = await merged(admin, await register(admin), await register(admin))
    assert made["id"] not in str((await stranger.gql(MERGES)).data)
    text = "mutation($input: UnmergePatientsInput!) { unmergePatients(input: $input) { id } }"
    answer = await stranger.gql(text, input={"id": made["id"], "version": 1, "reason": "Not our business."})
    assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.id"])
    assert (await stranger.gql(ONE, id=made["formerId"])).codes == ["NOT_FOUND"]


async def test_who_may_merge(server: Server, admin: Client, clinic: Clinic) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    receptionist, doctor = await server.sign_in(clinic, "receptionist"), await server.sign_in(clinic, "doctor")
    before = await kept(clinic, survivor, duplicate)
    assert (await try_merge(receptionist, survivor, duplicate)).codes == ["FORBIDDEN"]
    assert (await preview(receptionist, survivor, duplicate))["obstacles"] == []  # may find out, and ask for it
    assert await kept(clinic, survivor, duplicate) == before
    made = await merged(doctor, survivor, duplicate)
    assert made["formerId"] == duplicate["id"]
    assert (await try_unmerge(receptionist, made)).codes == ["FORBIDDEN"]


async def test_the_same_key_merges_once(admin: Client) -> None:
    survivor, duplicate, third = [await register(admin) for _ in range(3)]
    given = {**await versions(admin, survivor, duplicate), "reason": WHY, "idempotencyKey": "merge-1"}
    first = await admin.gql(MERGE, input=given)
    again = await admin.gql(MERGE, input=given)
    assert first.data["mergePatients"]["id"] == again.data["mergePatients"]["id"]
    other = {**given, **await versions(admin, survivor, third)}
    for changed in (other, {**given, "reason": "Another reason it is."}):
        assert (await admin.gql(MERGE, input=changed)).codes == ["IDEMPOTENCY_CONFLICT"]
    assert (await one(admin, third))["id"] == third["id"]


async def test_what_breaks_in_the_middle_leaves_everything_as_it_was(
    admin: Client, clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    survivor, duplicate = await register(admin), await register(admin, email="e@example.com")
    notice = await notification(clinic, duplicate)
    before = await kept(clinic, survivor, duplicate, changes=True)

    async def broken(*_: Any, **__: Any) -> bool:
        assert await whose(clinic, notice) == duplicate["id"], "nobody sees what is not yet done"
        raise RuntimeError("the lights went out")

    with monkeypatch.context() as patched:
        patched.setattr(SharedCollection, "leave", broken)
        assert (await try_merge(admin, survivor, duplicate)).codes == ["INTERNAL"]
    assert await kept(clinic, survivor, duplicate, changes=True) == before
    assert (await admin.gql(MERGES)).data["patientMerges"]["edges"] == []
    await merged(admin, survivor, duplicate)


async def test_the_snapshot_lies_sealed_in_the_database(admin: Client, settings: Settings) -> None:
    survivor = await register(admin)
    duplicate = await register(admin, familyName="Hiddenaway", phone="+12125550110", notes="Very private")
    made = await merged(admin, survivor, duplicate, reason="Because Hiddenaway said so.")
    async with AsyncMongoClient[Row](settings.mongodb_uri) as client:
        row = await client[settings.mongodb_database]["patient_merges"].find_one({"_id": ObjectId(made["id"])})
    assert not [text for text in ("Hiddenaway", "2125550110", "private") if text in str(row)]


# --- the audit --------------------------------------------------------------------------------------------------------

LOG = "query($filter: AuditLogFilter) { auditLog(first: 100, filter: $filter) { edges { node { id action } } } }"


async def test_both_are_named_in_the_audit_and_old_entries_are_found(admin: Client, clinic: Clinic) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    async with tenant_scope(clinic.ref):
        before = {row["_id"]: row for row in await AuditEntry.rows({"patient_ids": ObjectId(duplicate["id"])})}
    assert before
    made = await merged(admin, survivor, duplicate)
    await unmerged(admin, made)
    again = await merged(admin, survivor, duplicate)

    async with tenant_scope(clinic.ref):
        named = await AuditEntry.rows({"action": {"$in": ["patient.merge", "patient.unmerge"]}}, sort=[("seq", 1)])
        rows = {row["_id"]: row for row in await AuditEntry.rows({"_id": {"$in": list(before)}})}
        verdict = await verify(clinic.tenant)
    assert [row["action"] for row in named] == ["patient.merge", "patient.unmerge", "patient.merge"]
    assert {frozenset(row["patient_ids"]) for row in named} == {
        frozenset({ObjectId(survivor["id"]), ObjectId(duplicate["id"])})
    }
    assert named[-1]["subject"] == f"patient_merges/{again['id']}"
    assert rows == before, "what was noted stays as it was noted"
    assert verdict.broken is None
    for id in (survivor["id"], duplicate["id"]):
        shown = (await admin.gql(LOG, filter={"patientId": id})).data["auditLog"]["edges"]
        assert {str(one) for one in before} <= {edge["node"]["id"] for edge in shown}


# --- what is in the way -----------------------------------------------------------------------------------------------


async def obstructed(client: Client, survivor: Row, duplicate: Row, kind: str) -> str:
    """The preview names it, and the merge is refused in the same words."""
    [seen] = (await preview(client, survivor, duplicate))["obstacles"]
    answer = await try_merge(client, survivor, duplicate)
    assert (seen["kind"], answer.codes) == (kind, ["INVALID_STATE"])
    assert seen["message"] in answer.errors[0]["message"]
    return str(seen["message"])


async def booked(desk: Desk, patient: Row, starts_at: str) -> Row:
    given = {"doctorId": desk.doctor, "patientId": patient["id"], "startsAt": starts_at}
    made: Row = (await desk.client.gql(CREATE, input=given)).data["createAppointment"]
    return made


async def test_appointments_at_the_same_time_are_in_the_way(
    admin: Client, clinic: Clinic, open_desk: OpenDesk, desk: Desk
) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    other = await open_desk(clinic)
    await booked(desk, survivor, wall(9))
    theirs = await booked(other, duplicate, wall(9))
    before = await kept(clinic, survivor, duplicate)

    told = await obstructed(admin, survivor, duplicate, "SAME_TIME")

    assert f"{wall(9)[:10]} 09:00" in told
    assert await kept(clinic, survivor, duplicate) == before
    await other.cancel(theirs)
    await merged(admin, survivor, duplicate)


async def test_appointments_that_are_over_are_in_nobodys_way(
    admin: Client, clinic: Clinic, open_desk: OpenDesk, desk: Desk
) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    other = await open_desk(clinic)
    mine, theirs = await booked(desk, survivor, wall(9)), await booked(other, duplicate, wall(9))
    ago = {"starts_at": now() - timedelta(days=3), "ends_at": now() - timedelta(days=3, minutes=-15)}
    async with tenant_scope(clinic.ref):
        for one in (mine, theirs):
            await Appointment.guarded().update_one({"_id": ObjectId(one["id"])}, {"$set": ago})
    before = await kept(clinic, survivor, duplicate)

    made = await merged(admin, survivor, duplicate)

    held = (await kept(clinic, survivor))["appointments"]
    claims = [claim for row in held.values() for claim in row["claims"]]
    assert len(held) == 2
    assert len(claims) == len(set(claims)) == 9  # three buckets for each doctor, and once for the patient
    await unmerged(admin, made)
    assert await kept(clinic, survivor, duplicate) == before


async def test_a_time_that_the_duplicate_had_is_the_survivors(
    admin: Client, clinic: Clinic, open_desk: OpenDesk, desk: Desk
) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    await booked(desk, duplicate, wall(9))
    made = await merged(admin, survivor, duplicate)
    other = await open_desk(clinic)
    wanted = {"doctorId": other.doctor, "patientId": survivor["id"], "startsAt": wall(9)}

    assert (await other.client.gql(CREATE, input=wanted)).codes == ["SLOT_TAKEN"]

    await unmerged(admin, made)
    assert (await other.client.gql(CREATE, input=wanted)).data
    again = await other.client.gql(CREATE, input={**wanted, "patientId": duplicate["id"]})
    assert again.codes == ["SLOT_TAKEN"]


async def test_places_in_the_same_queue_are_in_the_way(server: Server, admin: Client, clinic: Clinic) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    nurse = await server.sign_in(clinic, "nurse")
    await done(nurse, "enqueuePatient", patientId=survivor["id"], queue={"desk": "Blood"})
    await done(nurse, "enqueuePatient", patientId=duplicate["id"], queue={"desk": "Cash"})
    assert (await preview(admin, survivor, duplicate))["obstacles"] == []
    second = await done(nurse, "enqueuePatient", patientId=duplicate["id"], queue={"desk": "Blood"})

    assert str(second["ticket"]) in await obstructed(admin, survivor, duplicate, "SAME_QUEUE")

    await done(nurse, "leaveQueue", id=second["id"], version=second["version"])
    await merged(admin, survivor, duplicate)
    again = await say(nurse, "enqueuePatient", patientId=survivor["id"], queue={"desk": "Cash"})
    assert again.codes == ["CONFLICT"]


async def test_two_memberships_are_in_the_way(admin: Client, clinic: Clinic) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    async with tenant_scope(clinic.ref):
        for one in (survivor, duplicate):
            await PatientMembership(
                patient_id=PydanticObjectId(one["id"]), plan_id=PydanticObjectId(), starts_on="2026-01-01",
                ends_on="2026-12-31",
            ).insert()  # fmt: skip
    await obstructed(admin, survivor, duplicate, "TWO_MEMBERSHIPS")
    async with tenant_scope(clinic.ref):
        gone = {"$set": {"status": "cancelled"}}
        await PatientMembership.guarded().update_one({"patient_id": ObjectId(survivor["id"])}, gone)
    await merged(admin, survivor, duplicate)


async def test_an_archived_survivor_is_in_the_way(admin: Client) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    await admin.gql(ARCHIVE, input={"id": survivor["id"]})
    await obstructed(admin, survivor, duplicate, "SURVIVOR_ARCHIVED")


ERASE = "mutation($input: ErasePatientInput!) { erasePatient(input: $input) { id status formerDigests } }"


async def erased(client: Client, patient: Row) -> Row:
    given = {"patientId": patient["id"], "code": patient["record"]["code"], "basis": "OBJECTION"}
    told: Row = (await client.gql(ERASE, input=given)).data["erasePatient"]
    return told


async def test_an_erasure_that_the_law_holds_up_is_in_the_way(admin: Client, clinic: Clinic, desk: Desk) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    made = await booked(desk, duplicate, wall(9))
    ago = {"starts_at": now() - timedelta(days=3), "ends_at": now() - timedelta(days=3, minutes=-15)}
    async with tenant_scope(clinic.ref):
        over = {"$set": {**ago, "status": "fulfilled"}}
        await Appointment.guarded().update_one({"_id": ObjectId(made["id"])}, over)
    assert (await erased(admin, duplicate))["status"] == "PARTIAL"
    await obstructed(admin, survivor, duplicate, "ERASED")


async def test_more_than_one_transaction_holds_is_in_the_way(
    admin: Client, clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    for _ in range(3):
        await notification(clinic, duplicate)
    monkeypatch.setattr(moving, "MOST", 2)
    await obstructed(admin, survivor, duplicate, "TOO_LARGE")
    await merged(admin, duplicate, survivor)


async def test_emergency_access_to_the_duplicate_is_in_the_way(admin: Client) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    text = "mutation($input: BreakGlassInput!) { breakGlass(input: $input) { id } }"
    given = {"reason": "UNCONSCIOUS", "note": "Found on the street."}
    await admin.gql(text, input={"patientId": survivor["id"], **given})
    assert (await preview(admin, survivor, duplicate))["obstacles"] == []
    opened = (await admin.gql(text, input={"patientId": duplicate["id"], **given})).data["breakGlass"]
    await obstructed(admin, survivor, duplicate, "EMERGENCY_OPEN")
    end = "mutation($input: EndBreakGlassInput!) { endBreakGlass(input: $input) { id } }"
    await admin.gql(end, input={"id": opened["id"]})
    await merged(admin, survivor, duplicate)


# --- what hangs together ----------------------------------------------------------------------------------------------


async def test_what_was_paid_since_goes_back_with_its_invoice(
    admin: Client, clinic: Clinic, open_till: OpenTill
) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    till = replace(await open_till(clinic), patient=duplicate["id"])
    invoice = await till.issued("100.00")
    made = await merged(admin, survivor, duplicate)
    assert (await till.invoice(invoice["id"]))["patient"]["id"] == survivor["id"]
    await till.paid(await till.invoice(invoice["id"]), "40.00")

    await unmerged(admin, made)

    [payment] = await till.payments_of(invoice)
    assert str(payment["patient_id"]) == duplicate["id"]
    assert (await till.invoice(invoice["id"]))["patient"]["id"] == duplicate["id"]


# --- what comes late --------------------------------------------------------------------------------------------------


async def test_nothing_new_is_written_for_the_old_id(server: Server, admin: Client, clinic: Clinic, desk: Desk) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    await merged(admin, survivor, duplicate)
    nurse = await server.sign_in(clinic, "nurse")
    wanted = {"doctorId": desk.doctor, "patientId": duplicate["id"], "startsAt": wall(9)}
    visit = "mutation($input: StartVisitInput!) { startVisit(input: $input) { id } }"

    for answer in (
        await desk.client.gql(CREATE, input=wanted),
        await say(nurse, "enqueuePatient", patientId=duplicate["id"], queue={"desk": "Cash"}),
        await nurse.gql(visit, input={"patientId": duplicate["id"]}),
    ):
        assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.patientId"])
    update = await admin.gql(UPDATE, input={"id": duplicate["id"], "version": 1, "sex": "MALE"})
    assert (update.codes, update.paths) == (["NOT_FOUND"], ["input.id"])
    assert await kept(clinic, duplicate, changes=True) == {}


async def test_what_was_on_its_way_to_the_duplicate_follows_and_goes_back(
    admin: Client, clinic: Clinic, settings: Settings
) -> None:
    first, second, third = [await register(admin) for _ in range(3)]
    earlier = await merged(admin, second, first)
    later = await merged(admin, third, second)
    notice = await notification(clinic, first)  # by a request that had looked before both

    with open_scope(Scope(request_id="test")):
        await run_job("follow-merges", settings)

    assert await whose(clinic, notice) == third["id"]
    await unmerged(admin, later)
    assert await whose(clinic, notice) == second["id"]
    await unmerged(admin, earlier)
    assert await whose(clinic, notice) == first["id"]


async def test_a_booking_beside_the_merge_is_refused_or_follows(admin: Client, clinic: Clinic, desk: Desk) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    given = {**await versions(admin, survivor, duplicate), "reason": WHY}
    wanted = {"doctorId": desk.doctor, "patientId": duplicate["id"], "startsAt": wall(9)}

    merge, booking = await asyncio.gather(admin.gql(MERGE, input=given), desk.client.gql(CREATE, input=wanted))
    async with tenant_scope(clinic.ref):
        await following.follow_all()

    assert merge.codes == []
    assert booking.codes in ([], ["NOT_FOUND"])
    assert await kept(clinic, duplicate, changes=True) == {}
    assert len((await kept(clinic, survivor)).get("appointments", {})) == (0 if booking.codes else 1)


async def test_a_merge_is_followed_until_nothing_can_be_on_its_way(admin: Client, clinic: Clinic) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    made = await merged(admin, survivor, duplicate)

    async def settled() -> bool:
        async with tenant_scope(clinic.ref):
            await following.follow_all()
            [row] = await PatientMerge.rows({"_id": ObjectId(made["id"])})
        return row["settled_at"] is not None

    assert not await settled()
    async with tenant_scope(clinic.ref):
        ago = {"$set": {"merged_at": now() - following.SETTLED - timedelta(seconds=1)}}
        await PatientMerge.guarded().update_one({"_id": ObjectId(made["id"])}, ago)
    assert await settled()


async def test_what_cannot_follow_yet_waits(admin: Client, clinic: Clinic) -> None:
    """Somebody sold the duplicate a membership while it was merged into a patient who has one."""
    survivor, duplicate = await register(admin), await register(admin)
    made = await merged(admin, survivor, duplicate)
    async with tenant_scope(clinic.ref):
        for one in (survivor, duplicate):
            await PatientMembership(
                patient_id=PydanticObjectId(one["id"]), plan_id=PydanticObjectId(), starts_on="2026-01-01",
                ends_on="2026-12-31",
            ).insert()  # fmt: skip
        assert await following.follow(ObjectId(made["id"])) == 0
        gone = {"$set": {"status": "cancelled"}}
        await PatientMembership.guarded().update_one({"patient_id": ObjectId(survivor["id"])}, gone)
        assert await following.follow(ObjectId(made["id"])) == 1
    assert await kept(clinic, duplicate) == {}


async def test_an_appointment_that_follows_gives_way_to_the_survivors_own(
    admin: Client, clinic: Clinic, open_desk: OpenDesk, desk: Desk
) -> None:
    """Somebody booked the duplicate, whom they had looked for before the merge, for a time that the survivor has."""
    survivor, duplicate, third = [await register(admin) for _ in range(3)]
    other = await open_desk(clinic)
    await booked(desk, survivor, wall(9))
    late = await booked(other, third, wall(9))
    made = await merged(admin, survivor, duplicate)
    async with tenant_scope(clinic.ref):
        [row] = await Appointment.rows({"_id": ObjectId(late["id"])})
        claims = [claim.replace(third["id"], duplicate["id"]) for claim in row["claims"]]
        change = {"$set": {"patient_id": ObjectId(duplicate["id"]), "claims": claims}}
        await Appointment.guarded().update_one({"_id": row["_id"]}, change)
        assert await following.follow(ObjectId(made["id"])) == 1
    held = (await kept(clinic, survivor))["appointments"][row["_id"]]
    assert held["claims"] == [claim for claim in claims if duplicate["id"] not in claim]

    await unmerged(admin, made)

    assert (await kept(clinic, duplicate))["appointments"][row["_id"]]["claims"] == claims


# --- chains and races -------------------------------------------------------------------------------------------------


async def test_merges_in_a_row_lead_to_the_last_and_are_undone_backwards(admin: Client, clinic: Clinic) -> None:
    first, second, third = [await register(admin) for _ in range(3)]
    notices = [await notification(clinic, one) for one in (first, second, third)]
    before = await kept(clinic, first, second, third)
    earlier = await merged(admin, second, first)
    later = await merged(admin, third, second)

    for old in (first, second):
        assert (await one(admin, old))["id"] == third["id"]
        assert await found(admin, old["record"]["code"]) == [third["id"]]
    assert [await whose(clinic, notice) for notice in notices] == [third["id"]] * 3
    codes = [former["code"] for former in later["survivor"]["mergedFrom"]]
    assert codes == [second["record"]["code"], first["record"]["code"]]
    refused = await try_unmerge(admin, earlier)
    assert refused.codes == ["INVALID_STATE"]
    assert second["record"]["code"] in refused.errors[0]["message"]

    await unmerged(admin, later)
    assert (await one(admin, first))["id"] == second["id"]
    await unmerged(admin, earlier)
    assert await kept(clinic, first, second, third) == before
    assert (await try_unmerge(admin, earlier)).codes == ["INVALID_STATE"]


async def test_merges_into_one_are_undone_the_latest_first(admin: Client, clinic: Clinic) -> None:
    survivor, one, other = await register(admin), await register(admin, notes="One"), await register(admin, notes="Two")
    before = await kept(clinic, survivor, one, other)
    first, second = await merged(admin, survivor, one), await merged(admin, survivor, other)
    assert second["survivor"]["record"]["notes"] == "One\n\nTwo"
    assert (await try_unmerge(admin, first)).codes == ["INVALID_STATE"]
    await unmerged(admin, second)
    await unmerged(admin, first)
    assert await kept(clinic, survivor, one, other) == before


async def test_who_was_merged_is_not_merged_again(admin: Client) -> None:
    survivor, duplicate, third = [await register(admin) for _ in range(3)]
    await merged(admin, survivor, duplicate)
    for pair, path in (((third, duplicate), "input.duplicateId"), ((duplicate, third), "input.survivorId")):
        given = await versions(admin, *pair)
        answer = await admin.gql(MERGE, input={**given, "reason": WHY})
        assert (answer.codes, answer.paths) == (["INVALID_STATE"], [path])
        assert survivor["id"] in str(answer.errors)


async def test_of_two_who_merge_each_into_the_other_one_wins(admin: Client, clinic: Clinic) -> None:
    one, other = await register(admin), await register(admin)
    notices = [await notification(clinic, patient) for patient in (one, other)]
    ways = [{**await versions(admin, *pair), "reason": WHY} for pair in ((one, other), (other, one))]

    answers = await asyncio.gather(*(admin.gql(MERGE, input=given) for given in ways))

    [won] = [answer.data["mergePatients"] for answer in answers if not answer.codes]
    [lost] = [answer.codes for answer in answers if answer.codes]
    assert lost in (["INVALID_STATE"], ["CONFLICT"])
    assert {await whose(clinic, notice) for notice in notices} == {won["survivor"]["id"]}
    assert await found(admin) == [won["survivor"]["id"]]


async def test_merges_of_overlapping_pairs_at_once_end_as_one_after_the_other(admin: Client, clinic: Clinic) -> None:
    a, b, c = [await register(admin) for _ in range(3)]
    notices = {patient["id"]: await notification(clinic, patient) for patient in (a, b, c)}
    ways = [{**await versions(admin, *pair), "reason": WHY} for pair in ((b, a), (c, b))]

    answers = await asyncio.gather(*(admin.gql(MERGE, input=given) for given in ways))

    codes = [answer.codes for answer in answers]
    assert [] in codes
    assert sum(bool(one) for one in codes) == 1, "both files must be as they were looked at"
    survivors = [b["id"], c["id"]] if codes[1] else [a["id"], c["id"]]
    assert sorted(await found(admin)) == sorted(survivors if not codes[0] or not codes[1] else [])
    places = {id: await whose(clinic, notice) for id, notice in notices.items()}
    expected = {a["id"]: b["id"], b["id"]: b["id"]} if codes[1] else {a["id"]: a["id"], b["id"]: c["id"]}
    assert {id: places[id] for id in expected} == expected
    assert set(places.values()) <= set(survivors)


async def test_undoing_takes_a_reason_and_the_present_version(admin: Client, clinic: Clinic) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    made = await merged(admin, survivor, duplicate)
    before = await kept(clinic, survivor)
    short = await try_unmerge(admin, made, reason="oops")
    assert (short.codes, short.paths) == (["VALIDATION_FAILED"], ["input.reason"])
    stale = await try_unmerge(admin, made, version=made["version"] + 1)
    assert (stale.codes, stale.paths) == (["CONFLICT"], ["input.version"])
    assert await kept(clinic, survivor) == before


async def test_of_two_who_undo_a_merge_at_once_one_does(admin: Client, clinic: Clinic) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    before = await kept(clinic, survivor, duplicate)
    made = await merged(admin, survivor, duplicate)
    answers = await asyncio.gather(*(try_unmerge(admin, made) for _ in range(2)))
    assert sorted(map(str, (answer.codes for answer in answers))) in (
        ["['CONFLICT']", "[]"],
        ["['INVALID_STATE']", "[]"],
    )
    assert await kept(clinic, survivor, duplicate) == before


# --- erasing ----------------------------------------------------------------------------------------------------------


async def test_erasing_the_survivor_takes_the_snapshot_along(admin: Client, settings: Settings) -> None:
    survivor, duplicate = await register(admin), await register(admin, familyName="Vanishing", notes="Gone too")
    await merged(admin, survivor, duplicate)

    told = await erased(admin, survivor)

    assert (told["status"], len(told["formerDigests"])) == ("COMPLETE", 1)
    assert (await admin.gql(ONE, id=duplicate["id"])).codes == ["NOT_FOUND"]
    assert await found(admin, duplicate["record"]["code"]) == []
    async with AsyncMongoClient[Row](settings.mongodb_uri) as client:
        stored = client[settings.mongodb_database]
        assert await stored["patient_merges"].find_one({"former_id": duplicate["id"]}) is None
        for name in await stored.list_collection_names():
            async for row in stored[name].find({}):
                assert "Vanishing" not in str(row), name
