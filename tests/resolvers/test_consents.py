"""Forms that never change under those who signed them, and consents that hold from when until when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId
from pymongo import AsyncMongoClient

from app.config import Settings
from app.errors import InvalidState, NotFound
from app.services.sharing.consents import revoke_consent
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Database
from models.consent import RevokedBy
from models.values import now
from tests.fixtures.clinics import Clinic, Server
from tests.fixtures.people import SignedIn
from tests.resolvers.patient_calls import NOWHERE
from tests.resolvers.sharing_calls import ALL, CONSENTS, RECORD, REVISE, REVOKE, TEMPLATES, Desk, nodes

ARCHIVE = "mutation($input: ArchiveInput!) { archiveConsentTemplate(input: $input) { version archivedAt } }"
RESTORE = "mutation($input: ArchiveInput!) { restoreConsentTemplate(input: $input) { version archivedAt } }"


@pytest_asyncio.fixture
async def desk(signed_in: SignedIn, clinic_a: Clinic) -> Desk:
    return Desk(clinic_a, await signed_in(clinic_a))


@pytest_asyncio.fixture
async def raw(server: Server, settings: Settings) -> AsyncIterator[Database]:
    async with AsyncMongoClient[dict[str, Any]](settings.mongodb_uri, tz_aware=True) as client:
        yield client[settings.mongodb_database]


# --- forms ------------------------------------------------------------------------------------------------------------


async def test_a_revised_form_leaves_what_was_signed_as_it_was(desk: Desk) -> None:
    form = await desk.form(es={"title": "Compartir", "text": "Acepto."})
    patient = await desk.patient()
    signed = (await desk.try_consent(patient, form, language="ES")).data["recordConsent"]

    changes = {"en": {"title": "Sharing", "text": "I agree to more."}, "categories": ["DEMOGRAPHICS"]}
    answer = await desk.client.gql(REVISE, input={"id": form["id"], "version": 1, **changes})

    new = answer.data["reviseConsentTemplate"]
    assert new["id"] != form["id"]
    assert (new["edition"], new["name"], new["categories"]) == (2, form["name"], ["DEMOGRAPHICS"])
    assert (new["en"]["text"], new["es"]) == ("I agree to more.", form["es"])
    here = nodes(await desk.client.gql(CONSENTS, filter={"patientId": patient["id"]}))
    assert here == [signed]
    assert (signed["edition"], signed["language"], signed["template"]) == (
        1,
        "ES",
        {"name": form["name"], "edition": 1},
    )
    old = nodes(await desk.client.gql(TEMPLATES, filter={"search": form["name"], "archived": True}))
    assert [(one["id"], one["en"]) for one in old] == [(form["id"], form["en"])]
    assert (await desk.try_consent(patient, form)).codes == ["INVALID_STATE"]


async def test_two_revisions_of_one_edition_make_one_new_edition(desk: Desk) -> None:
    form = await desk.form()
    revision = {"id": form["id"], "version": 1, "validDays": 30}
    answers = await asyncio.gather(*(desk.client.gql(REVISE, input=revision) for _ in range(5)))
    assert sorted(str(answer.codes) for answer in answers) == sorted([*["['CONFLICT']"] * 4, "[]"])
    assert len(nodes(await desk.client.gql(TEMPLATES, filter={"search": form["name"]}))) == 1


async def test_a_replaced_edition_does_not_come_back(desk: Desk) -> None:
    form = await desk.form()
    await desk.client.gql(REVISE, input={"id": form["id"], "version": 1, "validDays": 30})
    for call in (RESTORE, REVISE):
        assert (await desk.client.gql(call, input={"id": form["id"], "version": 2})).codes == ["INVALID_STATE"]
    other = await desk.form()
    assert (await desk.client.gql(ARCHIVE, input={"id": other["id"], "version": 1})).data
    assert (await desk.client.gql(RESTORE, input={"id": other["id"], "version": 2})).data
    taken = {"id": other["id"], "version": 3, "name": (await desk.form())["name"]}
    answer = await desk.client.gql(REVISE, input=taken)
    assert (answer.codes, answer.paths) == (["CONFLICT"], ["input.name"])


# --- consents ---------------------------------------------------------------------------------------------------------


async def test_a_consent_takes_from_its_form_what_is_not_said(desk: Desk) -> None:
    patient = await desk.patient()
    form = await desk.form(validDays=10)

    made = (await desk.try_consent(patient, form)).data["recordConsent"]

    assert (made["state"], made["categories"], made["purpose"]) == ("LIVE", form["categories"], "TREATMENT")
    assert (made["patientName"], made["witness"]["name"]) == (patient["name"], "Nurse Person")
    ends = (now() + timedelta(days=10)).isoformat()[:16]
    assert made["validUntil"][:13] == ends[:13]


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"categories": ["IMAGING"]}, "input.categories"),
        ({"categories": []}, "input.categories"),
        ({"validUntil": "2020-01-01T00:00:00Z", "validFrom": "2019-01-01T00:00:00Z"}, "input.validUntil"),
        ({"validFrom": "2031-01-01T00:00:00Z", "validUntil": "2030-01-01T00:00:00Z"}, "input"),
        ({"validUntil": "2099-01-01T00:00:00Z"}, "input"),
        ({"receiver": "no-such-clinic"}, "input.receiver"),
        ({"receiver": "Not A Name"}, "input.receiver"),
        ({"language": "ES"}, "input.language"),
    ],
)
async def test_a_consent_that_nobody_gave_is_not_recorded(desk: Desk, values: dict[str, Any], path: str) -> None:
    patient = await desk.patient()
    answer = await desk.try_consent(patient, await desk.form(), **values)
    if values.get("categories") == []:
        assert answer.data["recordConsent"]["categories"] == ALL
        return
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])
    assert nodes(await desk.client.gql(CONSENTS, filter={"patientId": patient["id"]})) == []


async def test_a_consent_of_nobody_is_not_found(desk: Desk) -> None:
    patient, form = await desk.patient(), await desk.form()
    witness = str(desk.clinic.staff["nurse"].id)
    fine = {"patientId": patient["id"], "consentTemplateId": form["id"], "witnessId": witness, "method": "TABLET"}
    for name in ("patientId", "consentTemplateId", "witnessId"):
        answer = await desk.client.gql(RECORD, input={**fine, name: NOWHERE})
        assert (answer.codes, answer.paths) == (["NOT_FOUND"], [f"input.{name}"])


async def test_the_state_is_that_of_the_moment(desk: Desk, raw: Database) -> None:
    patient = await desk.patient()
    made = await desk.consent(patient)
    later = await desk.consent(patient, validFrom=(now() + timedelta(days=1)).isoformat())
    assert later["state"] == "NOT_YET"
    over = {"valid_from": now() - timedelta(days=2), "valid_until": now() - timedelta(days=1)}
    await raw["consents"].update_one({"_id": ObjectId(made["id"])}, {"$set": over})

    for state, wanted in (("LIVE", []), ("EXPIRED", [made["id"]]), ("NOT_YET", [later["id"]]), ("REVOKED", [])):
        found = nodes(await desk.client.gql(CONSENTS, filter={"patientId": patient["id"], "state": state}))
        assert [one["id"] for one in found] == wanted
        assert {one["state"] for one in found} <= {state}


async def test_a_consent_is_revoked_once(desk: Desk) -> None:
    made = await desk.consent(await desk.patient())
    stale = await desk.client.gql(REVOKE, input={"id": made["id"], "version": 9})
    assert (stale.codes, stale.paths) == (["CONFLICT"], ["input.version"])
    answers = await asyncio.gather(
        *(desk.client.gql(REVOKE, input={"id": made["id"], "version": 1, "reason": "asked to"}) for _ in range(4))
    )
    [done] = [answer.data["revokeConsent"] for answer in answers if not answer.errors]
    assert (done["state"], done["revokedBy"], done["revokeReason"]) == ("REVOKED", "PATIENT", "asked to")
    assert (await desk.client.gql(REVOKE, input={"id": made["id"], "version": 2})).codes == ["INVALID_STATE"]


async def test_a_patient_revokes_their_own_and_nobody_elses(desk: Desk) -> None:
    """The patient comes from their session, the consent from the request."""
    one, other = await desk.patient(), await desk.patient()
    mine, theirs = await desk.consent(one), await desk.consent(other)
    async with tenant_scope(desk.clinic.ref):
        with pytest.raises(NotFound):
            await revoke_consent(ObjectId(theirs["id"]), by=RevokedBy.PATIENT, patient_id=ObjectId(one["id"]))
        done = await revoke_consent(ObjectId(mine["id"]), by=RevokedBy.PATIENT, patient_id=ObjectId(one["id"]))
        assert done["revoked_by"] == "patient"
        with pytest.raises(InvalidState):
            await revoke_consent(ObjectId(mine["id"]), by=RevokedBy.PATIENT, patient_id=ObjectId(one["id"]))
    [left] = nodes(await desk.client.gql(CONSENTS, filter={"patientId": other["id"]}))
    assert left["state"] == "LIVE"
