"""Merging at one clinic, seen from another one that has the same patient: nothing of it shows there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest_asyncio
from bson import ObjectId
from pymongo import AsyncMongoClient

from app.config import Settings
from models import ALL_DOCUMENTS
from models.base import PlatformDocument
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.resolvers.merge_calls import PREVIEW, kept, merged, try_merge, unmerged
from tests.resolvers.patient_calls import ONE, UPDATE, found, share
from tests.resolvers.sharing_calls import BREAK, RECEIVED, VERSIONS, Desk, nodes

Row = dict[str, Any]


@pytest_asyncio.fixture
async def here(make_clinic: MakeClinic, server: Server) -> Desk:
    clinic = await make_clinic()
    return Desk(clinic, await server.sign_in(clinic))


@pytest_asyncio.fixture
async def there(make_clinic: MakeClinic, server: Server) -> Desk:
    clinic = await make_clinic()
    return Desk(clinic, await server.sign_in(clinic))


async def all_of(clinic: Clinic, settings: Settings, *patients: Row) -> Mapping[str, Any]:
    """Byte for byte what is stored of a clinic but for its audit, and of the patients but for whose they are."""
    async with AsyncMongoClient[Row](settings.mongodb_uri) as client:
        stored = client[settings.mongodb_database]
        found: dict[str, Any] = {}
        for model in ALL_DOCUMENTS:
            name = str(model.Settings.name)
            if not issubclass(model, PlatformDocument) and not name.startswith("audit_"):
                rows = await stored[name].find({"tenant_id": clinic.tenant.id}).sort("_id").to_list()
                found[name] = rows
        wanted = {"_id": {"$in": [ObjectId(one["id"]) for one in patients]}}
        rows = await stored["patients"].find(wanted, {"tenant_ids": 0, "archived_in": 0}).sort("_id").to_list()
    return {**found, "patients": rows}


async def owners(settings: Settings, patient: Row) -> list[Any]:
    async with AsyncMongoClient[Row](settings.mongodb_uri) as client:
        row = await client[settings.mongodb_database]["patients"].find_one({"_id": ObjectId(patient["id"])})
    return row["tenant_ids"] if row else []


async def test_the_other_clinic_sees_no_change_of_a_duplicate_that_it_has_too(
    here: Desk, there: Desk, settings: Settings
) -> None:
    survivor = await here.patient(familyName="Kept")
    duplicate = await here.patient(familyName="Twice", email="twice@example.com", phone="+12125550131")
    await here.appointment(duplicate)
    await share(duplicate, here.clinic, there.clinic)
    await there.appointment(duplicate)
    before = await kept(here.clinic, survivor, duplicate, changes=True)
    stored = await all_of(there.clinic, settings, duplicate)
    shown = (await there.client.gql(ONE, id=duplicate["id"])).data

    made = await merged(here.client, survivor, duplicate)

    assert await all_of(there.clinic, settings, duplicate) == stored
    assert (await there.client.gql(ONE, id=duplicate["id"])).data == shown
    assert await found(there.client) == [duplicate["id"]]
    assert await owners(settings, duplicate) == [there.clinic.tenant.id]
    assert (await here.client.gql(ONE, id=duplicate["id"])).data["patient"]["id"] == survivor["id"]
    assert len((await kept(here.clinic, survivor))["appointments"]) == 1
    assert (await there.client.gql(ONE, id=survivor["id"])).codes == ["NOT_FOUND"]

    await unmerged(here.client, made)

    assert await kept(here.clinic, survivor, duplicate) == {
        name: rows for name, rows in before.items() if name != "patient_versions"
    }
    assert await all_of(there.clinic, settings, duplicate) == stored
    assert set(await owners(settings, duplicate)) == {here.clinic.tenant.id, there.clinic.tenant.id}
    assert sorted(await found(here.client)) == sorted([survivor["id"], duplicate["id"]])


async def test_what_the_other_clinic_changed_meanwhile_is_there_afterwards(here: Desk, there: Desk) -> None:
    survivor, duplicate = await here.patient(), await here.patient()
    await share(duplicate, here.clinic, there.clinic)
    made = await merged(here.client, survivor, duplicate)
    await there.client.gql(UPDATE, input={"id": duplicate["id"], "version": 1, "phone": "+12125550132"})
    assert (await here.client.gql(ONE, id=survivor["id"])).data["patient"]["phone"] is None

    await unmerged(here.client, made)

    seen = (await here.client.gql(ONE, id=duplicate["id"])).data["patient"]
    assert (seen["phone"], seen["version"]) == ("+12125550132", 2)


async def test_a_patient_whom_the_other_clinic_has_erased_meanwhile_comes_back(
    here: Desk, there: Desk, settings: Settings
) -> None:
    survivor, duplicate = await here.patient(), await here.patient(familyName="Backagain")
    await share(duplicate, here.clinic, there.clinic)
    made = await merged(here.client, survivor, duplicate)
    record = (await there.client.gql(ONE, id=duplicate["id"])).data["patient"]["record"]
    erase = "mutation($input: ErasePatientInput!) { erasePatient(input: $input) { status } }"
    given = {"patientId": duplicate["id"], "code": record["code"], "basis": "OBJECTION"}
    assert (await there.client.gql(erase, input=given)).data["erasePatient"]["status"] == "COMPLETE"
    assert await owners(settings, duplicate) == []

    await unmerged(here.client, made)

    assert await owners(settings, duplicate) == [here.clinic.tenant.id]
    assert (await here.client.gql(ONE, id=duplicate["id"])).data["patient"]["familyName"] == "Backagain"


async def test_what_was_shared_by_consent_is_read_as_before_and_no_more(here: Desk, there: Desk) -> None:
    survivor, duplicate = await here.patient(notes="of the survivor"), await here.patient(notes="of the duplicate")
    await here.lab_result(survivor, "released", "13.1")
    await here.lab_result(duplicate, "released", "14.2")
    await here.shared_with(there, duplicate)
    before = await there.history(duplicate)
    assert [len(before[0][name]) for name in ("notes", "labResults")] == [1, 1]

    made = await merged(here.client, survivor, duplicate)

    assert await there.history(duplicate) == before
    await here.lab_result(survivor, "released", "15.3")
    assert await there.history(duplicate) == before
    await unmerged(here.client, made)
    assert await there.history(duplicate) == before


async def test_what_was_received_by_consent_stays_open(here: Desk, there: Desk) -> None:
    theirs = await there.patient(notes="of the other clinic")
    await there.shared_with(here, theirs)
    survivor = await here.patient()
    before = await here.history(theirs)
    assert before[0]["notes"] == [{"text": "of the other clinic"}]

    made = await merged(here.client, survivor, theirs)

    assert await here.history(survivor) == before
    assert len(nodes(await here.client.gql(RECEIVED, patientId=survivor["id"]))) == 1
    third = await here.patient()
    again = await merged(here.client, third, survivor)
    assert await here.history(third) == before
    await unmerged(here.client, again)
    assert await here.history(survivor) == before
    await unmerged(here.client, made)
    assert (await here.history(survivor), await here.history(theirs)) == ([], before)


async def test_a_revoked_consent_opens_nothing_after_a_merge(here: Desk, there: Desk) -> None:
    survivor, duplicate = await here.patient(), await here.patient()
    issued = await here.shared_with(there, duplicate)
    await merged(here.client, survivor, duplicate)
    revoke = "mutation($input: RevokeConsentInput!) { revokeConsent(input: $input) { id } }"
    consents = "query($filter: ConsentFilter) { consents(filter: $filter) { edges { node { id version } } } }"
    [consent] = nodes(await here.client.gql(consents, filter={"patientId": survivor["id"]}))
    assert consent["id"] == issued["consent"]["id"]
    assert await there.history(duplicate) != []
    await here.client.gql(revoke, input={"id": consent["id"], "version": consent["version"], "reason": "No more."})
    assert await there.history(duplicate) == []


async def test_demographics_that_others_have_too_are_not_filled_in(here: Desk, there: Desk, settings: Settings) -> None:
    survivor = await here.patient(phone="+12125550133")
    duplicate = await here.patient(email="told@example.com", notes="Only ours", nationalId="ID-4790")
    await share(survivor, here.clinic, there.clinic)
    stored = await all_of(there.clinic, settings, survivor)
    pair = {"survivorId": survivor["id"], "duplicateId": duplicate["id"]}
    seen = (await here.client.gql(PREVIEW, **pair)).data["patientMergePreview"]
    assert (seen["demographicsShared"], seen["changes"]) == (True, ["NATIONAL_ID", "NOTES"])
    choices = [{"field": "EMAIL", "take": "DUPLICATE"}]
    refused = await try_merge(here.client, survivor, duplicate, choices=choices)
    assert (refused.codes, refused.paths) == (["VALIDATION_FAILED"], ["input.choices.0.take"])

    made = await merged(here.client, survivor, duplicate)

    assert (made["survivor"]["email"], made["survivor"]["record"]["nationalId"]) == (None, "ID-4790")
    assert await all_of(there.clinic, settings, survivor) == stored
    await unmerged(here.client, made)
    assert await all_of(there.clinic, settings, survivor) == stored
    assert str(there.clinic.tenant.id) not in str(seen)


async def test_no_allergy_is_lost_because_others_have_the_survivor_too(here: Desk, there: Desk) -> None:
    survivor = await here.patient()
    duplicate = await here.patient(allergies=[{"substance": "Penicillin", "severe": True}])
    await share(survivor, here.clinic, there.clinic)
    refused = await try_merge(here.client, survivor, duplicate)
    assert (refused.codes, "Penicillin" in refused.errors[0]["message"]) == (["INVALID_STATE"], True)
    told = {"id": survivor["id"], "version": 1, "allergies": [{"substance": "Penicillin", "severe": True}]}
    await here.client.gql(UPDATE, input=told)
    await merged(here.client, survivor, duplicate)
    [version] = nodes(await there.client.gql(VERSIONS, patientId=survivor["id"]))
    assert (version["byAnotherClinic"], version["changed"]) == (True, ["allergies"])


async def test_a_patient_who_was_merged_is_not_received_beside_it(here: Desk, there: Desk) -> None:
    theirs = await there.patient()
    await there.shared_with(here, theirs)
    survivor = await here.patient()
    made = await merged(here.client, survivor, theirs)
    consent = await there.consent(theirs)
    issued = await there.share(theirs, consentId=consent["id"], categories=consent["categories"])
    refused = await here.redeem(issued["code"], despiteDuplicates=True)
    assert refused.codes == ["INVALID_STATE"]
    await unmerged(here.client, made)
    again = await here.redeem(issued["code"])
    assert again.data["redeemPatientShare"]["patient"]["id"] == theirs["id"]


async def test_both_clinics_merge_for_themselves(here: Desk, there: Desk) -> None:
    one, other = await here.patient(notes="one"), await here.patient(notes="other")
    for patient in (one, other):
        await share(patient, here.clinic, there.clinic)
    mine = await merged(here.client, one, other)
    theirs = await merged(there.client, other, one)
    assert await found(here.client) == [one["id"]]
    assert await found(there.client) == [other["id"]]
    await unmerged(here.client, mine)
    assert (await here.client.gql(ONE, id=other["id"])).data["patient"]["record"]["notes"] == "other"
    assert await found(there.client) == [other["id"]]
    await unmerged(there.client, theirs)
    assert sorted(await found(there.client)) == sorted([one["id"], other["id"]])


async def test_the_old_code_breaks_the_glass_for_the_survivor(here: Desk) -> None:
    survivor, duplicate = await here.patient(), await here.patient()
    await merged(here.client, survivor, duplicate)
    given = {"patientCode": duplicate["record"]["code"], "reason": "UNCONSCIOUS", "note": "Found on the street."}
    opened: Client = here.client
    answer = await opened.gql(BREAK.replace("id version", "patient { id } id version"), input=given)
    assert answer.data["breakGlass"]["patient"]["id"] == survivor["id"]
