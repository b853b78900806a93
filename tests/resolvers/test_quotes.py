"""Quotes: offered until a day, decided once, and invoiced once."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from models import Invoice, Quote, Service
from models.values import now
from tests.fixtures.desks import TODAY
from tests.fixtures.tills import INVOICE, MONEY, Cashier, usd

QUOTE = f"""
    id version number status validUntil sentAt invoicedAt notes total {MONEY} history {{ status reason }}
    lines {{ description net {MONEY} discount {{ percent }} }}
"""
LIST = "query($filter: QuoteFilter) { quotes(filter: $filter) { totalCount edges { node { id status } } } }"
VISIT = {"description": "Visit", "unitPrice": usd("80.00"), "discount": {"percent": "10"}}


async def drafted(cashier: Cashier, **more: Any) -> dict[str, Any]:
    asked = {"patientId": cashier.patient, "lines": [VISIT], **more}
    return await cashier.done("createQuote", QUOTE, **asked)


async def step(cashier: Cashier, name: str, quote: dict[str, Any], **more: Any) -> Any:
    return await cashier.ask(name, QUOTE, id=quote["id"], version=quote["version"], **more)


async def sent(cashier: Cashier, **more: Any) -> dict[str, Any]:
    shown: dict[str, Any] = (await step(cashier, "sendQuote", await drafted(cashier, **more))).data["sendQuote"]
    return shown


async def accepted(cashier: Cashier, **more: Any) -> dict[str, Any]:
    shown: dict[str, Any] = (await step(cashier, "acceptQuote", await sent(cashier, **more))).data["acceptQuote"]
    return shown


async def last_day_is_over(cashier: Cashier, quote: dict[str, Any]) -> None:
    async with tenant_scope(cashier.clinic.ref):
        yesterday = {"$set": {"valid_until": str(TODAY - timedelta(2))}}
        await Quote.guarded().update_one({"_id": ObjectId(quote["id"])}, yesterday)


async def test_a_quote_is_written_changed_sent_and_accepted(cashier: Cashier) -> None:
    made = await drafted(cashier, notes="For the knee")
    changed = (await step(cashier, "updateQuote", made, lines=[{**VISIT, "quantity": "2"}])).data["updateQuote"]
    offered = (await step(cashier, "sendQuote", changed)).data["sendQuote"]
    agreed = (await step(cashier, "acceptQuote", offered)).data["acceptQuote"]

    assert (made["status"], made["number"], made["total"]) == ("DRAFT", None, usd("72.00"))
    assert (changed["total"], changed["notes"]) == (usd("144.00"), "For the knee")
    assert made["validUntil"] == str(TODAY + timedelta(30))
    assert offered["number"].startswith("Q-")
    assert [one["status"] for one in agreed["history"]] == ["sent", "accepted"]
    again = await step(cashier, "updateQuote", agreed, notes="Changed")
    assert (again.codes, again.errors[0]["message"]) == (
        ["INVALID_STATE"],
        "The quote is ACCEPTED. What may follow: nothing.",
    )


async def test_an_accepted_quote_becomes_an_invoice_that_says_the_same(cashier: Cashier) -> None:
    service = await cashier.new_service("100.00")
    lines = [VISIT, {"serviceId": service, "quantity": "3", "taxRate": "7"}]
    quote = await accepted(cashier, lines=lines, discount={"amount": "10.00"})
    async with tenant_scope(cashier.clinic.ref):  # what was agreed on holds, whatever the catalogue says by now
        changed = {"$set": {"archived_at": now(), "name": "Another name"}}
        await Service.guarded().update_one({"_id": ObjectId(service)}, changed)

    invoice = await cashier.done("invoiceQuote", INVOICE, quoteId=quote["id"])

    assert (invoice["status"], invoice["total"]) == ("DRAFT", quote["total"])
    assert [line["net"] for line in invoice["lines"]] == [line["net"] for line in quote["lines"]]
    assert [line["description"] for line in invoice["lines"]] == [line["description"] for line in quote["lines"]]
    assert (await cashier.ask("invoiceQuote", "id", quoteId=quote["id"])).codes == ["INVALID_STATE"]
    asked = "query($id: ID!) { quote(id: $id) { invoicedAt status } }"
    shown = (await cashier.client.gql(asked, id=quote["id"])).data["quote"]
    assert shown["invoicedAt"] is not None


async def test_of_twenty_who_invoice_one_quote_one_does(cashier: Cashier) -> None:
    quote = await accepted(cashier)
    answers = await asyncio.gather(*(cashier.ask("invoiceQuote", "id", quoteId=quote["id"]) for _ in range(20)))
    assert Counter(code for answer in answers for code in answer.codes) == {"INVALID_STATE": 19}
    async with tenant_scope(cashier.clinic.ref):
        assert len(await Invoice.rows({"quote_id": ObjectId(quote["id"])})) == 1


async def test_the_same_request_to_invoice_is_answered_alike(cashier: Cashier) -> None:
    quote = await accepted(cashier)
    asked = {"quoteId": quote["id"], "idempotencyKey": "once"}
    answers = await asyncio.gather(*(cashier.done("invoiceQuote", "id", **asked) for _ in range(5)))
    assert len({answer["id"] for answer in answers}) == 1


async def test_of_twenty_who_accept_or_decline_one_decides(cashier: Cashier) -> None:
    quote = await sent(cashier)
    names = ["acceptQuote", "declineQuote"] * 10
    answers = await asyncio.gather(*(step(cashier, name, quote) for name in names))
    assert Counter(code for answer in answers for code in answer.codes) == {"INVALID_STATE": 19}


async def test_only_what_was_accepted_is_invoiced(cashier: Cashier) -> None:
    offered = await sent(cashier)
    declined = (await step(cashier, "declineQuote", offered, reason="Too dear")).data["declineQuote"]
    assert (declined["status"], declined["history"][-1]["reason"]) == ("DECLINED", "Too dear")
    for one in (await drafted(cashier), await sent(cashier), declined):
        assert (await cashier.ask("invoiceQuote", "id", quoteId=one["id"])).codes == ["INVALID_STATE"]


async def test_a_quote_expires_with_its_last_day(cashier: Cashier) -> None:
    quote = await sent(cashier)
    await last_day_is_over(cashier, quote)

    async def listed(status: str) -> list[str]:
        filter = {"patientId": cashier.patient, "status": status}
        page = (await cashier.client.gql(LIST, filter=filter)).data["quotes"]
        return [f"{edge['node']['id']} {edge['node']['status']}" for edge in page["edges"]]

    assert await listed("SENT") == []
    assert await listed("EXPIRED") == [f"{quote['id']} EXPIRED"]
    answer = await step(cashier, "acceptQuote", quote)
    assert answer.codes == ["INVALID_STATE"]
    assert answer.errors[0]["message"] == "The quote is EXPIRED. What may follow: nothing."
    assert await listed("EXPIRED") == [f"{quote['id']} EXPIRED"]


async def test_a_quote_whose_day_is_over_is_not_sent(cashier: Cashier) -> None:
    quote = await drafted(cashier)
    await last_day_is_over(cashier, quote)
    assert (await step(cashier, "sendQuote", quote)).codes == ["INVALID_STATE"]
    shown = (await step(cashier, "updateQuote", quote, validUntil=str(TODAY))).data["updateQuote"]
    assert not (await step(cashier, "sendQuote", shown)).errors


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"validUntil": str(TODAY - timedelta(2))}, "input.validUntil"),
        ({"lines": []}, "input.lines"),
        ({"lines": [{**VISIT, "quantity": "-1"}]}, "input.lines.0.quantity"),
        ({"discount": {"amount": "100.00"}}, "input.discount.amount"),
        ({"notes": "x" * 5001}, "input.notes"),
    ],
)
async def test_wrong_quotes_are_told_by_their_path(cashier: Cashier, change: dict[str, Any], path: str) -> None:
    answer = await cashier.ask("createQuote", "id", **{"patientId": cashier.patient, "lines": [VISIT], **change})
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])
