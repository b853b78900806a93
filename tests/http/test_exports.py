"""Taking data along: a patient's file as JSON and as FHIR, lists as CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import pytest_asyncio
from beanie import PydanticObjectId
from bson import ObjectId
from fhir.resources.R4B.bundle import Bundle
from hypothesis import example, given
from hypothesis import strategies as st

from app.services.csv_export import lines, neutral
from app.services.patient_export import PatientFile, models_about_patients
from app.services.patient_fhir import as_fhir
from app.services.scheduling.diary import clinic_zone
from app.tenancy.crossing import tenant_scope
from models import Appointment, AuditEntry, LabResult
from models.appointment import AppointmentStatus
from models.lab import LabPanel, LabResultStatus, Observation, ResultFlag
from models.values import now
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.tills import Cashier
from tests.resolvers.patient_calls import NOWHERE, family, register
from tests.resolvers.pharmacy_calls import LATER, Pharmacy


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture
async def admin(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic)


async def get(client: Client, path: str, **params: str) -> httpx.Response:
    client.http.cookies.clear()
    headers = {"Authorization": f"Bearer {client.token}"} if client.token else {}
    return await client.http.get(path, params=params, headers=headers)


async def treated(clinic: Clinic, patient_id: str, **values: Any) -> None:
    """An appointment of the past, and a laboratory's finding."""
    start = now() - timedelta(days=3)
    async with tenant_scope(clinic.ref):
        await Appointment(
            patient_id=PydanticObjectId(patient_id),
            doctor_id=clinic.staff["doctor"].key,
            starts_at=start,
            ends_at=start + timedelta(minutes=30),
            status=AppointmentStatus.FULFILLED,
            **{"reason": "Check-up", "notes": "Slept badly", **values},
        ).insert()
        await LabResult(
            patient_id=PydanticObjectId(patient_id),
            accession="A-17",
            panel=LabPanel(loinc="24323-8", name="Metabolic panel"),
            observations=[
                Observation(loinc="2345-7", name="Glucose", value="5.40", unit="mmol/L", flag=ResultFlag.NORMAL),
                Observation(name="Look", value="clear", comment="By eye"),
            ],
            performed_at=start,
            reported_at=start,
            status=LabResultStatus.RELEASED,
        ).insert()


async def test_the_file_holds_what_the_clinic_keeps(admin: Client, clinic: Clinic) -> None:
    made = await register(admin, familyName="Taken", phone="+12125550123", notes="Likes tea")
    await treated(clinic, made["id"])
    answer = await get(admin, f"/api/patients/{made['id']}/export")

    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="patient.json"'
    assert answer.headers["cache-control"] == "no-store"
    file = answer.json()
    assert (file["format"], file["version"]) == ("polyclinic-patient", 1)
    assert (file["patient"]["familyName"], file["patient"]["phone"]) == ("Taken", "+12125550123")
    assert file["records"]["patient_records"][0]["notes"] == "Likes tea"
    assert file["records"]["appointments"][0]["notes"] == "Slept badly"
    assert file["records"]["lab_results"][0]["observations"][0]["value"] == "5.40"
    assert {"createPatient"} <= {one["action"] for one in file["accesses"]}
    assert "tenantIds" not in answer.text


async def test_the_file_is_a_valid_fhir_bundle(admin: Client, clinic: Clinic) -> None:
    made = await register(
        admin,
        familyName="Taken",
        birthDate="1980-02-29",
        allergies=[{"substance": "Penicillin", "reaction": "Rash", "severe": True}],
        contacts=[{"name": "Ben", "relationship": "brother", "phone": "+12125550124"}],
    )
    await treated(clinic, made["id"])
    answer = await get(admin, f"/api/patients/{made['id']}/export", format="fhir")

    assert answer.headers["content-type"] == "application/fhir+json"
    bundle = Bundle.model_validate_json(answer.content)
    assert bundle.type == "collection"
    by_kind: dict[str, list[Any]] = {}
    for entry in json.loads(answer.content)["entry"]:
        by_kind.setdefault(entry["resource"]["resourceType"], []).append(entry)
    counted = {kind: len(entries) for kind, entries in by_kind.items()}
    assert counted == {
        "Organization": 1,
        "Patient": 1,
        "AllergyIntolerance": 1,
        "Appointment": 1,
        "DiagnosticReport": 1,
        "Observation": 2,
        "Practitioner": 1,
    }
    patient = by_kind["Patient"][0]
    assert patient["resource"]["birthDate"] == "1980-02-29"
    appointment = by_kind["Appointment"][0]["resource"]
    assert appointment["status"] == "fulfilled"
    assert appointment["participant"][0]["actor"]["reference"] == patient["fullUrl"]
    quantity = by_kind["Observation"][0]["resource"]["valueQuantity"]
    assert quantity == {"value": 5.4, "unit": "mmol/L"}
    assert '"value":5.40,' in answer.text  # its digits say how exactly it was measured
    known = {entry["fullUrl"] for entries in by_kind.values() for entry in entries}
    assert _references(json.loads(answer.content)) <= known


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0.30", '"valueQuantity":{"value":0.30,"unit":"g"}'),
        ("-12", '"valueQuantity":{"value":-12,"unit":"g"}'),
        ("1234567890.0123456789", '"valueQuantity":{"value":1234567890.0123456789,"unit":"g"}'),
        *((text, f'"valueString":"{text}"') for text in ("1E+400", "1_000", "NaN", "<0.5", "007", "٣", "9" * 400)),
    ],
)
async def test_no_digit_of_a_finding_is_lost_or_made_up(value: str, shown: str) -> None:
    result = {
        "_id": ObjectId(),
        "status": "released",
        "panel": {"name": "Panel"},
        "observations": [{"name": "Any", "value": value, "unit": "g"}],
        "performed_at": now(),
        "reported_at": now(),
        "accession": "A-1",
    }
    person = {"_id": ObjectId(), "given_name": "Ana", "family_name": "Old", "contacts": None, "allergies": None}
    bundle = await as_fhir(PatientFile({"_id": ObjectId(), "name": "Clinic"}, person, {"lab_results": [result]}, []))
    Bundle.model_validate_json(bundle)
    assert shown in bundle


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["reference"]} if "reference" in value else set()
        return own.union(*(_references(inner) for inner in value.values()))
    return set().union(*map(_references, value)) if isinstance(value, list) else set()


async def test_invoices_go_along_with_all_their_digits(admin: Client, clinic: Clinic) -> None:
    made = await register(admin)
    cashier = Cashier(clinic, admin, made["id"])
    invoice = await cashier.issued("33.50", quantity="2", discount={"percent": "10"}, taxRate="7")
    await cashier.paid(invoice, "10.00")
    answer = await get(admin, f"/api/patients/{made['id']}/export", format="fhir")
    [shown] = [one["resource"] for one in answer.json()["entry"] if one["resource"]["resourceType"] == "Invoice"]
    assert (shown["status"], shown["identifier"]) == ("issued", [{"value": invoice["number"]}])
    assert [part["type"] for part in shown["lineItem"][0]["priceComponent"]] == ["base", "discount", "tax"]
    for digits in ('"value":67.00', '"value":-6.70', '"value":60.30', '"value":4.22', '"value":64.52'):
        assert digits in answer.text
    kept = (await get(admin, f"/api/patients/{made['id']}/export")).json()["records"]
    assert kept["invoices"][0]["total"] == "64.52"
    assert kept["payments"][0]["amount"] == "10.00"


async def test_taking_a_file_along_is_on_record(admin: Client, clinic: Clinic) -> None:
    made = await register(admin)
    await get(admin, f"/api/patients/{made['id']}/export")
    async with tenant_scope(clinic.ref):
        [entry] = await AuditEntry.rows({"action": "patient.export"})
        [read] = await AuditEntry.rows({"action": "/api/patients/{id}/export"})
    assert entry["patient_ids"] == read["patient_ids"] == [ObjectId(made["id"])]
    assert entry["user_id"] == clinic.staff["admin"].user_id


@pytest.mark.parametrize("path", ["/api/patients/{id}/export", "/api/exports/patients.csv"])
async def test_nobody_takes_data_along_who_may_not(path: str, server: Server, admin: Client, clinic: Clinic) -> None:
    made = await register(admin, familyName="Secret")
    desk = await server.sign_in(clinic, "receptionist")
    for client, status, code in ((desk, 403, "FORBIDDEN"), (server.client(clinic.host), 401, "UNAUTHENTICATED")):
        answer = await get(client, path.format(id=made["id"]))
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert "Secret" not in answer.text


async def test_another_clinics_patient_is_as_one_that_does_not_exist(
    admin: Client, stranger: Client, clinic_b: Clinic
) -> None:
    foreign = (await register(stranger))["id"]
    answers = [await get(admin, f"/api/patients/{id}/export") for id in (foreign, NOWHERE, "nonsense")]
    said = [(one.status_code, one.json()["error"]["code"], one.json()["error"]["fields"]) for one in answers]
    assert said[0] == said[1] == said[2] == (404, "NOT_FOUND", [{"path": "id", "message": "Not found."}])


async def test_a_wrong_format_is_named(admin: Client) -> None:
    made = await register(admin)
    answer = await get(admin, f"/api/patients/{made['id']}/export", format="xml")
    assert (answer.status_code, answer.json()["error"]["fields"][0]["path"]) == (400, "format")


# --- lists ------------------------------------------------------------------------------------------------------------


def table(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))


async def test_the_list_of_patients_is_whole_and_in_order(admin: Client, clinic: Clinic) -> None:
    names = sorted(family() for _ in range(7))
    made = {name: await register(admin, familyName=name) for name in names}
    archived = await register(admin, familyName="AAA")
    await admin.gql(
        "mutation($input: ArchivePatientInput!) { archivePatient(input: $input) { id } }", input={"id": archived["id"]}
    )
    rows = table(await get(admin, "/api/exports/patients.csv"))
    assert [row["familyName"] for row in rows] == names
    assert [row["code"] for row in rows] == [made[name]["record"]["code"] for name in names]


async def test_a_formula_is_only_text_in_a_spreadsheet(admin: Client) -> None:
    await register(
        admin, familyName='=HYPERLINK("https://evil.example","click")', givenName="@SUM(A1)", phone="+123456"
    )
    [row] = table(await get(admin, "/api/exports/patients.csv"))
    assert row["familyName"].startswith("'=")
    assert row["givenName"].startswith("'@")
    assert row["phone"] == "'+123456"


async def test_the_list_of_appointments_needs_its_bounds(admin: Client, clinic: Clinic) -> None:
    made = await register(admin, familyName="Booked")
    await treated(clinic, made["id"])
    span = {"from": (now() - timedelta(days=7)).isoformat(), "to": now().isoformat()}
    [row] = table(await get(admin, "/api/exports/appointments.csv", **span))
    assert (row["patient"], row["doctor"], row["status"]) == ("Booked, Ana", "Doctor Person", "fulfilled")
    assert row["patientCode"] == made["record"]["code"]
    unbounded = await get(admin, "/api/exports/appointments.csv")
    assert (unbounded.status_code, unbounded.json()["error"]["code"]) == (400, "VALIDATION_FAILED")
    naive = await get(admin, "/api/exports/appointments.csv", **{**span, "from": "2030-01-01T00:00:00"})
    assert naive.json()["error"]["fields"][0]["path"] == "from"
    assert unbounded.json()["error"]["fields"][0]["path"] == "from"


async def test_days_are_the_clinics_own_and_the_last_one_is_meant_too(admin: Client, clinic: Clinic) -> None:
    made = await register(admin)
    async with tenant_scope(clinic.ref):
        zone = clinic_zone()
        for hour in (0, 23):  # in New York both are of the 31st, and the later one of the 1st in UTC
            start = datetime(2026, 1, 31, hour, 30, tzinfo=zone)
            await Appointment(
                patient_id=PydanticObjectId(made["id"]),
                doctor_id=clinic.staff["doctor"].key,
                starts_at=start,
                ends_at=start + timedelta(minutes=15),
                status=AppointmentStatus.FULFILLED,
            ).insert()

    async def listed(first: str, last: str) -> list[str]:
        span = {"from": first, "to": last}
        return [row["startsAt"] for row in table(await get(admin, "/api/exports/appointments.csv", **span))]

    assert await listed("2026-01-31", "2026-01-31") == ["2026-01-31T00:30-05:00", "2026-01-31T23:30-05:00"]
    assert await listed("2026-01-29", "2026-01-30") == []
    assert await listed("2026-02-01", "2026-02-28") == []
    assert len(await listed("2026-01-31", "2026-05-03")) == 2, "93 days, one of which has 23 hours"
    assert len(await listed("2025-10-31", "2026-01-31")) == 2, "93 days, one of which has 25 hours"
    for first, last, path in (
        ("2026-01-31", "2026-01-30", "to"),
        ("2026-02-30", "2026-03-01", "from"),
        ("2026-01-01", "9999-12-31", "to"),
        ("2026-01-01", "2026-04-04", "to"),
    ):
        refused = await get(admin, "/api/exports/appointments.csv", **{"from": first, "to": last})
        assert [one["path"] for one in refused.json()["error"]["fields"]] == [path], refused.text


async def test_each_part_of_a_list_is_on_record_before_it_leaves(
    admin: Client, clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.csv_export.BATCH", 2)
    made = [ObjectId((await register(admin))["id"]) for _ in range(5)]
    assert len(table(await get(admin, "/api/exports/patients.csv"))) == 5
    async with tenant_scope(clinic.ref):
        entries = await AuditEntry.rows({"action": "/api/exports/{list}.csv"})
    named = [one for entry in entries for one in entry["patient_ids"]]
    assert sorted(named) == sorted(made)
    assert len(entries) >= 3


async def test_an_unknown_list_is_not_found(admin: Client) -> None:
    assert (await get(admin, "/api/exports/secrets.csv")).status_code == 404


@given(st.text())
@example("x;=1+1")
@example("a\n=1+1")
@example("a\r\n @x")
@example("b;\t-2")
@example("; ;+4")
@example("-5")
def test_no_cell_begins_like_a_formula(text: str) -> None:
    cell = neutral(text)
    assert cell.replace("'", "") == text.replace("'", "")
    for part in re.split("[;\t\r\n]", cell):  # where the comma stands in decimals, cells end at semicolons
        assert part.lstrip()[:1] not in {"=", "+", "-", "@", "|", "%", "\uff1d"}


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1), min_size=1))
def test_what_is_written_is_read_again(rows: list[list[str]]) -> None:
    read = list(csv.reader(io.StringIO(lines(rows).decode(), newline="")))
    assert read == [[neutral(cell) for cell in row] for row in rows]


def test_the_file_covers_every_kind_of_document_about_patients() -> None:
    assert {"appointments", "patient_records", "lab_results", "consents"} <= {
        model.guarded_name() for model in models_about_patients()
    }


async def test_the_movements_of_the_stock_come_as_a_table_without_patients(
    server: Server, clinic: Clinic, admin: Client
) -> None:
    pharmacy = Pharmacy(await server.sign_in(clinic, "pharmacist"), clinic)
    tablets = await pharmacy.medicine(overTheCounter=True)
    cost = {"amount": "0.25", "currency": "USD"}
    line = {"itemId": tablets["id"], "quantity": 9, "lot": "=L1", "expiresOn": LATER, "unitCost": cost}
    await pharmacy.done("receiveStock", lines=[line], reference="DN 1")
    made = await register(admin, familyName="Unnamed")
    await pharmacy.done("dispenseWithoutPrescription", itemId=tablets["id"], quantity=2, patientId=made["id"])

    accountant = await server.sign_in(clinic, "accountant")
    answer = await get(accountant, "/api/exports/stock-movements.csv")
    came, went = table(answer)
    assert (came["item"], came["kind"], came["quantity"], came["unit"]) == (tablets["name"], "received", "9", "tablet")
    assert (came["lot"], came["expiresOn"], came["unitCost"], came["currency"]) == ("'=L1", LATER, "0.25", "USD")
    assert (came["reference"], came["by"]) == ("DN 1", "Pharmacist Person")
    assert (went["kind"], went["quantity"], went["balance"]) == ("dispensed", "-2", "7")
    assert "Unnamed" not in answer.text
    assert made["id"] not in answer.text
    later = (now() + timedelta(days=1)).isoformat()
    assert table(await get(accountant, "/api/exports/stock-movements.csv", **{"from": later})) == []
    today = {name: f"{now().astimezone(ZoneInfo('America/New_York')):%Y-%m-%d}" for name in ("from", "to")}
    assert len(table(await get(accountant, "/api/exports/stock-movements.csv", **today))) == 2
    receptionist = await server.sign_in(clinic, "receptionist")
    assert (await get(receptionist, "/api/exports/stock-movements.csv")).status_code == 403
