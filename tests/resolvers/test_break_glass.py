"""Emergency access: narrow, short, seen at both clinics, and reviewed by somebody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId
from pymongo import AsyncMongoClient

from app.config import Settings
from app.services.outbox import unseal
from app.tenancy.scope import Database
from models.values import now
from tests.fixtures.clinics import Client, MakeClinic, Server
from tests.resolvers.patient_calls import NOWHERE, share
from tests.resolvers.sharing_calls import BREAK, END, HISTORY, REVIEW, REVIEWS, Desk, nodes

WHY = {"reason": "UNCONSCIOUS", "note": "found in the street"}


@pytest_asyncio.fixture
async def desks(make_clinic: MakeClinic, server: Server) -> tuple[Desk, Desk, Desk]:
    """A, where the patient's records are; B, whose doctor needs them; C, which has nothing to do with it."""
    a, b, c = [await make_clinic() for _ in range(3)]
    return (
        Desk(a, await server.sign_in(a)),
        Desk(b, await server.sign_in(b, "doctor")),
        Desk(c, await server.sign_in(c, "doctor")),
    )


@pytest_asyncio.fixture
async def patient(desks: tuple[Desk, Desk, Desk]) -> dict[str, Any]:
    """Of A and B, without any consent."""
    a, b, _ = desks
    made = await a.patient()
    await a.appointment(made)
    await share(made, a.clinic, b.clinic)
    return made


@pytest_asyncio.fixture
async def b_admin(desks: tuple[Desk, Desk, Desk], server: Server) -> Client:
    return await server.sign_in(desks[1].clinic)


@pytest_asyncio.fixture
async def raw(server: Server, settings: Settings) -> AsyncIterator[Database]:
    async with AsyncMongoClient[dict[str, Any]](settings.mongodb_uri, tz_aware=True) as client:
        yield client[settings.mongodb_database]


async def broken(desk: Desk, patient: dict[str, Any], **values: Any) -> dict[str, Any]:
    answer = await desk.client.gql(BREAK, input={**WHY, "patientId": patient["id"], **values})
    made: dict[str, Any] = answer.data["breakGlass"]
    return made


async def test_a_doctor_sees_what_no_consent_opened_and_both_clinics_are_told(
    desks: tuple[Desk, Desk, Desk], patient: dict[str, Any], b_admin: Client, raw: Database
) -> None:
    a, b, c = desks
    assert await b.history(patient) == []

    made = await broken(b, patient)

    [seen] = await b.history(patient)
    assert (seen["clinicName"], seen["basis"]) == (a.clinic.tenant.name, "EMERGENCY")
    assert len(seen["appointments"]) == 1
    assert seen["notes"] == [{"text": "private to the clinic"}]
    assert made["endsAt"] <= (now() + timedelta(minutes=60)).isoformat()
    [here] = nodes(await b_admin.gql(REVIEWS))
    [there] = nodes(await a.client.gql(REVIEWS))
    assert (here["side"], there["side"]) == ("OPENED_HERE", "OPENED_ELSEWHERE")
    for one in (here, there):
        assert (one["personName"], one["clinicName"]) == ("Doctor Person", b.clinic.tenant.name)
        assert (one["reason"], one["note"], one["patient"]["id"]) == (*WHY.values(), patient["id"])
    assert here["id"] != there["id"]
    about = {"patient_ids": ObjectId(patient["id"]), "action": "sharedHistory", "result": "ok"}
    assert await raw["audit_entries"].count_documents({"tenant_id": a.clinic.tenant.id, **about}) == 1
    [read] = await raw["platform_audit"].find({"action": "patient.break_glass", "tenant": a.clinic.tenant.id}).to_list()
    assert patient["id"] not in str(read)
    assert (await c.client.gql(HISTORY, patientId=patient["id"])).codes == ["NOT_FOUND"]
    assert await raw["break_glass"].count_documents({"tenant_id": c.clinic.tenant.id}) == 0


async def test_the_other_clinics_admins_get_a_letter_without_the_patient(
    desks: tuple[Desk, Desk, Desk], patient: dict[str, Any], raw: Database, settings: Settings
) -> None:
    a, b, _ = desks
    await broken(b, patient)

    [row] = await raw["outbox"].find({"clinic_id": a.clinic.tenant.id, "kind": "break_glass"}).to_list()
    if row["sealed"] is not None:
        content = unseal(settings.session_secret, row["_id"], row["sealed"])
        assert content["to"] == a.clinic.emails["admin"]
        for hidden in (patient["name"], patient["id"], b.clinic.tenant.name, WHY["note"]):
            assert hidden not in str(content)
    assert await raw["outbox"].count_documents({"clinic_id": b.clinic.tenant.id, "kind": "break_glass"}) == 0


async def test_it_opens_what_was_asked_for_to_the_one_who_asked(
    desks: tuple[Desk, Desk, Desk], patient: dict[str, Any], b_admin: Client
) -> None:
    _, b, _ = desks
    await broken(b, patient, categories=["APPOINTMENTS"])
    [seen] = await b.history(patient)
    assert seen["notes"] is None
    assert len(seen["appointments"]) == 1
    assert (await b_admin.gql(HISTORY, patientId=patient["id"])).data["sharedHistory"] == []


@pytest.mark.parametrize("how", ["in time", "by the doctor", "by the admin here", "by review here", "by review there"])
async def test_it_ends(
    how: str, desks: tuple[Desk, Desk, Desk], patient: dict[str, Any], b_admin: Client, raw: Database
) -> None:
    a, b, _ = desks
    made = await broken(b, patient)
    assert await b.history(patient)
    found = {"version": 1, "outcome": "UNJUSTIFIED", "note": "no emergency"}
    if how == "in time":
        over = {"$set": {"ends_at": now() - timedelta(seconds=1)}}
        await raw["break_glass"].update_many({"patient_id": ObjectId(patient["id"])}, over)
    elif how == "by review there":
        [there] = nodes(await a.client.gql(REVIEWS))
        assert (await a.client.gql(REVIEW, input={"id": there["id"], **found})).data["reviewBreakGlass"]["endedAt"]
    elif how == "by review here":
        assert (await b_admin.gql(REVIEW, input={"id": made["id"], **found})).data["reviewBreakGlass"]["endedAt"]
    else:
        client = b.client if how == "by the doctor" else b_admin
        assert (await client.gql(END, input={"id": made["id"]})).data["endBreakGlass"]["endedAt"]
        [there] = nodes(await a.client.gql(REVIEWS))
        assert there["endedAt"] is not None
        assert (await client.gql(END, input={"id": made["id"]})).codes == ["INVALID_STATE"]
    assert await b.history(patient) == []


async def test_the_one_who_broke_the_glass_does_not_review_it(
    desks: tuple[Desk, Desk, Desk], patient: dict[str, Any], b_admin: Client, server: Server
) -> None:
    a, b, _ = desks
    admin = Desk(b.clinic, b_admin)
    mine = await broken(admin, patient)
    review = {"version": 1, "outcome": "JUSTIFIED", "note": "fine"}

    own = await b_admin.gql(REVIEW, input={"id": mine["id"], **review})

    assert own.codes == ["FORBIDDEN"]
    assert len(await admin.history(patient)) == 1
    assert (await b.client.gql(REVIEW, input={"id": mine["id"], **review})).codes == ["FORBIDDEN"], "no right to"
    [there] = nodes(await a.client.gql(REVIEWS, filter={"reviewed": False}))
    done = (await a.client.gql(REVIEW, input={"id": there["id"], **review})).data["reviewBreakGlass"]
    assert (done["outcome"], done["reviewNote"], done["version"]) == ("JUSTIFIED", "fine", 2)
    again = await a.client.gql(REVIEW, input={"id": there["id"], **review, "version": 2})
    assert again.codes == ["INVALID_STATE"]
    assert nodes(await a.client.gql(REVIEWS, filter={"reviewed": False})) == []
    assert [one["id"] for one in nodes(await b_admin.gql(REVIEWS, filter={"reviewed": False}))] == [mine["id"]]


async def test_who_looks_and_who_reviews_must_say_why(
    desks: tuple[Desk, Desk, Desk], patient: dict[str, Any], raw: Database
) -> None:
    a, b, _ = desks
    silent = await b.client.gql(BREAK, input={**WHY, "note": "  ", "patientId": patient["id"]})
    assert (silent.codes, silent.paths) == (["VALIDATION_FAILED"], ["input.note"])
    assert nodes(await a.client.gql(REVIEWS)) == []
    await broken(b, patient)
    [there] = nodes(await a.client.gql(REVIEWS))
    answer = await a.client.gql(REVIEW, input={"id": there["id"], "version": 1, "outcome": "JUSTIFIED", "note": " "})
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.note"])
    assert nodes(await a.client.gql(REVIEWS)) == [there]
    stored = await raw["break_glass"].find({"patient_id": ObjectId(patient["id"])}).to_list()
    assert len(stored) == 2
    assert WHY["note"] not in str(stored), "sealed under each clinic's own key"


async def test_each_clinic_ends_and_reviews_its_own_entry_only(
    desks: tuple[Desk, Desk, Desk], patient: dict[str, Any]
) -> None:
    a, b, _ = desks
    made = await broken(b, patient)
    review = {"version": 1, "outcome": "JUSTIFIED", "note": "fine"}
    for id in (made["id"], NOWHERE):
        assert (await a.client.gql(REVIEW, input={"id": id, **review})).codes == ["NOT_FOUND"]
        assert (await a.client.gql(END, input={"id": id})).codes == ["NOT_FOUND"]
    [there] = nodes(await a.client.gql(REVIEWS))
    assert (await a.client.gql(END, input={"id": there["id"]})).codes == ["INVALID_STATE"]
    assert await b.history(patient)


async def test_a_patient_is_named_by_the_clinics_code_too(
    desks: tuple[Desk, Desk, Desk], patient: dict[str, Any]
) -> None:
    a, b, _ = desks
    own = await b.patient()
    answer = await b.client.gql(BREAK, input={**WHY, "patientCode": f" {own['record']['code'].lower()}"})
    assert answer.data["breakGlass"]["id"]
    for given, code, path in (
        ({"patientCode": own["record"]["code"] + "9"}, "NOT_FOUND", "input.patientCode"),
        ({"patientId": NOWHERE}, "NOT_FOUND", "input.patientId"),
        ({}, "VALIDATION_FAILED", "input.patientId"),
        ({"patientId": patient["id"], "patientCode": own["record"]["code"]}, "VALIDATION_FAILED", "input.patientId"),
    ):
        refused = await b.client.gql(BREAK, input={**WHY, **given})
        assert (refused.codes, refused.paths) == ([code], [path])
    assert nodes(await a.client.gql(REVIEWS)) == []


async def test_a_patient_of_one_clinic_alone_tells_nothing_by_being_opened(desks: tuple[Desk, Desk, Desk]) -> None:
    """Whether there is another clinic at all does not show."""
    _, b, _ = desks
    alone = await b.patient()
    made = await broken(b, alone)
    assert made["side"] == "OPENED_HERE"
    assert await b.history(alone) == []


async def test_only_clinicians_may_and_only_so_often(
    desks: tuple[Desk, Desk, Desk], patient: dict[str, Any], server: Server, raw: Database
) -> None:
    a, b, _ = desks
    for role in ("nurse", "receptionist", "accountant"):
        client = await server.sign_in(b.clinic, role)
        answer = await client.gql(BREAK, input={**WHY, "patientId": patient["id"]})
        assert answer.codes == ["FORBIDDEN"]
    assert await raw["break_glass"].count_documents({"patient_id": ObjectId(patient["id"])}) == 0
    for _ in range(5):
        await broken(b, patient)
    answer = await b.client.gql(BREAK, input={**WHY, "patientId": patient["id"]})
    assert answer.codes == ["RATE_LIMITED"]
    assert len(nodes(await a.client.gql(REVIEWS))) == 5


async def test_a_clinic_that_the_patient_joins_afterwards_is_not_open(
    desks: tuple[Desk, Desk, Desk], patient: dict[str, Any]
) -> None:
    a, b, c = desks
    await broken(b, patient)
    await share(patient, a.clinic, c.clinic)
    assert [one["clinicName"] for one in await b.history(patient)] == [a.clinic.tenant.name]
