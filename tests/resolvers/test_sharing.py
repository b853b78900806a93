"""A patient who becomes another clinic's too: by consent, code and day of birth, and never more than was agreed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
import pytest_asyncio
from bson import ObjectId
from pymongo import AsyncMongoClient

from app.config import Settings
from app.services.sharing.codes import ALPHABET, hash_of
from app.tenancy.scope import Database
from models.values import now
from tests.fixtures.clinics import OWN, Answer, MakeClinic, Server
from tests.resolvers.patient_calls import ONE, UPDATE, register
from tests.resolvers.sharing_calls import (
    BIRTH,
    CODES,
    CONSENTS,
    HISTORY,
    RECEIVED,
    REDEEM,
    REVOKE,
    REVOKE_CODE,
    VERSIONS,
    Desk,
    nodes,
)
from tests.server_process import server_process


@pytest_asyncio.fixture(scope="module")
async def desks(make_clinic: MakeClinic, server: Server) -> tuple[Desk, Desk, Desk]:
    """Clinic A that gives, B that receives, and C that has nothing to do with it."""
    clinics = [await make_clinic() for _ in range(3)]
    a, b, c = [Desk(clinic, await server.sign_in(clinic)) for clinic in clinics]
    return a, b, c


@pytest_asyncio.fixture
async def raw(server: Server, settings: Settings) -> AsyncIterator[Database]:
    """The database without guard and wall, to move stored times and to see what is stored."""
    async with AsyncMongoClient[dict[str, Any]](settings.mongodb_uri, tz_aware=True) as client:
        yield client[settings.mongodb_database]


def refused(answer: Answer) -> tuple[int, list[str], list[str], str]:
    """All that a refusal tells."""
    assert answer.body["data"] == {"redeemPatientShare": None}
    return answer.status, answer.codes, answer.paths, answer.errors[0]["message"]


async def has_patient(desk: Desk, patient: dict[str, Any]) -> bool:
    answer = await desk.client.gql(ONE, id=patient["id"])
    assert answer.codes in ([], ["NOT_FOUND"])
    return not answer.codes


# --- the whole way ----------------------------------------------------------------------------------------------------


async def test_redeeming_a_code_shares_the_demographics_and_nothing_of_the_giving_clinics_record(
    desks: tuple[Desk, Desk, Desk],
) -> None:
    a, b, c = desks
    await b.patient()  # so that the clinics' next codes differ
    patient = await a.patient()
    consent = await a.consent(patient)
    issued = await a.share(patient, consentId=consent["id"])

    answer = await b.redeem(issued["code"].lower().replace("-", " "))

    got = answer.data["redeemPatientShare"]
    assert (got["patient"]["id"], got["patient"]["name"]) == (patient["id"], patient["name"])
    assert (got["alreadyHere"], got["duplicates"]) == (False, [])
    assert (got["clinicName"], got["categories"]) == (a.clinic.tenant.name, consent["categories"])
    record = await b.record_of(patient)
    assert record is not None
    assert got["patient"]["record"] == {"code": record["code"], "notes": None}
    assert "private" not in answer.response.text
    assert str(a.clinic.tenant.id) not in answer.response.text
    assert [one["clinicName"] for one in nodes(await b.client.gql(RECEIVED, patientId=patient["id"]))] == [
        a.clinic.tenant.name
    ]
    [code] = nodes(await a.client.gql(CODES, filter={"patientId": patient["id"]}))
    assert (code["state"], code["receiverName"]) == ("USED", b.clinic.tenant.name)
    assert not await has_patient(c, patient)
    assert (await c.client.gql(HISTORY, patientId=patient["id"])).codes == ["NOT_FOUND"]


async def test_the_code_is_readable_comes_as_a_qr_code_and_is_stored_nowhere(
    desks: tuple[Desk, Desk, Desk], raw: Database
) -> None:
    a, _, _ = desks
    patient = await a.patient()
    consent = await a.consent(patient)
    issued = await a.share(patient, consentId=consent["id"])

    code = issued["code"]
    assert re.fullmatch(f"([{ALPHABET}]{{4}}-){{3}}[{ALPHABET}]{{4}}", code)
    assert not set("ILO01") & set(ALPHABET)
    assert ElementTree.fromstring(issued["qrSvg"]).tag.endswith("svg")  # noqa: S314 - our own
    stored = [await raw[name].find({}).to_list(None) for name in ("share_codes", "share_routes", "audit_entries")]
    assert code not in str(stored)
    assert code.replace("-", "") not in str(stored)
    assert await raw["share_routes"].count_documents({"code_hash": hash_of(code)}) == 1
    expires = issued["shareCode"]["expiresAt"]
    assert expires < (now() + timedelta(minutes=15, seconds=1)).isoformat()


async def test_neither_clinic_can_list_the_patients_other_clinics(desks: tuple[Desk, Desk, Desk]) -> None:
    """C joins by B's code: A and C know nothing of each other."""
    a, b, c = desks
    patient = await a.patient()
    await a.shared_with(b, patient)
    await b.shared_with(c, patient)

    assert [one["clinicName"] for one in nodes(await c.client.gql(RECEIVED, patientId=patient["id"]))] == [
        b.clinic.tenant.name
    ]
    for desk, other in ((a, c), (c, a)):
        for query, given in (
            (ONE, {"id": patient["id"]}),
            (HISTORY, {"patientId": patient["id"]}),
            (RECEIVED, {"patientId": patient["id"]}),
            (CODES, {"filter": {"patientId": patient["id"]}}),
            (CONSENTS, {"filter": {"patientId": patient["id"]}}),
            (VERSIONS, {"patientId": patient["id"]}),
        ):
            text = (await desk.client.gql(query, **given)).response.text
            assert other.clinic.tenant.name not in text
            assert str(other.clinic.tenant.id) not in text


async def test_a_crossing_is_in_the_platforms_audit_and_names_no_patient(
    desks: tuple[Desk, Desk, Desk], raw: Database
) -> None:
    a, b, _ = desks
    patient = await a.patient()
    await a.shared_with(b, patient)

    crossed = {"action": "patient.share", "tenant": a.clinic.tenant.id}
    rows = await raw["platform_audit"].find(crossed, sort=[("at", -1)]).to_list(None)
    assert rows[0]["actor"] == str(b.clinic.staff["admin"].user_id)
    assert patient["id"] not in str(rows)


# --- codes that cannot be redeemed ------------------------------------------------------------------------------------


async def test_every_code_that_cannot_be_redeemed_gets_the_same_answer_and_changes_nothing(
    desks: tuple[Desk, Desk, Desk], raw: Database
) -> None:
    a, b, c = desks
    patient = await a.patient()
    consent = await a.consent(patient)

    async def issued() -> dict[str, Any]:
        return await a.share(patient, consentId=consent["id"])

    async def moved(issued: dict[str, Any], **values: Any) -> str:
        id = ObjectId(issued["shareCode"]["id"])
        await raw["share_routes"].update_one({"share_code_id": id}, {"$set": values})
        await raw["share_codes"].update_one({"_id": id}, {"$set": values})
        code: str = issued["code"]
        return code

    expired = await moved(await issued(), expires_at=now() - timedelta(seconds=1))
    used_up = await moved(await issued(), tries=5)
    revoked = await issued()
    await a.client.gql(REVOKE_CODE, input={"id": revoked["shareCode"]["id"], "version": 1})
    elsewhere = await a.consent(patient, receiver=c.clinic.tenant.subdomain)
    for_c = await a.share(patient, consentId=elsewhere["id"])
    withdrawn_consent = await a.consent(patient)
    withdrawn = await a.share(patient, consentId=withdrawn_consent["id"])
    await a.client.gql(REVOKE, input={"id": withdrawn_consent["id"], "version": 1})
    fine = await issued()
    answers = [
        await b.redeem("AAAA-BBBB-CCCC-DDDD"),
        await b.redeem(""),
        await b.redeem(expired),
        await b.redeem(used_up),
        await b.redeem(revoked["code"]),
        await b.redeem(for_c["code"]),
        await b.redeem(withdrawn["code"]),
        await b.redeem(fine["code"], birth="1980-05-18"),
        await a.redeem(fine["code"]),
    ]

    assert {str(refused(answer)) for answer in answers} == {str(refused(answers[0]))}
    assert (answers[0].codes, answers[0].paths) == (["NOT_FOUND"], ["input.code"])
    assert not await has_patient(b, patient)
    assert await b.record_of(patient) is None
    assert (await b.redeem(fine["code"])).data["redeemPatientShare"]["patient"]["id"] == patient["id"]
    assert str(refused(await c.redeem(fine["code"]))) == str(refused(answers[0]))


async def test_days_of_birth_cannot_be_tried_one_after_the_other(desks: tuple[Desk, Desk, Desk]) -> None:
    a, b, _ = desks
    patient = await a.patient()
    await a.consent(patient)
    issued = await a.share(patient)
    for day in range(1, 6):
        refused(await b.redeem(issued["code"], birth=f"1980-05-0{day}"))

    refused(await b.redeem(issued["code"]))
    assert not await has_patient(b, patient)


async def test_guessing_codes_is_limited(make_clinic: MakeClinic, server: Server) -> None:
    clinic = await make_clinic()
    desk = Desk(clinic, await server.sign_in(clinic))
    codes = [(await desk.redeem("AAAA-BBBB-CCCC-DDDD")).codes for _ in range(31)]
    assert codes == [["NOT_FOUND"]] * 30 + [["RATE_LIMITED"]]


async def test_a_code_works_once_though_twenty_ask_at_once_at_two_processes(
    desks: tuple[Desk, Desk, Desk], make_clinic: MakeClinic, server: Server, settings: Settings, raw: Database
) -> None:
    a, _, _ = desks
    patient = await a.patient()
    await a.consent(patient)
    issued = await a.share(patient)
    clinics = [await make_clinic() for _ in range(4)]
    racers = [await server.sign_in(clinic) for clinic in clinics]
    with server_process(settings) as address:
        async with httpx.AsyncClient(base_url=address, timeout=60) as other:

            async def ask(number: int) -> Answer:
                client = racers[number % 4]
                if number % 2:
                    return await client.gql(REDEEM, input={"code": issued["code"], "birthDate": BIRTH})
                headers = {
                    "Host": clinics[number % 4].host,
                    "X-Polyclinic-Client": "tests",
                    "Authorization": f"Bearer {client.token}",
                }
                body = {"query": REDEEM, "variables": {"input": {"code": issued["code"], "birthDate": BIRTH}}}
                return Answer(await other.post("/graphql", json=body, headers=headers))

            answers = await asyncio.gather(*(ask(number) for number in range(20)))

    won = [answer for answer in answers if not answer.errors]
    assert len(won) == 1
    assert {code for answer in answers for code in answer.codes} == {"NOT_FOUND"}
    stored = await raw["patients"].find_one({"_id": ObjectId(patient["id"])})
    assert stored is not None
    assert len(stored["tenant_ids"]) == 2
    assert await raw["patient_records"].count_documents({"patient_id": ObjectId(patient["id"])}) == 2
    assert await raw["received_shares"].count_documents({"patient_id": ObjectId(patient["id"])}) == 1


# --- what sharing needs -----------------------------------------------------------------------------------------------


async def test_a_code_is_made_only_under_a_consent_that_covers_all_of_it(desks: tuple[Desk, Desk, Desk]) -> None:
    a, _, _ = desks
    patient = await a.patient()
    assert (await a.try_share(patient)).codes == ["INVALID_STATE"]
    narrow = await a.consent(patient, categories=["DEMOGRAPHICS", "APPOINTMENTS"])

    assert (await a.try_share(patient)).codes == ["INVALID_STATE"]
    assert (await a.try_share(patient, categories=["APPOINTMENTS"], purpose="REFERRAL")).codes == ["INVALID_STATE"]
    late = (now() + timedelta(days=900)).isoformat()
    answer = await a.try_share(patient, categories=["APPOINTMENTS"], until=late)
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.until"])
    issued = await a.share(patient, categories=["APPOINTMENTS"])
    assert issued["shareCode"]["categories"] == ["DEMOGRAPHICS", "APPOINTMENTS"]
    assert issued["shareCode"]["consent"]["id"] == narrow["id"]
    no_birthday = await register(a.client)
    await a.consent(no_birthday)
    assert (await a.try_share(no_birthday)).codes == ["INVALID_STATE"]
    codes = nodes(await a.client.gql(CODES, filter={"patientId": patient["id"]}))
    assert [one["id"] for one in codes] == [issued["shareCode"]["id"]]


async def test_a_consent_of_another_patient_does_not_cover_this_one(desks: tuple[Desk, Desk, Desk]) -> None:
    a, _, _ = desks
    one, other = await a.patient(), await a.patient()
    consent = await a.consent(other)
    answer = await a.try_share(one, consentId=consent["id"])
    assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.consentId"])


async def test_a_patient_who_may_be_here_already_is_not_taken_in_silently(desks: tuple[Desk, Desk, Desk]) -> None:
    a, b, _ = desks
    patient = await a.patient(phone="+12125550143")
    twin = await b.patient(familyName=patient["familyName"])
    consent = await a.consent(patient)
    issued = await a.share(patient, consentId=consent["id"])

    told = (await b.redeem(issued["code"])).data["redeemPatientShare"]

    assert (told["patient"], told["clinicName"]) == (None, None)
    assert [one["id"] for one in told["duplicates"]] == [twin["id"]]
    assert not await has_patient(b, patient)
    done = (await b.redeem(issued["code"], despiteDuplicates=True)).data["redeemPatientShare"]
    assert done["patient"]["id"] == patient["id"]


async def test_a_second_share_of_the_same_patient_makes_no_second_record(desks: tuple[Desk, Desk, Desk]) -> None:
    a, b, _ = desks
    patient = await a.patient()
    await a.shared_with(b, patient)
    first = await b.record_of(patient)

    consent = await a.consent(patient)
    issued = await a.share(patient, consentId=consent["id"])
    again = (await b.redeem(issued["code"])).data["redeemPatientShare"]

    assert again["alreadyHere"] is True
    assert first is not None
    assert again["patient"]["record"]["code"] == first["code"]
    assert await b.record_of(patient) == first


# --- reading across ---------------------------------------------------------------------------------------------------


async def test_what_was_agreed_to_can_be_read_and_nothing_else(desks: tuple[Desk, Desk, Desk]) -> None:
    a, b, _ = desks
    patient = await a.patient()
    await a.appointment(patient)
    await a.shared_with(b, patient, categories=["DEMOGRAPHICS", "APPOINTMENTS"])

    answer = await b.client.gql(HISTORY, patientId=patient["id"])

    [seen] = answer.data["sharedHistory"]
    assert (seen["clinicName"], seen["basis"]) == (a.clinic.tenant.name, "CONSENT")
    [visit] = seen["appointments"]
    assert (visit["doctorName"], visit["status"]) == (a.clinic.staff["doctor"].name, "BOOKED")
    assert seen["notes"] is None
    for hidden in ("secret", "private", str(a.clinic.staff["doctor"].id), str(a.clinic.tenant.id)):
        assert hidden not in answer.response.text
    assert await b.history(patient, ["NOTES"]) == []
    assert await a.history(patient) == [], "what B has was not shared with A"


async def test_lab_results_are_shown_once_they_are_released(desks: tuple[Desk, Desk, Desk]) -> None:
    a, b, _ = desks
    patient, other = await a.patient(), await a.patient()
    await a.lab_result(patient, "released", "14.1")
    await a.lab_result(patient, "reviewed", "not yet")
    await a.lab_result(other, "released", "another's")
    await a.shared_with(b, patient, categories=["DEMOGRAPHICS", "LAB_RESULTS"])
    [seen] = await b.history(patient)
    [result] = seen["labResults"]
    assert (result["panel"], seen["appointments"]) == ({"name": "Blood count"}, None)
    assert result["observations"] == [{"name": "Haemoglobin", "value": "14.1", "unit": "g/dL"}]


async def test_demographics_alone_open_no_records(desks: tuple[Desk, Desk, Desk]) -> None:
    a, b, _ = desks
    patient = await a.patient()
    await a.appointment(patient)
    await a.shared_with(b, patient, categories=["DEMOGRAPHICS"])
    assert await has_patient(b, patient)
    assert await b.history(patient) == []


@pytest.mark.parametrize("ended", ["consent revoked", "consent over", "share revoked", "share over", "clinic closed"])
async def test_access_ends_at_once_and_in_every_process(
    ended: str, make_clinic: MakeClinic, server: Server, raw: Database
) -> None:
    a, b = [Desk(clinic, await server.sign_in(clinic)) for clinic in (await make_clinic(), await make_clinic())]
    second = Desk(b.clinic, server.variant().client(b.clinic.host, b.client.token))
    patient = await a.patient()
    shared = await a.shared_with(b, patient)
    for desk in (b, second):
        [seen] = await desk.history(patient)
        assert seen["notes"] == [{"text": "private to the clinic"}]
    consent, share = ObjectId(shared["consent"]["id"]), ObjectId(shared["shareCode"]["id"])
    over = now() - timedelta(seconds=1)
    if ended == "consent revoked":
        present = nodes(await a.client.gql(CONSENTS, filter={"patientId": patient["id"]}))[0]
        assert present["redemptions"] == 1
        await a.client.gql(REVOKE, input={"id": present["id"], "version": present["version"]})
    elif ended == "share revoked":
        await a.client.gql(REVOKE_CODE, input={"id": str(share), "version": 2})
    elif ended == "consent over":
        await raw["consents"].update_one({"_id": consent}, {"$set": {"valid_until": over}})
    elif ended == "share over":
        await raw["share_codes"].update_one({"_id": share}, {"$set": {"until": over}})
    else:
        await raw["tenants"].update_one({"_id": a.clinic.tenant.id}, {"$set": {"status": "suspended"}})

    for desk in (b, second):
        assert await desk.history(patient) == []
    assert await has_patient(b, patient), "what was shared of the person stays"


async def test_nothing_is_shown_to_whoever_asks_after_a_revocation_was_answered(
    desks: tuple[Desk, Desk, Desk],
) -> None:
    """Readers race a revocation: what begins after it was answered shows nothing, whatever was under way."""
    a, b, _ = desks
    patient = await a.patient()
    shared = await a.shared_with(b, patient)
    present = nodes(await a.client.gql(CONSENTS, filter={"patientId": patient["id"]}))[0]
    assert present["id"] == shared["consent"]["id"]
    seen, done = asyncio.Event(), asyncio.Event()
    late: list[list[dict[str, Any]]] = []
    early: list[list[dict[str, Any]]] = []

    async def read() -> None:
        while len(late) < 8:
            kept = late if done.is_set() else early
            kept.append(await b.history(patient))
            seen.set()

    async def revoke() -> None:
        await seen.wait()
        answer = await a.client.gql(REVOKE, input={"id": present["id"], "version": present["version"]})
        assert answer.data["revokeConsent"]["state"] == "REVOKED"
        done.set()

    await asyncio.gather(*(read() for _ in range(4)), revoke())
    assert early[0], "what was read before shows the records"
    assert not any(late)


async def test_a_share_that_another_clinic_redeemed_opens_nothing_here(
    desks: tuple[Desk, Desk, Desk], raw: Database
) -> None:
    """Even a copied entry, which no service would make, does not carry the access over."""
    a, b, c = desks
    patient = await a.patient()
    await a.shared_with(b, patient)
    await b.shared_with(c, patient, categories=["DEMOGRAPHICS"])
    own = await raw["received_shares"].find_one(
        {"tenant_id": b.clinic.tenant.id, "patient_id": ObjectId(patient["id"])}
    )
    assert own is not None
    await raw["received_shares"].insert_one({**own, "_id": ObjectId(), "tenant_id": c.clinic.tenant.id})
    assert await c.history(patient) == []
    assert len(await b.history(patient)) == 1


async def test_reading_across_is_audited_at_both_clinics(desks: tuple[Desk, Desk, Desk], raw: Database) -> None:
    a, b, _ = desks
    patient = await a.patient()
    await a.shared_with(b, patient)
    await b.history(patient)

    about = {"action": "sharedHistory", "patient_ids": ObjectId(patient["id"]), "result": "ok"}
    [here] = await raw["audit_entries"].find({"tenant_id": b.clinic.tenant.id, **about}).to_list(None)
    [there] = await raw["audit_entries"].find({"tenant_id": a.clinic.tenant.id, **about}).to_list(None)
    assert here["user_id"] == b.clinic.staff["admin"].user_id
    assert (there["crossed"], there["user_id"]) == (True, None), "another clinic, and none of its people"
    assert there["request_id"] == here["request_id"]
    assert {"appointments", "patient_records"} <= set(there["collections"])


async def test_a_category_needs_the_right_that_the_clinics_own_would(
    desks: tuple[Desk, Desk, Desk], server: Server
) -> None:
    a, b, _ = desks
    patient = await a.patient()
    await a.shared_with(b, patient)
    nurse, accountant = [await server.sign_in(b.clinic, role) for role in ("nurse", "accountant")]
    assert (await nurse.gql(HISTORY, patientId=patient["id"])).data["sharedHistory"]
    assert (await nurse.gql(HISTORY, patientId=patient["id"], categories=["REFERRALS"])).codes == ["FORBIDDEN"]
    assert (await accountant.gql(HISTORY, patientId=patient["id"])).codes == ["FORBIDDEN"]


# --- who changed what -------------------------------------------------------------------------------------------------


async def test_each_clinic_sees_what_was_changed_since_the_patient_is_theirs_and_by_whom_of_its_own(
    desks: tuple[Desk, Desk, Desk],
) -> None:
    a, b, c = desks
    patient = await a.patient(phone="+12125550111")
    first = await a.client.gql(UPDATE, input={"id": patient["id"], "version": 1, "phone": "+12125550112"})
    assert first.data
    await a.shared_with(b, patient)
    await b.client.gql(UPDATE, input={"id": patient["id"], "version": 2, "phone": "+12125550113", "sex": "UNKNOWN"})
    await a.client.gql(UPDATE, input={"id": patient["id"], "version": 3, "familyName": "Changed"})

    mine = nodes(await a.client.gql(VERSIONS, patientId=patient["id"]))
    theirs = nodes(await b.client.gql(VERSIONS, patientId=patient["id"]))

    assert [(one["changed"], one["byAnotherClinic"], one["changedBy"]) for one in mine] == [
        (["familyName"], False, "Ada Admin"),
        (["phone"], True, None),
        (["phone"], False, "Ada Admin"),
    ]
    assert [one["before"]["phone"] for one in mine] == [None, "+12125550112", "+12125550111"]
    assert mine[0]["before"]["familyName"] == patient["familyName"]
    assert [(one["patientVersion"], one["byAnotherClinic"], one["changedBy"]) for one in theirs] == [
        (4, True, None),
        (3, False, "Ada Admin"),
    ]
    assert nodes(await c.client.gql(VERSIONS, patientId=patient["id"])) == []


async def test_a_change_that_is_refused_leaves_no_version(desks: tuple[Desk, Desk, Desk], raw: Database) -> None:
    a, _, _ = desks
    patient = await a.patient()
    stale = {"id": patient["id"], "version": 7, "phone": "+12125550199"}
    assert (await a.client.gql(UPDATE, input=stale)).codes == ["CONFLICT"]
    assert await raw["patient_versions"].count_documents({"patient_id": ObjectId(patient["id"])}) == 0


def test_hashes_do_not_depend_on_how_a_code_is_typed() -> None:
    assert hash_of("abcd-efgh") == hash_of(" ABCD EFGH ") != hash_of("ABCD-EFGJ")


async def test_a_clinic_with_a_database_of_its_own_neither_gives_nor_receives(
    make_clinic: MakeClinic, server: Server, desks: tuple[Desk, Desk, Desk]
) -> None:
    clinic = await make_clinic(OWN)
    apart = Desk(clinic, await server.sign_in(clinic))
    giver = desks[0]
    patient = await giver.patient()
    await giver.consent(patient)
    issued = await giver.share(patient)
    own = await apart.patient()
    await apart.consent(own)

    received, given = await apart.redeem(issued["code"]), await apart.try_share(own)

    for answer in (received, given):
        assert answer.codes == ["INVALID_STATE"]
        assert "database of its own" in answer.errors[0]["message"]
    assert not (await desks[2].redeem(issued["code"])).errors
