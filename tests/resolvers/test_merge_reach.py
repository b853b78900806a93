"""What a merge means for the patient's portal, for laboratories, and for data that is taken along."""

from __future__ import annotations

import json
from typing import Any

import pytest_asyncio
from bson import ObjectId
from fhir.resources.R4B.bundle import Bundle

from app.tenancy.crossing import tenant_scope
from models import PortalAccount
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.portal import BORN, Visit, Visitor
from tests.http.lab_support import connect, quarantined, report, results
from tests.http.test_exports import get
from tests.resolvers.merge_calls import merged, unmerged
from tests.resolvers.patient_calls import register
from tests.resolvers.test_portal import LOGIN, ME, issued, signed_in

Row = dict[str, Any]
ACCESSES = "{ patientAccessLog(first: 100, includeOwn: true) { edges { node { action } } } }"


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture
async def admin(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic)


async def accounts(clinic: Clinic) -> dict[str, Row]:
    async with tenant_scope(clinic.ref):
        return {str(row["patient_id"]): row for row in await PortalAccount.rows({})}


def of(visitor: Visitor) -> Row:
    return {"id": str(visitor.patient_id)}


# --- the portal -------------------------------------------------------------------------------------------------------


async def test_an_account_that_only_the_duplicate_has_goes_along(visit: Visit, admin: Client, clinic: Clinic) -> None:
    visitor, survivor = await visit(clinic), await register(admin, birthDate=BORN)
    before = (await accounts(clinic))[str(visitor.patient_id)]
    assert await signed_in(visitor.client)

    made = await merged(admin, survivor, of(visitor))

    assert not await signed_in(visitor.client)
    account = (await accounts(clinic))[survivor["id"]]
    assert {name: account[name] for name in ("_id", "enabled", "channel", "email", "phone")} == {
        name: before[name] for name in ("_id", "enabled", "channel", "email", "phone")
    }
    code = await issued(admin, Visitor(**{**as_dict(visitor), "patient_id": ObjectId(survivor["id"])}))
    client = visitor.server.client(clinic.host)
    told = await client.gql(LOGIN, input={"patientCode": visitor.code, "code": code})
    assert told.data["patientLogin"]["patient"]["id"] == survivor["id"]
    inside = visitor.server.client(clinic.host, told.data["patientLogin"]["token"])
    assert (await inside.gql(ME)).data["patientMe"]["record"]["code"] == survivor["record"]["code"]

    await unmerged(admin, made)

    assert not await signed_in(inside)
    held = await accounts(clinic)
    assert (set(held), held[str(visitor.patient_id)]["_id"]) == ({str(visitor.patient_id)}, before["_id"])


def as_dict(visitor: Visitor) -> Row:
    return {name: getattr(visitor, name) for name in ("server", "clinic", "client", "patient_id", "code", "email")}


async def test_of_two_accounts_the_survivors_stays(visit: Visit, admin: Client, clinic: Clinic) -> None:
    survivor, duplicate = await visit(clinic), await visit(clinic)
    before = await accounts(clinic)

    made = await merged(admin, of(survivor), of(duplicate))

    assert (await signed_in(survivor.client), await signed_in(duplicate.client)) == (True, False)
    assert set(await accounts(clinic)) == {str(survivor.patient_id)}
    await unmerged(admin, made)
    after = await accounts(clinic)
    assert {id: row["email"] for id, row in after.items()} == {id: row["email"] for id, row in before.items()}
    assert after[str(duplicate.patient_id)] == before[str(duplicate.patient_id)]
    assert not await signed_in(survivor.client), "who had come in meanwhile may have been the other one"


async def test_a_patient_sees_who_looked_at_the_file_that_was_merged(
    visit: Visit, admin: Client, clinic: Clinic
) -> None:
    visitor, duplicate = await visit(clinic), await register(admin)
    await merged(admin, of(visitor), duplicate)
    seen = (await visitor.asks(ACCESSES))["patientAccessLog"]["edges"]
    assert {"createPatient", "patient.merge"} <= {edge["node"]["action"] for edge in seen}


# --- laboratories -----------------------------------------------------------------------------------------------------


async def test_a_report_on_the_old_code_reaches_the_survivor(server: Server, admin: Client, clinic: Clinic) -> None:
    survivor, duplicate = await register(admin, birthDate=BORN), await register(admin, birthDate=BORN)
    await merged(admin, survivor, duplicate)
    lab = await connect(server, clinic, admin)

    sent = await lab.send(report(duplicate["record"]["code"]))
    assert sent.status_code in (200, 202)

    [result] = await results(admin)
    assert result["patient"]["id"] == survivor["id"]
    wrong = report(duplicate["record"]["code"])
    await lab.send({**wrong, "patient": {**wrong["patient"], "birthDate": "1950-01-01"}})
    kept = await quarantined(admin, wrong["eventId"])
    assert kept is not None
    assert kept["reason"] == "BIRTH_DATE_DIFFERS"


# --- taken along ------------------------------------------------------------------------------------------------------


async def test_the_file_tells_of_the_merge_and_is_found_by_the_old_id(admin: Client) -> None:
    survivor, duplicate = await register(admin), await register(admin, familyName="Formerly")
    made = await merged(admin, survivor, duplicate)

    for id in (survivor["id"], duplicate["id"]):
        file = (await get(admin, f"/api/patients/{id}/export")).json()
        assert file["patient"]["id"] == survivor["id"]
        [merge] = file["records"]["patient_merges"]
        assert (merge["formerId"], merge["formerCode"]) == (duplicate["id"], duplicate["record"]["code"])
        assert merge["patient"]["familyName"] == "Formerly"
        assert "moved" not in merge
        made_here = [one for one in file["accesses"] if (one["action"], one["result"]) == ("createPatient", "ok")]
        assert len(made_here) == 2
    await unmerged(admin, made)
    file = (await get(admin, f"/api/patients/{survivor['id']}/export")).json()
    assert "Formerly" not in json.dumps(file)


async def test_fhir_links_the_files(admin: Client) -> None:
    survivor, duplicate = await register(admin), await register(admin)
    await merged(admin, survivor, duplicate)

    answer = await get(admin, f"/api/patients/{duplicate['id']}/export", format="fhir")

    Bundle.model_validate_json(answer.content)
    entries = {entry["fullUrl"]: entry["resource"] for entry in json.loads(answer.content)["entry"]}
    patients = [one for one in entries.values() if one["resourceType"] == "Patient"]
    now, former = sorted(patients, key=lambda one: one["id"] != survivor["id"])
    assert (former["id"], former["active"]) == (duplicate["id"], False)
    assert [(link["type"], entries[link["other"]["reference"]]["id"]) for link in now["link"]] == [
        ("replaces", duplicate["id"])
    ]
    assert [(link["type"], entries[link["other"]["reference"]]["id"]) for link in former["link"]] == [
        ("replaced-by", survivor["id"])
    ]
    assert [(one["use"], one["value"]) for one in now["identifier"]] == [
        ("usual", survivor["record"]["code"]),
        ("old", duplicate["record"]["code"]),
    ]
