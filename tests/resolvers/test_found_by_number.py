"""Whoever stands at a desk with a piece of paper finds what it is about by the number on it, however it is typed."""

from __future__ import annotations

from typing import Any

import pytest_asyncio

from tests.contracts._schema import places, root_fields
from tests.fixtures.clinics import Client, Clinic
from tests.fixtures.tills import NOTE, Cashier, mutation, usd
from tests.resolvers.care_calls import item, medicine, prescribed, rx_signed

LISTS = {
    "creditNotes", "imagingStudies", "invoices", "labOrders", "payments", "prescriptions", "quotes", "tickets"
}  # fmt: skip


def test_each_list_of_what_has_a_number_is_found_by_it() -> None:
    found = {root.name for root in root_fields() for place in places(root) if place.path == ("filter", "number")}
    assert found == LISTS


async def numbers(client: Client, root: str, **filter: Any) -> list[Any]:
    kind = {"imagingStudies": "Imaging"}.get(root, root[0].upper() + root[1:-1])
    text = f"query($f: {kind}Filter) {{ {root}(filter: $f) {{ totalCount edges {{ node {{ number }} }} }} }}"
    page = (await client.gql(text, f=filter)).data[root]
    assert page["totalCount"] == len(page["edges"])
    return [edge["node"]["number"] for edge in page["edges"]]


async def finds(client: Client, root: str, number: str) -> None:
    """The number finds one, also in small letters and with blanks around it, and a part of it finds none."""
    assert await numbers(client, root, number=number) == [number]
    assert await numbers(client, root, number=f" {number.lower()} ") == [number]
    assert await numbers(client, root, number=number[:-1]) == []


async def test_what_was_billed_and_paid(cashier: Cashier) -> None:
    invoice = await cashier.issued("100.00")
    payment = await cashier.paid(invoice, "30.00")
    note = await cashier.done("createCreditNote", NOTE, invoiceId=invoice["id"], reason="Billed to the wrong patient")
    line = {"description": "Visit", "unitPrice": usd("80.00")}
    quote = await cashier.done("createQuote", "id version", patientId=cashier.patient, lines=[line])
    sent = await cashier.done("sendQuote", "number", **quote)

    await finds(cashier.client, "invoices", invoice["number"])
    await finds(cashier.client, "payments", payment["number"])
    await finds(cashier.client, "creditNotes", note["number"])
    await finds(cashier.client, "quotes", sent["number"])
    assert await numbers(cashier.client, "payments", number=payment["number"], method="CARD") == []
    assert await numbers(cashier.client, "invoices", number=invoice["number"], overdue=True) == []


@pytest_asyncio.fixture
async def doctor(signed_in: Any, clinic_a: Clinic) -> Client:
    client: Client = await signed_in(clinic_a, "doctor")
    return client


async def test_what_a_patient_brings_to_the_pharmacy_and_to_the_x_ray(
    doctor: Client, clinic_a: Clinic, cashier: Cashier
) -> None:
    given = await medicine(clinic_a, "Metformin", "A10BA02")
    signed = await rx_signed(doctor, await prescribed(doctor, cashier.patient, item(given)))
    input = {"patientId": cashier.patient, "modality": "DX", "bodySite": "Knee", "reason": "A fall"}
    study = (await doctor.gql(mutation("orderImaging", "number"), input=input)).data["orderImaging"]

    await finds(doctor, "prescriptions", signed["number"])
    await finds(doctor, "imagingStudies", study["number"])


async def test_a_ticket_that_somebody_calls_about(admin: Client) -> None:
    input = {"subject": "Printer", "body": "It jams."}
    ticket = (await admin.gql(mutation("openTicket", "number"), input=input)).data["openTicket"]

    assert await numbers(admin, "tickets", number=ticket["number"]) == [ticket["number"]]
    assert await numbers(admin, "tickets", number=ticket["number"], status="CLOSED") == []
    assert await numbers(admin, "tickets", number=-1) == []
