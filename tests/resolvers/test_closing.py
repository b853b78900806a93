"""The end of a day at the till, in the clinic's zone, and what came in by day, method and service."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from models import DayClosing, Payment
from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.fixtures.desks import TODAY
from tests.fixtures.tills import MONEY, Cashier, usd

METHODS = f"method payments {MONEY} refunds {MONEY} expected {MONEY} counted {MONEY} difference {MONEY}"
CLOSING = f"id day notes closedBy {{ id }} methods {{ {METHODS} }}"
DAY = f"query($day: Date!) {{ dayClosing(day: $day) {{ day methods {{ {METHODS} }} closing {{ {CLOSING} }} }} }}"
TEXT = {"description": "Bandage", "unitPrice": usd("1.50")}
REVENUE = f"""query($from: Date!, $to: Date!) {{ revenue(from: $from, to: $to) {{
    byDay {{ day received {MONEY} refunded {MONEY} kept {MONEY} count }}
    byMethod {{ method kept {MONEY} count }}
    byService {{ service {{ id }} net {MONEY} tax {MONEY} total {MONEY} count }} }} }}"""


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture
async def till(server: Server, clinic: Clinic) -> Cashier:
    """The accountant of a clinic of this test's own, before a patient."""
    client = await server.sign_in(clinic, "accountant")
    return Cashier(clinic, client, await Cashier(clinic, client, "").new_patient())


def counted(**amounts: str) -> list[dict[str, Any]]:
    return [{"method": method, "amount": usd(amount)} for method, amount in amounts.items()]


async def close(till: Cashier, day: date, **amounts: str) -> Any:
    return await till.ask("closeDay", CLOSING, day=str(day), counted=counted(**amounts), notes="Counted twice")


async def shown(till: Cashier, day: date) -> dict[str, Any]:
    found: dict[str, Any] = (await till.client.gql(DAY, day=str(day))).data["dayClosing"]
    return found


async def paid_at(till: Cashier, payment: dict[str, Any], moment: datetime) -> None:
    async with tenant_scope(till.clinic.ref):
        await Payment.guarded().update_one({"_id": ObjectId(payment["id"])}, {"$set": {"received_at": moment}})


async def test_a_day_is_closed_with_what_was_expected_and_counted(till: Cashier) -> None:
    invoice = await till.issued("100.00")
    cash = await till.paid(invoice, "60.00")
    await till.paid(invoice, "40.00", method="CARD")
    await till.done("refundPayment", "id", paymentId=cash["id"], amount=usd("10.00"), reason="Too much")

    before = await shown(till, TODAY)
    closed = (await close(till, TODAY, CASH="49.50", CARD="40.00")).data["closeDay"]

    assert before["closing"] is None
    assert [(one["method"], one["expected"], one["counted"]) for one in before["methods"]] == [
        ("CARD", usd("40.00"), None),
        ("CASH", usd("50.00"), None),
    ]
    card, in_cash = closed["methods"]
    assert (in_cash["payments"], in_cash["refunds"]) == (usd("60.00"), usd("10.00"))
    assert (in_cash["expected"], in_cash["counted"], in_cash["difference"]) == (
        usd("50.00"),
        usd("49.50"),
        usd("-0.50"),
    )
    assert card["difference"] == usd("0.00")
    assert closed["notes"] == "Counted twice"
    assert closed["closedBy"] == {"id": str(till.clinic.staff["accountant"].id)}
    after = await shown(till, TODAY)
    assert (after["closing"], after["methods"]) == (closed, closed["methods"])


async def test_of_twenty_who_close_a_day_one_does_and_no_payment_is_lost(till: Cashier) -> None:
    invoice = await till.issued("100.00")
    await till.paid(invoice, "50.00")
    answers = await asyncio.gather(
        *(close(till, TODAY, CASH="50.00") for _ in range(20)), *(till.pay(invoice, "5.00") for _ in range(5))
    )
    assert Counter(code for answer in answers for code in answer.codes) == {"INVALID_STATE": 19}
    async with tenant_scope(till.clinic.ref):
        [closing] = await DayClosing.rows({})
        taken = await Payment.rows({"closing_id": closing["_id"]})
        left = await Payment.rows({"closing_id": None})
    assert sum(row["amount"].to_decimal() for row in taken) == closing["methods"][0]["expected"].to_decimal()
    assert len(taken) + len(left) == 6
    tomorrow = await shown(till, TODAY + timedelta(1))
    missing = sum(row["amount"].to_decimal() for row in left)
    assert [one["expected"]["amount"] for one in tomorrow["methods"]] == ([f"{missing}"] if left else [])


async def test_the_clinics_zone_says_which_day_it_is(till: Cashier) -> None:
    invoice = await till.issued("100.00")
    late, early = await till.paid(invoice, "1.00"), await till.paid(invoice, "2.00")
    await paid_at(till, late, datetime(2026, 3, 10, 3, 59, tzinfo=UTC))  # 23:59 of the 9th in New York
    await paid_at(till, early, datetime(2026, 3, 10, 4, 0, tzinfo=UTC))
    assert [one["expected"] for one in (await shown(till, date(2026, 3, 9)))["methods"]] == [usd("1.00")]
    assert [one["expected"] for one in (await shown(till, date(2026, 3, 10)))["methods"]] == [usd("2.00")]
    answer = await till.client.gql(REVENUE, **{"from": "2026-03-09", "to": "2026-03-10"})
    assert [(one["day"], one["kept"]) for one in answer.data["revenue"]["byDay"]] == [
        ("2026-03-09", usd("1.00")),
        ("2026-03-10", usd("2.00")),
    ]


@pytest.mark.parametrize(
    ("day", "amounts", "path"),
    [
        (TODAY + timedelta(2), {"CASH": "5.00"}, "input.day"),
        (TODAY, {}, "input.counted"),
        (TODAY, {"CASH": "5.001"}, "input.counted.0.amount.amount"),
        (TODAY, {"CASH": "NaN"}, "input.counted.0.amount.amount"),
        (TODAY, {"CASH": "1E-999999999"}, "input.counted.0.amount.amount"),
    ],
)
async def test_what_cannot_be_closed_is_told(till: Cashier, day: date, amounts: dict[str, str], path: str) -> None:
    await till.paid(await till.issued("5.00"), "5.00")
    answer = await close(till, day, **amounts)
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])
    assert (await shown(till, TODAY))["closing"] is None


async def test_days_are_closed_in_their_order(till: Cashier) -> None:
    assert not (await close(till, TODAY)).errors
    assert (await close(till, TODAY - timedelta(1))).codes == ["INVALID_STATE"]
    page = (await till.client.gql("{ dayClosings { edges { node { day } } } }")).data["dayClosings"]
    assert [edge["node"] for edge in page["edges"]] == [{"day": str(TODAY)}]


async def test_revenue_is_by_day_method_and_service(till: Cashier) -> None:
    service, other = await till.new_service("100.00"), await till.new_service("30.00")
    made = await till.draft({"serviceId": service, "taxRate": "10"}, {"serviceId": other, "quantity": "2"}, TEXT)
    await till.draft({"serviceId": service})  # a draft is no revenue
    invoice = await till.done("issueInvoice", "id", id=made["id"], version=1)
    cash = await till.paid(invoice, "100.00")
    await till.paid(invoice, "70.00", method="CARD")
    lines = [{"number": 2, "quantity": "1"}]
    await till.done("createCreditNote", "id", invoiceId=invoice["id"], lines=lines, reason="Not done")
    await till.done("refundPayment", "id", paymentId=cash["id"], amount=usd("30.00"), reason="Not done")

    answer = await till.client.gql(REVENUE, **{"from": str(TODAY), "to": str(TODAY)})

    revenue = answer.data["revenue"]
    assert revenue["byDay"] == [
        {"day": str(TODAY), "received": usd("170.00"), "refunded": usd("30.00"), "kept": usd("140.00"), "count": 3}
    ]
    assert [(one["method"], one["kept"], one["count"]) for one in revenue["byMethod"]] == [
        ("CARD", usd("70.00"), 1),
        ("CASH", usd("70.00"), 2),
    ]
    assert [(one["service"], one["net"], one["total"]) for one in revenue["byService"]] == [
        ({"id": service}, usd("100.00"), usd("110.00")),
        ({"id": other}, usd("30.00"), usd("30.00")),
        (None, usd("1.50"), usd("1.50")),
    ]


async def test_revenue_is_of_a_year_at_most_and_not_for_the_desk(till: Cashier, server: Server, clinic: Clinic) -> None:
    for first, last in ((TODAY, TODAY - timedelta(1)), (TODAY, TODAY + timedelta(366))):
        answer = await till.client.gql(REVENUE, **{"from": str(first), "to": str(last)})
        assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["to"])
    desk = await server.sign_in(clinic, "receptionist")
    assert (await desk.gql(REVENUE, **{"from": str(TODAY), "to": str(TODAY)})).codes == ["FORBIDDEN"]
