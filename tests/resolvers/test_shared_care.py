"""What a consent opens of another clinic's care: what is finished, category by category, and no ids."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.resolvers.care_calls import Row, fully_treated, only
from tests.resolvers.sharing_calls import Desk

HISTORY = """query($patientId: ID!, $categories: [ShareCategory!]) {
    sharedHistory(patientId: $patientId, categories: $categories) {
        visits { doctorName reason subjective plan vitals { temperatureCelsius } diagnoses { code edition }
            addenda { text } }
        prescriptions { status doctorName items { name dose instructions } }
        imaging { bodySite findings } procedures { name outcome status } referrals { reason recipient { name } } } }"""
CARE = ["VISITS", "PRESCRIPTIONS", "IMAGING", "PROCEDURES", "REFERRALS"]


@pytest_asyncio.fixture(scope="module")
async def desks(server: Server, make_clinic: MakeClinic) -> tuple[Desk, Desk]:
    async def desk() -> Desk:
        clinic: Clinic = await make_clinic()
        return Desk(clinic, await server.sign_in(clinic))

    return await desk(), await desk()


async def shared(desks: tuple[Desk, Desk], categories: list[str]) -> tuple[Row, dict[str, Row]]:
    """A patient who was treated at the first clinic and lets the second see these categories."""
    a, b = desks
    patient = await a.patient()
    made = await fully_treated(a.client, a.clinic, patient["id"])
    form = await a.form(categories=["DEMOGRAPHICS", *CARE])
    assert not (await a.try_consent(patient, form)).errors
    code = (await a.share(patient, categories=["DEMOGRAPHICS", *categories]))["code"]
    assert not (await b.redeem(code)).errors
    return patient, made


async def test_what_is_finished_is_shown_and_nothing_else(desks: tuple[Desk, Desk]) -> None:
    patient, made = await shared(desks, CARE)
    answer = await desks[1].client.gql(HISTORY, patientId=patient["id"])
    [seen] = only(answer)
    [visit], [rx], [study] = seen["visits"], seen["prescriptions"], seen["imaging"]
    assert (visit["reason"], visit["plan"], visit["addenda"]) == ("Knee pain", "Rest & ice", [{"text": "Better."}])
    assert visit["diagnoses"] == [{"code": "M25.5", "edition": "2019"}]
    assert visit["doctorName"] == desks[0].clinic.staff["admin"].name
    assert (rx["status"], rx["items"][0]["instructions"]) == ("ACTIVE", "With meals")
    assert study == {"bodySite": "Knee", "findings": "No fracture."}
    assert [one["name"] for one in seen["procedures"]] == ["Joint puncture"]
    assert [one["reason"] for one in seen["referrals"]] == ["Knee MRI?"]
    text = answer.response.text
    assert "unfinished" not in text
    assert not [one["id"] for one in made.values() if one["id"] in text]


@pytest.mark.parametrize("category", CARE)
async def test_each_category_opens_itself_alone(desks: tuple[Desk, Desk], category: str) -> None:
    patient, _ = await shared(desks, [category])
    [seen] = only(await desks[1].client.gql(HISTORY, patientId=patient["id"]))
    opened = [name for name, rows in seen.items() if rows is not None]
    assert opened == [category.lower()]
    answer: Any = only(await desks[1].client.gql(HISTORY, patientId=patient["id"], categories=["NOTES"]))
    assert answer == []
