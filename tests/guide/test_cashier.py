"""The day of docs/guide/cashier.md, walked with the operations of that page."""

from __future__ import annotations

import asyncio
import io
from typing import Any

from pypdf import PdfReader

from tests.fixtures.clinics import MakeClinic, Server
from tests.fixtures.desks import TODAY
from tests.fixtures.tills import Cashier, usd
from tests.guide.page import Page


def cents(amount: str) -> dict[str, str]:
    return {"amount": amount}


async def test_the_day_at_the_till(make_clinic: MakeClinic, server: Server) -> None:
    page, clinic = Page("cashier"), await make_clinic()
    client = await server.sign_in(clinic, "accountant")
    till = Cashier(clinic, client, await Cashier(clinic, client, "").new_patient())
    consultation = await till.new_service("85.00")
    name = (await client.gql("query($id: ID!) { service(id: $id) { name } }", id=consultation)).data["service"]["name"]

    async def done(operation: str, **input: Any) -> Any:
        return await page.told(client, operation, input=input)

    # a quote
    brace = {"description": "Knee brace", "unitPrice": usd("49.95"), "discount": {"percent": "10"}}
    lines = [{"serviceId": consultation, "quantity": "2", "taxRate": "7"}, brace]
    quote = await done("Offer", patientId=till.patient, lines=lines)
    assert (quote["net"], quote["tax"], quote["total"]) == (cents("214.96"), cents("11.90"), cents("226.86"))
    sent = await done("Send", id=quote["id"], version=1)
    assert (sent["number"], sent["status"]) == ("Q-000001", "SENT")
    assert (await done("Accept", id=quote["id"], version=2))["status"] == "ACCEPTED"

    # a membership
    included = [{"serviceId": consultation, "count": 1}]
    plan = await done(
        "Plan", name="Gold", price=usd("120.00"), periodMonths=12, discounts=[{"percent": "5"}], included=included
    )
    assert (await done("Enroll", patientId=till.patient, planId=plan["id"]))["startsOn"] == str(TODAY)

    # the invoice: once, with the membership applied
    answers = await asyncio.gather(*(page.ask(client, "Bill", input={"quoteId": quote["id"]}) for _ in range(20)))
    [bill] = [one.data["invoiceQuote"] for one in answers if not one.errors]
    assert {code for one in answers for code in one.codes} == {"INVALID_STATE"}
    assert (bill["status"], bill["total"]) == ("DRAFT", cents("131.36"))
    assert bill["lines"] == [
        {
            "description": name,
            "net": cents("80.75"),
            "planDiscount": cents("89.25"),
            "plan": {"planName": "Gold", "included": "1", "percent": "5"},
        },
        {"description": "Knee brace", "net": cents("44.96"), "planDiscount": cents("0.00"), "plan": None},
    ]
    invoice = await done("Issue", id=bill["id"], version=1)
    assert (invoice["number"], invoice["open"]) == ("INV-000001", cents("131.36"))

    # a part, and the rest
    part = {"invoiceId": bill["id"], "amount": usd("100.00"), "method": "CARD", "reference": "T-4711"}
    paid = await done("Pay", **part, idempotencyKey="till-1-0001")
    again = await done("Pay", **part, idempotencyKey="till-1-0001")
    assert (paid["number"], paid["invoice"]) == (
        "R-000001",
        {"status": "PARTIALLY_PAID", "open": cents("31.36")},
    )
    assert again["id"] == paid["id"]
    much = {"invoiceId": bill["id"], "amount": usd("31.37"), "method": "CASH"}
    assert (await page.ask(client, "Pay", input=much)).paths == ["input.amount.amount"]
    rest = await done("Pay", invoiceId=bill["id"], amount=usd("31.36"), method="CASH")
    assert rest["invoice"] == {"status": "PAID", "open": cents("0.00")}

    # papers
    for path, number in (
        (f"payments/{rest['id']}/receipt", rest["number"]),
        (f"invoices/{bill['id']}/pdf", "INV-000001"),
    ):
        client.http.cookies.clear()
        answer = await client.http.get(f"/api/{path}", headers={"Authorization": f"Bearer {client.token}"})
        assert number in PdfReader(io.BytesIO(answer.content)).pages[0].extract_text()

    # something is taken back
    reason = "The brace does not fit"
    note = await done("Credit", invoiceId=bill["id"], lines=[{"number": 2}], reason=reason)
    assert (note["number"], note["total"]) == ("CN-000001", cents("44.96"))
    assert note["invoice"] == {"status": "PAID", "open": cents("-44.96")}
    back = await done("Return", paymentId=paid["id"], amount=usd("44.96"), method="CASH", reason=reason)
    assert (back["kind"], back["invoice"]) == ("REFUND", {"status": "PAID", "open": cents("0.00")})
    [owed] = (await page.told(client, "Owed", patientId=till.patient))["sums"]
    assert owed == {
        "invoiced": cents("131.36"),
        "credited": cents("44.96"),
        "paid": cents("86.40"),
        "open": cents("0.00"),
    }

    # the end of the day
    day = str(TODAY)
    before = await page.told(client, "Till", day=day)
    assert before["closing"] is None
    assert [(one["method"], one["expected"]) for one in before["methods"]] == [
        ("CARD", cents("100.00")),
        ("CASH", cents("-13.60")),
    ]
    counted = [{"method": "CARD", "amount": usd("100.00")}, {"method": "CASH", "amount": usd("-13.55")}]
    closed = await done("Close", day=day, counted=counted, notes="5 cents found")
    assert [one["difference"] for one in closed["methods"]] == [cents("0.00"), cents("0.05")]
    assert (await page.ask(client, "Close", input={"day": day, "counted": counted})).codes == ["INVALID_STATE"]
    revenue = await page.told(client, "Revenue", **{"from": day, "to": day})
    assert revenue["byDay"] == [
        {"day": day, "received": cents("131.36"), "refunded": cents("44.96"), "kept": cents("86.40")}
    ]
    assert [one["net"] for one in revenue["byService"]] == [cents("80.75"), cents("0.00")]
    assert page.used == page.operations.keys()
