"""Laboratories' deliveries over HTTP: who is believed, and that each event has one effect at the right clinic."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any

import httpx
import pytest
import pytest_asyncio
from bson import ObjectId
from pymongo import AsyncMongoClient

from app.config import PROJECT_ROOT, Settings
from app.http.lab_webhook import MAX_BODY_BYTES
from app.services import inbox, lab_connections, lab_intake, lab_sweeping
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, open_scope
from models import AuditEntry, LabDelivery, LabMessage
from models.lab import MessageStatus
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.http.lab_support import ROUTE, Body, Lab, connect, quarantined, report, results
from tests.resolvers.patient_calls import register
from tests.server_process import server_process

KILLED_AT = (3, 4, 5, 6, 8, 9, 10)
"""Before which of its writes a process is killed: the message, the claim, the result, the commit, the audit."""


@pytest_asyncio.fixture(scope="module")
async def clinic(server: Server, make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture(scope="module")
async def desk(server: Server, clinic: Clinic) -> Client:
    """The admin of the clinic of this module."""
    return await server.sign_in(clinic)


@pytest_asyncio.fixture(scope="module")
async def acme(server: Server, clinic: Clinic, desk: Client) -> Lab:
    return await connect(server, clinic, desk)


@pytest_asyncio.fixture(scope="module")
async def elsewhere(server: Server, make_clinic: MakeClinic) -> tuple[Clinic, Client, Lab]:
    """Another clinic with a laboratory of its own."""
    other = await make_clinic()
    client = await server.sign_in(other)
    return other, client, await connect(server, other, client)


@pytest_asyncio.fixture
async def database(settings: Settings) -> AsyncIterator[Any]:
    """The database as nobody but a test sees it."""
    async with AsyncMongoClient[dict[str, Any]](settings.mongodb_uri, tz_aware=True) as client:
        yield client[settings.mongodb_database]


async def stored(database: Any, clinic: Clinic) -> dict[str, int]:
    """How much of laboratories the clinic has."""
    mine = {"tenant_id": clinic.tenant.key}
    names = ("lab_messages", "lab_results")
    return {name: await database[name].count_documents(mine) for name in names}


async def code_of(client: Client, **values: Any) -> tuple[str, str]:
    """A new patient's code and id."""
    patient = await register(client, **values)
    return patient["record"]["code"], patient["id"]


# --- a good delivery ----------------------------------------------------------------------------------------------


async def test_a_delivery_becomes_a_result_of_the_patient(acme: Lab, desk: Client) -> None:
    code, patient = await code_of(desk, birthDate="1980-02-03")
    event = report(code.lower(), orderNumber="O-1", comment="Fasting.")
    event["patient"]["birthDate"] = "1980-02-03"
    answer = await acme.send(event)
    assert (answer.status_code, answer.json()) == (
        200,
        {"success": True, "eventId": event["eventId"], "duplicate": False},
    )
    [found] = await results(desk, patientId=patient)
    assert found["accession"] == event["accession"]
    assert (found["status"], found["current"], found["reportVersion"]) == ("RESULTED", True, 1)
    assert (found["orderNumber"], found["comment"], found["panel"]) == ("O-1", "Fasting.", event["panel"])
    assert found["observations"] == [{**event["observations"][0], "flag": "NORMAL", "comment": None}]
    assert found["history"] == [{"action": "received", "status": "RESULTED", "by": None}]
    assert found["patient"] == {"id": patient}


async def test_what_a_laboratory_says_lies_encrypted(acme: Lab, desk: Client, clinic: Clinic, database: Any) -> None:
    code, _ = await code_of(desk)
    word = f"unmistakable-{random.random()}"
    event = report(code, comment=word)
    event["observations"][0]["value"] = word
    assert (await acme.send(event)).status_code == 200
    row = await database["lab_results"].find_one({"accession": event["accession"]})
    assert row is not None
    for name in ("lab_results", "lab_messages", "lab_connections"):
        text = str([one async for one in database[name].find({"tenant_id": clinic.tenant.key})])
        assert word not in text
        assert acme.secret not in text


async def test_the_audit_tells_that_a_laboratory_wrote_about_the_patient(
    acme: Lab, desk: Client, clinic: Clinic
) -> None:
    code, patient = await code_of(desk)
    await acme.send(report(code))
    async with tenant_scope(clinic.ref):
        rows = await AuditEntry.rows({"action": "lab.receive", "patient_ids": ObjectId(patient)})
    assert [(row["user_id"], row["result"]) for row in rows] == [(None, "ok")]
    assert rows[0]["subject"].startswith("lab_results/")


# --- who is believed ----------------------------------------------------------------------------------------------


async def refused(acme: Lab, database: Any, clinic: Clinic, headers: dict[str, str], body: bytes) -> Body:
    before = await stored(database, clinic)
    answer = await acme.post(body, headers)
    assert answer.status_code == 401
    assert await stored(database, clinic) == before
    told: Body = answer.json()["error"]
    assert told.pop("requestId")
    return told


async def test_whatever_is_wrong_with_a_signature_the_answer_is_the_same(
    acme: Lab, desk: Client, clinic: Clinic, elsewhere: tuple[Clinic, Client, Lab], database: Any
) -> None:
    code, _ = await code_of(desk)
    body = json.dumps(report(code)).encode()
    good = acme.headers(body)
    foreign = elsewhere[2]
    flipped = good["X-Lab-Signature"][:-1] + ("0" if good["X-Lab-Signature"][-1] != "0" else "1")
    wrong: dict[str, tuple[dict[str, str], bytes]] = {
        "no headers": ({"Content-Type": "application/json"}, body),
        "flipped": ({**good, "X-Lab-Signature": flipped}, body),
        "upper case": ({**good, "X-Lab-Signature": good["X-Lab-Signature"].upper()}, body),
        "no scheme": ({**good, "X-Lab-Signature": good["X-Lab-Signature"][3:]}, body),
        "tampered": (good, body.replace(b"5.40", b"5.41")),
        "other time": ({**good, "X-Lab-Timestamp": str(int(good["X-Lab-Timestamp"]) + 1)}, body),
        "other nonce": ({**good, "X-Lab-Nonce": "n" * 24}, body),
        "short nonce": (acme.headers(body, nonce="short"), body),
        "late": (acme.headers(body, at=time.time() - 301), body),
        "early": (acme.headers(body, at=time.time() + 310), body),
        "milliseconds": (acme.headers(body, at=time.time() * 1000), body),
        "unknown key": ({**good, "X-Lab-Key": "lab_unknown"}, body),
        "two keys": ({**good, "X-Lab-Key": f"{acme.key_id}, {acme.key_id}"}, body),
        "empty": ({**good, "X-Lab-Signature": ""}, body),
        "another clinic's laboratory": (foreign.headers(body), body),
        "another clinic's secret": ({**foreign.headers(body), "X-Lab-Key": acme.key_id}, body),
    }
    told = {name: await refused(acme, database, clinic, *one) for name, one in wrong.items()}
    assert len({json.dumps(one) for one in told.values()}) == 1, told
    assert told["late"]["code"] == "UNAUTHENTICATED"
    assert (await acme.post(body, good)).status_code == 200, "without this, nothing above would mean anything"


@pytest.mark.parametrize("seconds", [-295, 295])
async def test_clocks_may_differ_by_five_minutes(acme: Lab, desk: Client, seconds: int) -> None:
    code, _ = await code_of(desk)
    body = json.dumps(report(code)).encode()
    assert (await acme.post(body, acme.headers(body, at=time.time() + seconds))).status_code == 200


async def test_a_request_that_is_sent_again_is_refused(acme: Lab, desk: Client, clinic: Clinic, database: Any) -> None:
    code, patient = await code_of(desk)
    body = json.dumps(report(code)).encode()
    headers = acme.headers(body)
    assert (await acme.post(body, headers)).status_code == 200
    assert (await refused(acme, database, clinic, headers, body))["code"] == "UNAUTHENTICATED"
    assert len(await results(desk, patientId=patient)) == 1


async def test_the_host_says_which_clinic_is_meant_and_the_root_host_none(
    acme: Lab, desk: Client, elsewhere: tuple[Clinic, Client, Lab], database: Any
) -> None:
    """The same patient code exists at both clinics; a delivery counts where its key is known, and nowhere else."""
    other, client, _ = elsewhere
    code, _ = await code_of(desk)
    body = json.dumps(report(code)).encode()
    before = await stored(database, other)
    assert (await acme.post(body, acme.headers(body), host=other.host)).status_code == 401
    assert (await acme.post(body, acme.headers(body), host="polyclinic.test")).status_code == 404
    assert await stored(database, other) == before
    assert await results(client) == []


async def test_after_a_rotation_both_secrets_count_for_a_while(server: Server, clinic: Clinic, desk: Client) -> None:
    rotate = """mutation($input: RotateLabConnectionInput!) { rotateLabConnection(input: $input) {
        secret connection { id version previousUntil } } }"""
    lab = await connect(server, clinic, desk, "Turning Labs")
    known = lab.connection
    code, patient = await code_of(desk)
    first = Lab(server, lab.host, lab.key_id, lab.secret, {})
    turned = (await desk.gql(rotate, input={"id": known["id"], "version": known["version"]})).data[
        "rotateLabConnection"
    ]
    second = Lab(server, lab.host, lab.key_id, turned["secret"], {})
    assert turned["connection"]["previousUntil"]
    assert [(await one.send(report(code))).status_code for one in (first, second)] == [200, 200]
    again = {"id": known["id"], "version": turned["connection"]["version"], "overlapHours": 0}
    third_secret = (await desk.gql(rotate, input=again)).data["rotateLabConnection"]["secret"]
    third = Lab(server, lab.host, lab.key_id, third_secret, {})
    assert [(await one.send(report(code))).status_code for one in (first, second, third)] == [401, 401, 200]
    assert len(await results(desk, patientId=patient)) == 3


async def test_nothing_of_a_disabled_connection_counts(server: Server, clinic: Clinic, desk: Client) -> None:
    lab = await connect(server, clinic, desk, "Gone Labs")
    disable = "mutation($input: DisableLabConnectionInput!) { disableLabConnection(input: $input) { enabled } }"
    input = {"id": lab.connection["id"], "version": lab.connection["version"]}
    assert (await desk.gql(disable, input=input)).data["disableLabConnection"] == {"enabled": False}
    code, _ = await code_of(desk)
    assert (await lab.send(report(code))).status_code == 401
    assert (await desk.gql(disable, input={**input, "version": input["version"] + 1})).codes == ["INVALID_STATE"]


async def test_guessing_is_limited(server: Server, acme: Lab) -> None:
    address = "203.0.113.77"
    client = server.client(acme.host, address=address).http
    headers = {**acme.headers(b"{}"), "X-Lab-Signature": f"v1={'0' * 64}"}
    codes = [(await client.post(ROUTE, content=b"{}", headers=headers)).status_code for _ in range(301)]
    assert set(codes[:300]) == {401}
    assert codes[300] == 429


async def test_even_a_laboratory_with_the_key_cannot_fill_the_database(
    server: Server, clinic: Clinic, desk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_connections, "DELIVERIES", replace(lab_connections.DELIVERIES, tries=2))
    lab, other = await connect(server, clinic, desk, "Flood Labs"), await connect(server, clinic, desk, "Calm Labs")
    code, _ = await code_of(desk)
    body = json.dumps(report(code)).encode()
    headers = lab.headers(body)
    assert [(await lab.send(report(code))).status_code for _ in range(2)] == [200, 200]

    refused = await lab.post(body, headers)

    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert (await other.send(report(code))).status_code == 200, "and it holds up nobody else"
    monkeypatch.undo()
    assert (await lab.post(body, headers)).status_code == 200, "its nonce is still good"


# --- what a body must be ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/json; charset=latin-1", "text/plain, application/json", "application/jsonx"]
)
async def test_only_json_is_taken(acme: Lab, kind: str) -> None:
    assert (await acme.send(report("P-1"), Content_Type=kind)).status_code == 415


async def test_a_body_over_the_limit_is_cut_off(acme: Lab, clinic: Clinic, database: Any) -> None:
    before = await stored(database, clinic)
    assert (await acme.send(b" " * (MAX_BODY_BYTES + 1))).status_code == 413
    assert await stored(database, clinic) == before


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"{", b'{"eventId": "\xff\xfe"}', b'{"eventId": "\\ud800"}'])
async def test_a_signed_body_that_is_no_object_is_malformed(
    acme: Lab, clinic: Clinic, database: Any, body: bytes
) -> None:
    before = await stored(database, clinic)
    answer = await acme.send(body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "VALIDATION_FAILED")
    assert await stored(database, clinic) == before


def changed(path: str, value: Any) -> Body:
    """A good event with one value changed, or taken out when it is `...`."""
    event = report("P-000001")
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place: Any = event
    for step in steps:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return event


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("eventId", ...),
        ("eventId", "x" * 101),
        ("patient.code", ""),
        ("patient.birthDate", "2080-01-01"),
        ("patient.name", "Ana"),
        ("accession", 7),
        ("version", 0),
        ("version", "one"),
        ("panel.loinc", "2345-8"),
        ("panel.name", "two\nlines"),
        ("performedAt", "2024-05-01T10:00:00"),
        ("performedAt", 1714557600),
        ("reportedAt", "2999-01-01T00:00:00Z"),
        ("observations", []),
        ("observations.0.value", 5.4),
        ("observations.0.value", "\u202e4.21\u202c"),
        ("observations.0.flag", "odd"),
        ("observations.0.loinc", "x"),
        ("extra", True),
    ],
)
async def test_a_wrong_value_is_told_at_its_path_and_nothing_is_stored(
    acme: Lab, clinic: Clinic, database: Any, path: str, value: Any
) -> None:
    before = await stored(database, clinic)
    answer = await acme.send(changed(path, value))
    assert answer.status_code == 400
    assert [field["path"] for field in answer.json()["error"]["fields"]] == [path]
    assert await stored(database, clinic) == before


async def test_an_event_that_was_refused_can_be_sent_again_mended(acme: Lab, desk: Client) -> None:
    code, patient = await code_of(desk)
    event = report(code)
    assert (await acme.send({**event, "version": 0})).status_code == 400
    assert (await acme.send(event)).json()["duplicate"] is False
    assert len(await results(desk, patientId=patient)) == 1


# --- whose it is --------------------------------------------------------------------------------------------------


async def test_what_names_nobody_here_waits_for_a_person_and_is_no_patients(
    acme: Lab, desk: Client, clinic: Clinic, elsewhere: tuple[Clinic, Client, Lab], database: Any
) -> None:
    """A patient of another clinic is answered as one that exists nowhere."""
    abroad, _ = await code_of(elsewhere[1])
    async with tenant_scope(elsewhere[0].ref):
        unique = f"ONLY-{ObjectId()}"
        await database["patient_records"].update_one({"code": abroad}, {"$set": {"code": unique}})
    before = (await stored(database, clinic))["lab_results"], (await stored(database, elsewhere[0]))["lab_results"]
    for code in (unique, "NOBODY-1"):
        event = report(code)
        answer = await acme.send(event)
        assert (answer.status_code, answer.json()["duplicate"]) == (200, False)
        waiting = await quarantined(desk, event["eventId"])
        assert waiting is not None
        assert (waiting["reason"], waiting["status"]) == ("UNKNOWN_PATIENT", "QUARANTINED")
    after = (await stored(database, clinic))["lab_results"], (await stored(database, elsewhere[0]))["lab_results"]
    assert after == before


async def test_a_day_of_birth_that_differs_stops_it(acme: Lab, desk: Client) -> None:
    code, patient = await code_of(desk, birthDate="1980-02-03")
    event = report(code)
    event["patient"]["birthDate"] = "1980-03-02"
    assert (await acme.send(event)).status_code == 200
    waiting = await quarantined(desk, event["eventId"])
    assert waiting is not None
    assert waiting["reason"] == "BIRTH_DATE_DIFFERS"
    assert await results(desk, patientId=patient) == []


# --- once, in whatever order ----------------------------------------------------------------------------------------


async def test_an_event_that_comes_again_has_no_second_effect(acme: Lab, desk: Client) -> None:
    code, patient = await code_of(desk)
    event = report(code)
    answers = [await acme.send(event) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [answer.json()["duplicate"] for answer in answers] == [False, True, True]
    [found] = await results(desk, patientId=patient)
    assert len(found["history"]) == 1


async def test_an_event_that_comes_again_with_another_content_is_refused(acme: Lab, desk: Client) -> None:
    code, patient = await code_of(desk)
    event = report(code)
    await acme.send(event)
    answer = await acme.send({**event, "comment": "Something else."})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "CONFLICT")
    assert [one["comment"] for one in await results(desk, patientId=patient)] == [None]


async def test_the_same_report_under_another_event_has_no_second_effect(acme: Lab, desk: Client) -> None:
    code, patient = await code_of(desk)
    event = report(code)
    await acme.send(event)
    await acme.send({**event, "eventId": "another"})
    assert len(await results(desk, patientId=patient, superseded=True)) == 1


async def test_a_version_that_comes_twice_with_two_contents_waits_for_a_person(acme: Lab, desk: Client) -> None:
    code, patient = await code_of(desk)
    event = report(code)
    await acme.send(event)
    other = {**event, "eventId": f"{event['eventId']}-2", "comment": "Something else."}
    await acme.send(other)
    waiting = await quarantined(desk, other["eventId"])
    assert waiting is not None
    assert waiting["reason"] == "VERSION_TAKEN"
    assert [one["comment"] for one in await results(desk, patientId=patient, superseded=True)] == [None]


@pytest.mark.parametrize("order", list(permutations((1, 2, 3))), ids=str)
async def test_corrections_end_in_the_same_state_in_whatever_order(
    acme: Lab, desk: Client, order: tuple[int, ...]
) -> None:
    code, patient = await code_of(desk)
    first = report(code)
    for version in order:
        event = {**first, "eventId": f"{first['eventId']}-{version}", "version": version, "comment": f"v{version}"}
        assert (await acme.send(event)).status_code == 200
    every = await results(desk, patientId=patient, superseded=True)
    assert {one["reportVersion"]: (one["comment"], one["current"]) for one in every} == {
        1: ("v1", False),
        2: ("v2", False),
        3: ("v3", True),
    }
    assert [one["reportVersion"] for one in await results(desk, patientId=patient)] == [3]


async def test_a_correction_about_another_patient_waits_for_a_person(acme: Lab, desk: Client) -> None:
    (code, patient), (other_code, other) = await code_of(desk), await code_of(desk)
    event = report(code)
    await acme.send(event)
    correction = {**event, "eventId": f"{event['eventId']}-2", "version": 2, "patient": {"code": other_code}}
    await acme.send(correction)
    waiting = await quarantined(desk, correction["eventId"])
    assert waiting is not None
    assert waiting["reason"] == "OTHER_PATIENT"
    assert len(await results(desk, patientId=patient)) == 1
    assert await results(desk, patientId=other) == []


async def test_corrections_that_come_together_leave_one_current(acme: Lab, desk: Client) -> None:
    code, patient = await code_of(desk)
    first = report(code)
    events = [{**first, "eventId": f"{first['eventId']}-{n}", "version": n} for n in range(1, 11)]
    random.shuffle(events)
    answers = await asyncio.gather(*(acme.send(event) for event in events))
    assert {answer.status_code for answer in answers} == {200}
    with open_scope(Scope(request_id="test")):
        await settled(desk, patient, 10)
    every = await results(desk, patientId=patient, superseded=True)
    assert sorted(one["reportVersion"] for one in every) == list(range(1, 11))
    assert [one["reportVersion"] for one in every if one["current"]] == [10]


async def settled(desk: Client, patient: str, count: int) -> None:
    """Waits for what is handled in other requests still."""
    for _ in range(100):
        if len(await results(desk, patientId=patient, superseded=True)) >= count:
            return
        await asyncio.sleep(0.1)


async def test_sixty_copies_over_two_processes_have_one_effect(
    settings: Settings, acme: Lab, desk: Client, clinic: Clinic, database: Any
) -> None:
    """Thirty copies word for word, of which one counts, and thirty that are signed anew."""
    code, patient = await code_of(desk)
    body = json.dumps(report(code)).encode()
    same = acme.headers(body)
    with server_process(settings) as address:
        async with httpx.AsyncClient(base_url=address, timeout=60) as second:

            async def send(number: int) -> httpx.Response:
                headers = same if number % 2 else acme.headers(body)
                if number % 4 < 2:
                    return await acme.post(body, headers)
                return await second.post(ROUTE, content=body, headers={**headers, "Host": acme.host})

            answers = await asyncio.gather(*(send(number) for number in range(60)))
    copies = sorted(answer.status_code for number, answer in enumerate(answers) if number % 2)
    assert copies == [200] + [401] * 29
    fresh = [answer for number, answer in enumerate(answers) if not number % 2]
    assert {answer.status_code for answer in fresh} == {200}
    assert [answer.json().get("duplicate") for answer in answers].count(False) == 1
    [found] = await results(desk, patientId=patient, superseded=True)
    assert len(found["history"]) == 1
    event = json.loads(body)["eventId"]
    mine = {"tenant_id": clinic.tenant.key, "event_id": event}
    assert await database["lab_messages"].count_documents(mine) == 1


# --- when something dies ------------------------------------------------------------------------------------------


def delivered_by_a_process_that_is_killed(settings: Settings, lab: Lab, body: bytes, before_write: int) -> int:
    """The exit code of a process that takes the delivery and is killed (kill -9) before its N-th write."""
    headers = lab.headers(body)
    chosen = {
        "ENVIRONMENT": settings.environment,
        "MONGODB_URI": settings.mongodb_uri,
        "MONGODB_DATABASE": settings.mongodb_database,
        "SESSION_SECRET": settings.session_secret.get_secret_value(),
        "ENCRYPTION_KEY": settings.encryption_key.get_secret_value() if settings.encryption_key else "",
        "AUDIT_SECRET": settings.audit_secret.get_secret_value(),
        "ROOT_DOMAIN": settings.root_domain,
    }
    delivery = json.dumps({"host": lab.host, "headers": headers, "body": body.decode()})
    command = [sys.executable, "-m", "tests.standin_lab", str(before_write)]
    done = subprocess.run(
        command, input=delivery.encode(), cwd=PROJECT_ROOT, env={**os.environ, **chosen}, timeout=120, check=False
    )
    return done.returncode


@pytest.mark.parametrize("before_write", KILLED_AT)
async def test_a_process_that_is_killed_leaves_nothing_lost_and_nothing_twice(
    settings: Settings,
    acme: Lab,
    desk: Client,
    clinic: Clinic,
    before_write: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, patient = await code_of(desk)
    event = report(code)
    body = json.dumps(event).encode()
    status = await asyncio.to_thread(delivered_by_a_process_that_is_killed, settings, acme, body, before_write)
    assert status == -9
    async with tenant_scope(clinic.ref):
        kept = await LabMessage.rows({"event_id": event["eventId"]})
    monkeypatch.setattr(lab_sweeping, "GRACE", timedelta(0))
    with open_scope(Scope(request_id="test")):
        await lab_sweeping.sweep()
    assert len(await results(desk, patientId=patient)) == len(kept), "what was stored is handled without being resent"
    assert (await acme.send(event)).json()["duplicate"] is bool(kept), "the laboratory had no answer, so it tries again"
    [found] = await results(desk, patientId=patient, superseded=True)
    assert [step["action"] for step in found["history"]] == ["received"]
    async with tenant_scope(clinic.ref):
        [message] = await LabMessage.rows({"event_id": event["eventId"]})
        entries = await AuditEntry.rows({"action": "lab.receive", "patient_ids": ObjectId(patient)})
    assert message["status"] == MessageStatus.HANDLED.value
    assert len(entries) <= 1


async def test_what_cannot_be_handled_is_tried_again_and_in_the_end_waits_for_a_person(
    acme: Lab, desk: Client, clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, patient = await code_of(desk)
    event = report(code)

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug of tomorrow")

    with monkeypatch.context() as patched:
        patched.setattr(lab_intake, "file_report", broken)
        patched.setattr(inbox, "FIRST_DELAY", timedelta(0))
        assert (await acme.send(event)).status_code == 200, "it is stored, so the laboratory is done"
        async with tenant_scope(clinic.ref):
            [row] = await LabMessage.rows({"event_id": event["eventId"]})
            assert (row["status"], row["tries"]) == ("waiting", 1)
            for _ in range(inbox.MAX_TRIES):
                await lab_sweeping.retry_inbox()
    waiting = await quarantined(desk, event["eventId"])
    assert waiting is not None
    assert waiting["reason"] == "NOT_HANDLED"
    assert await results(desk, patientId=patient) == []


async def test_a_delivery_that_could_not_be_stored_may_be_sent_again_as_it_is(
    acme: Lab, desk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, patient = await code_of(desk)
    body = json.dumps(report(code)).encode()
    headers = acme.headers(body)

    async def fails(*_: Any, **__: Any) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(LabMessage, "insert", fails)
        assert (await acme.post(body, headers)).status_code == 500
    assert (await acme.post(body, headers)).status_code == 200
    assert len(await results(desk, patientId=patient)) == 1


async def test_contents_go_after_their_time_and_the_event_stays_known(
    acme: Lab, desk: Client, clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, patient = await code_of(desk)
    event = report(code)
    await acme.send(event)
    monkeypatch.setattr(lab_sweeping, "CONTENT_KEPT", timedelta(0))
    await asyncio.sleep(0.01)
    async with tenant_scope(clinic.ref):
        assert (await lab_sweeping.purge_contents())["purged"] >= 1
        [row] = await LabMessage.rows({"event_id": event["eventId"]})
    assert "report" not in row
    assert (await acme.send(event)).json()["duplicate"] is True
    assert len(await results(desk, patientId=patient)) == 1


async def test_settled_deliveries_are_not_looked_at_again(acme: Lab, desk: Client, clinic: Clinic) -> None:
    code, _ = await code_of(desk)
    open_ones = {"clinic_id": clinic.tenant.key, "settled": False}
    before = await LabDelivery.rows(open_ones)
    event = report(code)
    for delivered in (event, event, {**event, "version": 0}, report("NOBODY-2")):
        await acme.send(delivered)
    assert await LabDelivery.rows(open_ones) == before
