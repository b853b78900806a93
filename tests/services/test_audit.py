"""What is done with patients' data leaves an entry, without anybody's doing, or is not done at all."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pymongo
import pytest
import pytest_asyncio
from beanie import PydanticObjectId
from bson import ObjectId
from pymongo import AsyncMongoClient

from app.config import Settings
from app.services.audit import new_trail, record, sweep
from app.services.audit_chain import drain
from app.services.audit_verification import verify
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Database, narrowed
from app.tenancy.trail import BEGUN
from models import AuditEntry, AuditPending, Patient, PatientRecord
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.resolvers.patient_calls import ARCHIVE, CREATE, NOWHERE, ONE, family, register
from tests.server_process import server_process

Row = dict[str, Any]
LIST = "{ patients(first: 50) { edges { node { id name } } } }"
DEEP = "{ patients(first: 50) { edges { node { id record { code } appointments { edges { node { id } } } } } } }"
SLOTS = """query($doctor: ID!, $day: Date!) {
    availableSlots(doctorId: $doctor, from: $day, to: $day) { startsAt } }"""


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    """A clinic whose log nobody else writes."""
    return await make_clinic()


@pytest_asyncio.fixture
async def desk(server: Server, clinic: Clinic) -> Client:
    """Its receptionist."""
    return await server.sign_in(clinic, "receptionist")


@pytest_asyncio.fixture
async def stored(settings: Settings) -> AsyncIterator[Database]:
    """The database without the guard: what somebody with its password sees and can do."""
    async with AsyncMongoClient[dict[str, Any]](settings.mongodb_uri, tz_aware=True) as client:
        yield client[settings.mongodb_database]


async def log_of(clinic: Clinic, **where: Any) -> list[Row]:
    async with tenant_scope(clinic.ref):
        return await AuditEntry.rows(where, sort=[("seq", 1)])


async def person(clinic: Clinic, role: str) -> ObjectId | None:
    return clinic.staff[role].user_id


# --- reads ----------------------------------------------------------------------------------------------------------


async def test_a_read_tells_who_saw_whom_and_in_which_request(desk: Client, clinic: Clinic) -> None:
    ids = {ObjectId((await register(desk))["id"]) for _ in range(3)}
    answer = await desk.gql(LIST)

    [entry] = await log_of(clinic, action="patients")
    assert set(entry["patient_ids"]) == ids
    assert (entry["user_id"], entry["result"]) == (await person(clinic, "receptionist"), "ok")
    assert entry["request_id"] == answer.response.headers["x-request-id"]
    assert entry["address"].startswith("127.")
    assert entry["collections"] == ["patients"]


async def test_no_entry_holds_what_a_document_says(desk: Client, clinic: Clinic, stored: Database) -> None:
    name = family()
    made = await register(desk, familyName=name, phone="+12125550142", notes="Afraid of needles")
    await desk.gql(ONE, id=made["id"])
    rows = await stored["audit_entries"].find({"tenant_id": clinic.tenant.id}).to_list()
    text = str(rows)
    assert rows
    assert not [word for word in (name, "2125550142", "needles", made["record"]["code"]) if word in text]


async def test_each_root_field_has_its_own_entry_with_what_was_read_for_it(desk: Client, clinic: Clinic) -> None:
    one, other = await register(desk), await register(desk)
    both = "query($a: ID!, $b: ID!) { patient(id: $a) { name record { code } } second: patient(id: $b) { name } }"
    await desk.gql(both, a=one["id"], b=other["id"])

    entries = await log_of(clinic, action="patient")
    told = {entry["patient_ids"][0]: entry["collections"] for entry in entries}
    assert told == {ObjectId(one["id"]): ["patient_records", "patients"], ObjectId(other["id"]): ["patients"]}


async def test_rows_that_hang_on_patients_count_as_theirs(desk: Client, clinic: Clinic) -> None:
    made = [await register(desk) for _ in range(2)]
    await desk.gql(DEEP)
    [entry] = await log_of(clinic, action="patients")
    assert entry["collections"] == ["appointments", "patient_records", "patients"]
    assert set(entry["patient_ids"]) == {ObjectId(one["id"]) for one in made}


async def test_what_concerns_no_patient_leaves_no_entry(desk: Client, clinic: Clinic) -> None:
    before = len(await log_of(clinic))
    doctor = str(clinic.staff["doctor"].id)
    await desk.gql("{ rooms { totalCount } clinic { name } viewer { name } }")
    await desk.gql(SLOTS, doctor=doctor, day="2030-01-07")
    assert len(await log_of(clinic)) == before


async def test_a_search_that_finds_nobody_is_told_too(desk: Client, clinic: Clinic) -> None:
    await desk.gql('{ patients(filter: {search: "nobody of that name"}) { edges { node { id } } } }')
    [entry] = await log_of(clinic, action="patients")
    assert entry["patient_ids"] == []


# --- refusals -------------------------------------------------------------------------------------------------------


async def test_a_member_who_may_not_do_it_is_told_of(server: Server, clinic: Clinic) -> None:
    accountant = await server.sign_in(clinic, "accountant")
    assert (await accountant.gql(CREATE, input={"givenName": "Ana", "familyName": "B"})).codes == ["FORBIDDEN"]
    [entry] = await log_of(clinic, action="createPatient")
    assert (entry["result"], entry["patient_ids"]) == ("FORBIDDEN", [])
    assert entry["user_id"] == await person(clinic, "accountant")


async def test_looking_for_another_clinics_patient_is_told_here_and_not_there(
    desk: Client, clinic: Clinic, stranger: Client, clinic_b: Clinic
) -> None:
    foreign = (await register(stranger))["id"]
    assert (await desk.gql(ONE, id=foreign)).codes == ["NOT_FOUND"]
    [entry] = await log_of(clinic, action="patient")
    assert (entry["result"], entry["patient_ids"]) == ("NOT_FOUND", [])
    theirs = await log_of(clinic_b, patient_ids=ObjectId(foreign))
    assert {one["user_id"] for one in theirs} == {await person(clinic_b, "admin")}


async def test_somebody_from_elsewhere_leaves_no_name_in_the_clinics_log(clinic: Clinic, stranger: Client) -> None:
    intruder = Client(stranger.http, stranger.token)
    intruder.http.headers["host"] = clinic.host
    try:
        assert (await intruder.gql(LIST)).codes == ["TENANT_MISMATCH"]
    finally:
        del intruder.http.headers["host"]
    assert await log_of(clinic, action="patients") == []


# --- changes --------------------------------------------------------------------------------------------------------


async def test_a_change_is_announced_before_it_is_made_and_told_when_it_is(desk: Client, clinic: Clinic) -> None:
    made = await register(desk)
    entries = await log_of(clinic, action="createPatient")
    assert [entry["result"] for entry in entries] == ["begun", "ok"]
    assert {one for entry in entries for one in entry["patient_ids"]} == {ObjectId(made["id"])}

    await desk.gql(ARCHIVE, input={"id": made["id"]})
    assert [entry["result"] for entry in await log_of(clinic, action="archivePatient")] == ["begun", "ok"]


async def test_a_change_that_fails_says_so(desk: Client, clinic: Clinic) -> None:
    made = await register(desk)
    await desk.gql(ARCHIVE, input={"id": made["id"]})
    assert (await desk.gql(ARCHIVE, input={"id": made["id"]})).codes == ["INVALID_STATE"]
    last = (await log_of(clinic, action="archivePatient"))[-1]
    assert last["result"] == "INVALID_STATE"


@asynccontextmanager
async def unwritable(stored: Database, name: str = "audit_entries") -> AsyncIterator[None]:
    """No entry can be stored while the block lasts; or no document of another kind."""
    [found] = [one async for one in await stored.list_collections(filter={"name": name})]
    await stored.command("collMod", name, validator={"never": True})
    try:
        yield
    finally:
        await stored.command("collMod", name, validator=found["options"]["validator"])


async def test_a_change_that_breaks_off_is_not_told_as_done(desk: Client, clinic: Clinic, stored: Database) -> None:
    """Also for failures that nobody foresaw."""
    async with unwritable(stored, "patient_records"):
        assert (await desk.gql(CREATE, input={"givenName": "Ana", "familyName": family()})).codes == ["INTERNAL"]
    assert [entry["result"] for entry in await log_of(clinic, action="createPatient")] == [BEGUN, "INTERNAL"]


async def test_every_patient_is_named_before_their_data_is_changed(clinic: Clinic) -> None:
    """Not only the first of an act: a process may die between two writes."""
    one, other, third = PydanticObjectId(), PydanticObjectId(), ObjectId()
    async with tenant_scope(clinic.ref):
        with narrowed(trail=new_trail("many.changed")):
            for patient in (one, other):
                await PatientRecord(patient_id=patient, code=str(patient)).insert()
            await PatientRecord.guarded().update_one({"patient_id": one}, {"$set": {"insurer": "Any"}})
            assert [entry["patient_ids"] for entry in await log_of(clinic, result=BEGUN)] == [[one], [other]]
            [moved] = await PatientRecord.rows({"patient_id": other})
            await PatientRecord.guarded().update_one({"_id": moved["_id"]}, {"$set": {"patient_id": third}})
    assert [entry["patient_ids"] for entry in await log_of(clinic, result=BEGUN)] == [[one], [other], [third]]


async def test_a_patient_whose_data_an_upsert_makes_is_named(clinic: Clinic) -> None:
    patient, saved = ObjectId(), PydanticObjectId()
    async with tenant_scope(clinic.ref):
        with narrowed(trail=new_trail("upserted")):
            await PatientRecord.guarded().update_one(
                {"code": "U-1"}, {"$setOnInsert": {"patient_id": patient, "version": 1}}, upsert=True
            )
            await PatientRecord(id=PydanticObjectId(), patient_id=saved, code="U-2").save()
    assert [entry["patient_ids"] for entry in await log_of(clinic, result=BEGUN)] == [[patient], [saved]]


async def test_without_an_entry_nothing_is_shown(desk: Client, clinic: Clinic, stored: Database) -> None:
    made = await register(desk, familyName="Vanishing")
    async with unwritable(stored):
        answer = await desk.gql(ONE, id=made["id"])
        others = await desk.gql("{ rooms { totalCount } }")
    assert answer.status == 500
    assert answer.codes == ["INTERNAL"]
    assert "Vanishing" not in answer.response.text
    assert others.data == {"rooms": {"totalCount": 0}}
    assert (await desk.gql(ONE, id=made["id"])).data["patient"]["familyName"] == "Vanishing"


async def test_without_an_entry_nothing_is_changed(desk: Client, clinic: Clinic, stored: Database) -> None:
    made = await register(desk)

    async def kept() -> tuple[int, int, Row | None]:
        async with tenant_scope(clinic.ref):
            record = await PatientRecord.guarded().find_one({"patient_id": ObjectId(made["id"])})
            return (
                await Patient.guarded().count_documents({}),
                await PatientRecord.guarded().count_documents({}),
                record,
            )

    before = await kept()
    async with unwritable(stored):
        created = await desk.gql(CREATE, input={"givenName": "Ana", "familyName": family()})
        archived = await desk.gql(ARCHIVE, input={"id": made["id"]})
    assert (created.codes, archived.codes) == (["INTERNAL"], ["INTERNAL"])
    assert await kept() == before


# --- the chain ------------------------------------------------------------------------------------------------------


async def test_requests_side_by_side_share_their_writes(
    desk: Client, clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await register(desk)
    guarded, inserts = AuditEntry.guarded(), 0
    insert = type(guarded).insert_many

    async def counted(self: Any, documents: Any, **options: Any) -> Any:
        nonlocal inserts
        inserts += self is guarded
        return await insert(self, documents, **options)

    monkeypatch.setattr(type(guarded), "insert_many", counted)
    answers = await asyncio.gather(*(desk.gql(ONE, id=made["id"]) for _ in range(60)))

    assert all(answer.data["patient"]["id"] == made["id"] for answer in answers)
    assert len(await log_of(clinic, action="patient")) == 60
    assert inserts < 40
    seqs = [entry["seq"] for entry in await log_of(clinic)]
    assert seqs == list(range(1, len(seqs) + 1))


async def test_the_time_that_one_request_has_does_not_run_out_for_the_others(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes first starts the writing for all who come while it lasts."""
    guarded = AuditEntry.guarded()
    insert = type(guarded).insert_many

    async def slow(self: Any, *args: Any, **options: Any) -> Any:
        await asyncio.sleep(0.4 if self is guarded else 0)
        return await insert(self, *args, **options)

    monkeypatch.setattr(type(guarded), "insert_many", slow)

    async def hurried() -> None:
        with pymongo.timeout(0.2):
            await record("first.done")

    async with tenant_scope(clinic.ref):
        first = asyncio.create_task(hurried())
        await asyncio.sleep(0.05)
        await record("second.done")
        await first
    assert [entry["action"] for entry in await log_of(clinic)][-2:] == ["first.done", "second.done"]


async def test_whoever_goes_away_takes_nobody_elses_entry_along(clinic: Clinic) -> None:
    async with tenant_scope(clinic.ref):
        asked = [asyncio.create_task(record(f"act.{number}")) for number in range(40)]
        await asyncio.sleep(0)
        for one in asked[::2]:
            one.cancel()
        results = await asyncio.gather(*asked, return_exceptions=True)
    assert [one is None for one in results] == [number % 2 == 1 for number in range(40)]
    assert {f"act.{number}" for number in range(1, 40, 2)} <= {one["action"] for one in await log_of(clinic)}
    await drain()
    assert (await verify(clinic.tenant)).broken is None


async def test_two_servers_write_one_chain(desk: Client, clinic: Clinic, settings: Settings) -> None:
    made = await register(desk)
    with server_process(settings) as address:
        headers = {"Host": clinic.host, "Authorization": f"Bearer {desk.token}", "X-Polyclinic-Client": "tests"}
        async with httpx.AsyncClient(base_url=address, headers=headers) as other:
            body = {"query": ONE, "variables": {"id": made["id"]}}
            theirs, ours = await asyncio.gather(
                asyncio.gather(*(other.post("/graphql", json=body) for _ in range(30))),
                asyncio.gather(*(desk.gql(ONE, id=made["id"]) for _ in range(30))),
            )
    told = [one.json() for one in (*theirs, *(answer.response for answer in ours))]
    assert [one["errors"] for one in told if "errors" in one] == []
    assert len(await log_of(clinic, action="patient")) == 60
    await drain()
    found = await verify(clinic.tenant)
    assert (found.broken, found.entries) == (None, len(await log_of(clinic)))


async def test_whatever_was_answered_is_in_the_log_though_the_process_was_killed(
    desk: Client, clinic: Clinic, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whatever was changed was announced, answered or not."""
    made = await register(desk)
    started: list[Any] = []
    start = subprocess.Popen

    def noted(*args: Any, **more: Any) -> Any:
        started.append(start(*args, **more))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", noted)
    headers = {"Host": clinic.host, "Authorization": f"Bearer {desk.token}", "X-Polyclinic-Client": "tests"}
    answered: list[tuple[str, str]] = []

    async def ask(http: httpx.AsyncClient, query: str, variables: Row) -> None:
        with suppress(httpx.HTTPError):
            while True:
                answer = await http.post("/graphql", json={"query": query, "variables": variables})
                [shown] = answer.json()["data"].values()
                answered.append((answer.headers["x-request-id"], shown["id"]))
                if len(answered) == 120:
                    started[0].kill()

    with server_process(settings) as address:
        async with httpx.AsyncClient(base_url=address, headers=headers) as http:
            new = {"input": {"givenName": "Ana", "familyName": family()}}
            await asyncio.gather(
                *(ask(http, ONE, {"id": made["id"]}) for _ in range(8)), *(ask(http, CREATE, new) for _ in range(4))
            )
    told = {
        (entry["request_id"], str(one)) for entry in await log_of(clinic, result="ok") for one in entry["patient_ids"]
    }
    assert set(answered) <= told
    announced = {one for entry in await log_of(clinic, result=BEGUN) for one in entry["patient_ids"]}
    async with tenant_scope(clinic.ref):
        assert {row["_id"] for row in await Patient.rows({})} <= announced
    assert (await desk.gql(ONE, id=made["id"])).codes == []
    await drain()
    assert (await verify(clinic.tenant)).broken is None


async def test_an_act_in_a_transaction_and_its_entry_come_together(desk: Client, clinic: Clinic) -> None:
    async with tenant_scope(clinic.ref):
        entry = {key: value for key, value in (await AuditEntry.rows({}, limit=1))[0].items() if key not in KEYED}
        await AuditPending(id=ObjectId(), entry={**entry, "action": "left.behind"}).insert()
        assert await sweep() == 1
        assert await sweep() == 0
        await AuditPending(id=(await AuditEntry.rows({"action": "left.behind"}))[0]["_id"], entry=entry).insert()
        assert await sweep() == 1  # it was in the chain before: a process died between the two steps
    assert len(await log_of(clinic, action="left.behind")) == 1
    await drain()
    assert (await verify(clinic.tenant)).broken is None


KEYED = {"_id", "tenant_id", "seq", "mac", "key_id"}


async def test_a_named_act_is_in_the_chain_when_its_request_is_answered(server: Server, clinic: Clinic) -> None:
    async with tenant_scope(clinic.ref):
        await record("something.done", subject=clinic.staff["doctor"])
        [entry] = await AuditEntry.rows({"action": "something.done"})
        assert entry["subject"] == f"staff/{clinic.staff['doctor'].id}"
        assert await AuditPending.guarded().count_documents({}) == 0


# --- verification ---------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def written(desk: Client, clinic: Clinic) -> list[Row]:
    """A log with some entries."""
    made = await register(desk)
    for _ in range(6):
        await desk.gql(ONE, id=made["id"])
    await drain()
    return await log_of(clinic)


async def _edit(stored: Database, rows: list[Row]) -> int:
    await stored["audit_entries"].update_one({"_id": rows[3]["_id"]}, {"$set": {"user_id": ObjectId()}})
    return 4


async def _edit_patients(stored: Database, rows: list[Row]) -> int:
    await stored["audit_entries"].update_one({"_id": rows[4]["_id"]}, {"$set": {"patient_ids": []}})
    return 5


async def _delete(stored: Database, rows: list[Row]) -> int:
    await stored["audit_entries"].delete_one({"_id": rows[2]["_id"]})
    return 3


async def _delete_the_first(stored: Database, rows: list[Row]) -> int:
    await stored["audit_entries"].delete_one({"_id": rows[0]["_id"]})
    return 1


async def _swap(stored: Database, rows: list[Row]) -> int:
    entries = stored["audit_entries"]
    for id, seq in ((rows[1]["_id"], -1), (rows[2]["_id"], 2), (rows[1]["_id"], 3)):
        await entries.update_one({"_id": id}, {"$set": {"seq": seq}})
    return 2


async def _close_the_gap(stored: Database, rows: list[Row]) -> int:
    await stored["audit_entries"].delete_one({"_id": rows[2]["_id"]})
    for row in rows[3:]:
        await stored["audit_entries"].update_one({"_id": row["_id"]}, {"$set": {"seq": row["seq"] - 1}})
    return 3


async def _cut_off(stored: Database, rows: list[Row]) -> int:
    await stored["audit_entries"].delete_many({"_id": {"$in": [row["_id"] for row in rows[-2:]]}})
    return len(rows) - 1


async def _cut_off_with_the_anchor(stored: Database, rows: list[Row]) -> int:
    await _cut_off(stored, rows)
    last = rows[-3]
    values = {"seq": last["seq"], "mac": last["mac"]}
    await stored["audit_anchors"].update_one({"clinic_id": last["tenant_id"]}, {"$set": values})
    return int(last["seq"])


async def _hide_from_whom(stored: Database, rows: list[Row]) -> int:
    """The same letters: but the log is asked by ids, and would not find the entry."""
    change = {"$set": {"user_id": str(rows[3]["user_id"]), "patient_ids": [str(one) for one in rows[3]["patient_ids"]]}}
    await stored["audit_entries"].update_one({"_id": rows[3]["_id"]}, change, bypass_document_validation=True)
    return 4


async def _hide_from_when(stored: Database, rows: list[Row]) -> int:
    at = int(rows[3]["at"].timestamp() * 1000)
    change = {"$set": {"at": at}}
    await stored["audit_entries"].update_one({"_id": rows[3]["_id"]}, change, bypass_document_validation=True)
    return 4


async def _forge(stored: Database, rows: list[Row]) -> int:
    last = rows[-1]
    forged = {**last, "_id": ObjectId(), "seq": last["seq"] + 1, "action": "nothing.bad"}
    await stored["audit_entries"].insert_one(forged)
    return len(rows) + 1


ATTACKS = [
    _edit,
    _edit_patients,
    _hide_from_whom,
    _hide_from_when,
    _delete,
    _delete_the_first,
    _swap,
    _close_the_gap,
    _cut_off,
    _cut_off_with_the_anchor,
    _forge,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.__name__.strip("_"))
async def test_whoever_has_the_database_cannot_change_the_log_unseen(
    attack: Any, written: list[Row], clinic: Clinic, stored: Database
) -> None:
    tenant = clinic.tenant
    sound = await verify(tenant)
    assert (sound.broken, sound.entries) == (None, len(written))
    first_broken = await attack(stored, written)
    found = await verify(tenant)
    assert found.broken is not None
    assert found.broken.seq == first_broken


async def test_another_clinics_entry_does_not_fit_into_the_chain(
    written: list[Row], clinic: Clinic, clinic_b: Clinic, stored: Database, stranger: Client
) -> None:
    """The clinic is under the MAC, and has a key of its own."""
    await register(stranger)
    foreign = (await log_of(clinic_b))[-1]
    values = {key: value for key, value in foreign.items() if key not in {"_id", "tenant_id", "seq"}}
    await stored["audit_entries"].update_one({"_id": written[-1]["_id"]}, {"$set": values})
    broken = (await verify(clinic.tenant)).broken
    assert broken is not None
    assert broken.seq == len(written)


async def test_the_log_goes_on_behind_what_was_cut_and_the_cut_stays_visible(
    written: list[Row], desk: Client, clinic: Clinic, stored: Database
) -> None:
    await _cut_off(stored, written)
    for _ in range(3):
        await desk.gql(LIST)
    await drain()
    broken = (await verify(clinic.tenant)).broken
    assert broken is not None
    assert broken.seq == len(written) - 1


# --- reading the log ------------------------------------------------------------------------------------------------

AUDIT_LOG = """query($filter: AuditLogFilter) { auditLog(first: 100, filter: $filter) { totalCount edges { node {
    at actor action result kinds subject patientCount requestId address person { name } patients { name } } } } }"""


async def entries(client: Client, **filter: Any) -> list[Row]:
    page = (await client.gql(AUDIT_LOG, filter=filter)).data["auditLog"]
    return [edge["node"] for edge in page["edges"]]


async def test_an_admin_reads_who_did_what_to_whom(server: Server, clinic: Clinic, desk: Client) -> None:
    made = await register(desk, familyName="Known")
    await desk.gql(ONE, id=made["id"])
    admin = await server.sign_in(clinic)

    [seen] = await entries(admin, patientId=made["id"], action="patient")
    assert seen["person"] == {"name": "Receptionist Person"}
    assert (seen["actor"], seen["result"], seen["kinds"]) == ("STAFF", "ok", ["patient_records", "patients"])
    assert seen["patientCount"] == 1
    assert seen["patients"] == [{"name": "Ana Known"}]


async def test_the_log_can_be_asked_by_person_result_and_time(server: Server, clinic: Clinic, desk: Client) -> None:
    await register(desk)
    await desk.gql(ONE, id=NOWHERE)
    admin = await server.sign_in(clinic)
    by_desk = await entries(admin, staffId=str(clinic.staff["receptionist"].id))
    assert {one["person"]["name"] for one in by_desk} == {"Receptionist Person"}
    assert [one["action"] for one in await entries(admin, result="NOT_FOUND")] == ["patient"]
    assert await entries(admin, to=by_desk[-1]["at"], staffId=str(clinic.staff["receptionist"].id)) == []
    backwards = await admin.gql(AUDIT_LOG, filter={"from": "2030-01-02T00:00:00Z", "to": "2030-01-01T00:00:00Z"})
    assert (backwards.codes, backwards.paths) == (["VALIDATION_FAILED"], ["filter.to"])


async def test_reading_the_log_is_told_in_the_log(server: Server, clinic: Clinic) -> None:
    admin = await server.sign_in(clinic)
    await entries(admin)
    assert len(await log_of(clinic, action="audit_log.read")) == 1


async def test_who_may_not_read_the_log_sees_nothing_of_it(desk: Client) -> None:
    answer = await desk.gql(AUDIT_LOG)
    assert answer.codes == ["FORBIDDEN"]
    assert answer.body["data"] == {"auditLog": None}
