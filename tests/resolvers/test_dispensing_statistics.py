"""What was handed out, in numbers: on the clinic's own days, less what came back, and of the clinic alone."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from models import StockMovement
from models.inventory import MovementKind
from models.service import Price
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.resolvers.pharmacy_calls import LATER, Pharmacy, day

FIGURES = """query($from: Date!, $to: Date!, $by: Stretch, $itemId: ID) {
    dispensingStatistics(from: $from, to: $to, by: $by, itemId: $itemId) {
        rows { day item { id } units value { amount currency } } total { units value { amount currency } } } }"""


@pytest_asyncio.fixture
async def pharmacy(make_clinic: MakeClinic, server: Server) -> Pharmacy:
    """Of a clinic in New York."""
    clinic = await make_clinic()
    return Pharmacy(await server.sign_in(clinic), clinic)


async def asked(client: Client, first: str, last: str, **more: Any) -> dict[str, Any]:
    answer = await client.gql(FIGURES, **{"from": first, "to": last}, **more)
    shown: dict[str, Any] = answer.data["dispensingStatistics"]
    return shown


async def moved(
    clinic: Clinic, item: str, at: datetime, quantity: int, cost: str | None = "2.5000", **more: Any
) -> None:
    values = {"kind": MovementKind.DISPENSED if quantity < 0 else MovementKind.RETURNED, **more}
    async with tenant_scope(clinic.ref):
        await StockMovement(
            item_id=ObjectId(item),
            lot_id=ObjectId(),
            quantity=quantity,
            balance=100,
            unit_cost=Price(amount=Decimal(cost), currency="USD") if cost is not None else None,
            act=str(ObjectId()),
            at=at,
            **values,
        ).insert()


def amounts(value: list[dict[str, str]]) -> list[tuple[Decimal, str]]:
    return [(Decimal(one["amount"]), one["currency"]) for one in value]


async def test_units_and_what_they_cost_are_told_by_item_and_by_the_clinics_days(pharmacy: Pharmacy) -> None:
    tablets, gloves = (await pharmacy.kept())["id"], (await pharmacy.kept())["id"]
    clinic = pharmacy.clinic
    await moved(clinic, tablets, datetime(2030, 3, 10, 4, 59, tzinfo=UTC), -10)  # 23:59 on the 9th
    await moved(clinic, tablets, datetime(2030, 3, 10, 5, 0, tzinfo=UTC), -20)  # the 10th, on which clocks go forward
    await moved(clinic, tablets, datetime(2030, 3, 11, 3, 59, tzinfo=UTC), 5)  # came back, late on the 10th
    await moved(clinic, gloves, datetime(2030, 3, 10, 18, 0, tzinfo=UTC), -4, cost=None)
    await moved(clinic, gloves, datetime(2030, 3, 11, 4, 0, tzinfo=UTC), -7)  # 00:00 on the 11th
    await moved(clinic, gloves, datetime(2030, 3, 10, 18, 0, tzinfo=UTC), -50, kind=MovementKind.WASTED)

    shown = await asked(pharmacy.client, "2030-03-10", "2030-03-10", by="DAY")

    told = [(row["day"], row["item"]["id"], row["units"], amounts(row["value"])) for row in shown["rows"]]
    assert told == [
        ("2030-03-10", tablets, 15, [(Decimal("37.5"), "USD")]),
        ("2030-03-10", gloves, 4, []),
    ]
    assert (shown["total"]["units"], amounts(shown["total"]["value"])) == (19, [(Decimal("37.5"), "USD")])
    days = await asked(pharmacy.client, "2030-03-09", "2030-03-11", by="DAY", itemId=tablets)
    assert [(row["day"], row["units"]) for row in days["rows"]] == [("2030-03-09", 10), ("2030-03-10", 15)]


async def test_months_begin_with_the_first_day_that_was_asked_for_and_all_may_be_one(pharmacy: Pharmacy) -> None:
    item, clinic = (await pharmacy.kept())["id"], pharmacy.clinic
    for instant in (datetime(2030, 1, 20, 12, tzinfo=UTC), datetime(2030, 2, 1, 4, 59, tzinfo=UTC)):
        await moved(clinic, item, instant, -1)  # the second late on January 31st
    await moved(clinic, item, datetime(2030, 2, 1, 5, 0, tzinfo=UTC), -3)

    months = await asked(pharmacy.client, "2030-01-15", "2030-02-28", by="MONTH")
    assert [(row["day"], row["units"]) for row in months["rows"]] == [("2030-01-15", 2), ("2030-02-01", 3)]
    whole = await asked(pharmacy.client, "2030-01-15", "2030-02-28")
    assert [(row["day"], row["units"]) for row in whole["rows"]] == [("2030-01-15", 5)]
    assert whole["total"]["units"] == 5


async def test_what_the_pharmacy_hands_out_is_counted_and_nothing_of_another_clinic(
    pharmacy: Pharmacy, make_clinic: MakeClinic, server: Server
) -> None:
    item = await pharmacy.kept()
    line = {"itemId": item["id"], "quantity": 9, "expiresOn": LATER, "unitCost": {"amount": "1.25", "currency": "USD"}}
    await pharmacy.done("receiveStock", lines=[line])
    made = await pharmacy.done("dispenseWithoutPrescription", itemId=item["id"], quantity=6)
    await pharmacy.done("returnDispensed", dispensingId=made["id"], quantity=2, toStock=True, reason="Not needed")
    first, last = day(-2), day(1)

    shown = await asked(pharmacy.client, first, last)
    assert (shown["total"]["units"], amounts(shown["total"]["value"])) == (4, [(Decimal(5), "USD")])
    elsewhere = await server.sign_in(await make_clinic())
    assert (await asked(elsewhere, first, last, itemId=item["id"]))["rows"] == []


@pytest.mark.parametrize(
    ("first", "last", "path"),
    [("2030-02-01", "2030-01-31", "to"), ("2030-01-01", "2031-01-02", "to"), ("0001-01-01", "2030-01-01", "from")],
)
async def test_a_span_that_is_none_or_too_long_is_refused(pharmacy: Pharmacy, first: str, last: str, path: str) -> None:
    assert (await pharmacy.client.gql(FIGURES, **{"from": first, "to": last})).paths == [path]


async def test_whoever_may_not_see_the_stock_sees_no_figures(pharmacy: Pharmacy, server: Server) -> None:
    reception = await server.sign_in(pharmacy.clinic, "receptionist")
    assert (await reception.gql(FIGURES, **{"from": "2030-01-01", "to": "2030-01-31"})).codes == ["FORBIDDEN"]
