"""Invoices and quotes for a visit: of the same patient alone, kept through a quote, and shown beside the visit."""

from __future__ import annotations

from typing import Any

import pytest
from beanie import PydanticObjectId

from app.tenancy.crossing import tenant_scope
from models import Visit
from models.visit import VisitStatus
from tests.fixtures.clinics import Client, Server
from tests.fixtures.tills import Cashier, usd

SHOWN = "id version visit { id } doctor { id }"
LINES = [{"description": "Visit", "unitPrice": usd("80.00")}]
VISIT = "query($id: ID!) { visit(id: $id) { invoices(first: 5) { edges { node { id number } } } } }"


async def visited(cashier: Cashier, patient: str | None = None, status: VisitStatus = VisitStatus.OPEN) -> str:
    """A visit of the patient with the clinic's doctor."""
    doctor = cashier.clinic.staff["doctor"].key
    async with tenant_scope(cashier.clinic.ref):
        visit = Visit(patient_id=PydanticObjectId(patient or cashier.patient), doctor_id=doctor, status=status)
        return str((await visit.insert()).id)


async def admin_of(server: Server, cashier: Cashier) -> Client:
    return await server.sign_in(cashier.clinic)


async def invoices_of(client: Client, visit: str) -> list[str]:
    page: Any = (await client.gql(VISIT, id=visit)).data["visit"]["invoices"]
    return [edge["node"]["id"] for edge in page["edges"]]


async def test_an_invoice_for_a_visit_names_it_and_its_doctor_and_the_visit_shows_it(
    cashier: Cashier, server: Server
) -> None:
    admin, visit = await admin_of(server, cashier), await visited(cashier)
    asked = {"patientId": cashier.patient, "lines": LINES}
    made = [(await cashier.done("createInvoice", "id", **asked, visitId=visit))["id"] for _ in range(2)]
    plain = await cashier.done("createInvoice", "id", **asked)

    shown = (await admin.gql(f"query($id: ID!) {{ invoice(id: $id) {{ {SHOWN} }} }}", id=made[0])).data["invoice"]
    without = (await admin.gql(f"query($id: ID!) {{ invoice(id: $id) {{ {SHOWN} }} }}", **plain)).data["invoice"]

    assert (shown["visit"], shown["doctor"]) == ({"id": visit}, {"id": str(cashier.clinic.staff["doctor"].id)})
    assert (without["visit"], without["doctor"]) == (None, None)
    assert await invoices_of(admin, visit) == made[::-1]


async def test_a_quote_for_a_visit_becomes_an_invoice_for_it(cashier: Cashier, server: Server) -> None:
    admin, visit = await admin_of(server, cashier), await visited(cashier)
    quote = await cashier.done(
        "createQuote", "id version", patientId=cashier.patient, lines=LINES, visitId=visit
    )  # fmt: skip
    for step in ("sendQuote", "acceptQuote"):
        quote = await cashier.done(step, "id version", **quote)
    made = await cashier.done("invoiceQuote", "id", quoteId=quote["id"])

    shown = (await admin.gql("query($id: ID!) { quote(id: $id) { visit { id } } }", id=quote["id"])).data["quote"]
    assert shown["visit"] == {"id": visit}
    assert await invoices_of(admin, visit) == [made["id"]]


@pytest.mark.parametrize("name", ["createInvoice", "createQuote"])
async def test_a_visit_of_another_patient_or_clinic_or_one_in_error_is_billed_to_nobody(
    cashier: Cashier, cashier_b: Cashier, server: Server, name: str
) -> None:
    admin = await admin_of(server, cashier)
    other = await visited(cashier, await cashier.new_patient())
    wrong = await visited(cashier, status=VisitStatus.ENTERED_IN_ERROR)
    asked = {"patientId": cashier.patient, "lines": LINES}

    for visit in (other, await visited(cashier_b), "0123456789abcdef01234567"):
        answer = await cashier.ask(name, "id", **asked, visitId=visit)
        assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.visitId"])
    assert (await cashier.ask(name, "id", **asked, visitId=wrong)).codes == ["INVALID_STATE"]
    assert await invoices_of(admin, other) == await invoices_of(admin, wrong) == []


async def test_what_was_billed_for_a_visit_is_for_those_who_may_see_invoices(cashier: Cashier, server: Server) -> None:
    visit = await visited(cashier)
    nurse = await server.sign_in(cashier.clinic, "nurse")
    answer = await nurse.gql(VISIT, id=visit)
    assert answer.codes == ["FORBIDDEN"]
