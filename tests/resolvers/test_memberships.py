"""Memberships of patients: what they take off an invoice, and that nothing included is used twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest
from bson import ObjectId

from app.services.billing.memberships import last_day
from app.tenancy.crossing import tenant_scope
from models import Invoice, PatientMembership, Specialization
from tests.fixtures.desks import TODAY
from tests.fixtures.tills import INVOICE, Cashier, usd

PLAN = "id version name periodMonths taxRate discounts { percent service { id } } included { count service { id } }"
MEMBERSHIP = """
    id version status startsOn endsOn plan { id } usage { used since service { id } } periods { startsOn endsOn }
    history { status reason }
"""


async def plan(cashier: Cashier, **more: Any) -> dict[str, Any]:
    asked = {"name": f"Plan {uuid4().hex[:8]}", "price": usd("120.00"), "periodMonths": 12, **more}
    return await cashier.done("createMembershipPlan", PLAN, **asked)


async def member(cashier: Cashier, of: dict[str, Any], **more: Any) -> dict[str, Any]:
    return await cashier.done("enrollPatient", MEMBERSHIP, patientId=cashier.patient, planId=of["id"], **more)


async def membership(cashier: Cashier, id: str) -> dict[str, Any]:
    answer = await cashier.client.gql(f"query($id: ID!) {{ patientMembership(id: $id) {{ {MEMBERSHIP} }} }}", id=id)
    shown: dict[str, Any] = answer.data["patientMembership"]
    return shown


async def test_a_membership_is_sold_with_a_draft_invoice_for_its_price(cashier: Cashier) -> None:
    bought = await member(cashier, await plan(cashier, taxRate="7"))

    assert (bought["status"], bought["startsOn"]) == ("ACTIVE", str(TODAY))
    assert bought["endsOn"] == str(last_day(TODAY, 12))
    async with tenant_scope(cashier.clinic.ref):
        [asked] = await Invoice.rows({"membership_id": ObjectId(bought["id"])})
    shown = await cashier.invoice(str(asked["_id"]))
    assert (shown["status"], shown["net"], shown["tax"]) == ("DRAFT", usd("120.00"), usd("8.40"))


async def test_an_invoice_says_what_the_plan_took_off_each_line(cashier: Cashier) -> None:
    consultation, check, other = [await cashier.new_service(price) for price in ("85.00", "150.00", "40.00")]
    discounts = [{"percent": "10"}, {"percent": "25", "serviceId": check}]
    gold = await plan(cashier, discounts=discounts, included=[{"serviceId": consultation, "count": 2}])
    bought = await member(cashier, gold)

    shown = await cashier.draft(
        {"serviceId": consultation, "quantity": "3"},
        {"serviceId": check, "discount": {"amount": "50.00"}},
        {"serviceId": other},
        {"description": "Bandage", "unitPrice": usd("4.00")},
    )

    first, second, third, text = shown["lines"]
    assert first["plan"] == {"planName": gold["name"], "included": "2", "percent": "10"}
    assert (first["gross"], first["planDiscount"], first["net"]) == (usd("255.00"), usd("178.50"), usd("76.50"))
    assert (second["plan"]["percent"], second["discountAmount"]) == ("25", usd("50.00"))
    assert (second["planDiscount"], second["net"]) == (usd("25.00"), usd("75.00"))
    assert (third["planDiscount"], third["net"]) == (usd("4.00"), usd("36.00"))
    assert (text["plan"], text["net"]) == (None, usd("4.00"))
    used = (await membership(cashier, bought["id"]))["usage"]
    assert used == [{"used": 2, "since": str(TODAY), "service": {"id": consultation}}]


async def test_a_plan_can_be_for_a_field_of_medicine(cashier: Cashier) -> None:
    name = f"Field {uuid4().hex[:8]}"
    async with tenant_scope(cashier.clinic.ref):
        field = (await Specialization(name=name, name_key=name.lower()).insert()).key
    skin, other = await cashier.new_service("10.00", specialization_id=field), await cashier.new_service("10.00")
    await member(cashier, await plan(cashier, discounts=[{"percent": "50", "specializationId": str(field)}]))
    shown = await cashier.draft({"serviceId": skin}, {"serviceId": other})
    assert [line["net"] for line in shown["lines"]] == [usd("5.00"), usd("10.00")]


async def test_what_is_called_void_or_changed_gives_back_what_it_used(cashier: Cashier) -> None:
    service, other = await cashier.new_service("10.00"), await cashier.new_service("10.00")
    bought = await member(cashier, await plan(cashier, included=[{"serviceId": service, "count": 1}]))
    made = await cashier.draft({"serviceId": service})

    twice = await cashier.draft({"serviceId": service})
    assert (made["total"], twice["total"]) == (usd("0.00"), usd("10.00"))
    changed = await cashier.done("updateInvoice", INVOICE, id=made["id"], version=1, lines=[{"serviceId": other}])
    assert (await membership(cashier, bought["id"]))["usage"] == []
    back = await cashier.done("updateInvoice", INVOICE, id=made["id"], version=2, lines=[{"serviceId": service}])
    assert (changed["total"], back["total"]) == (usd("10.00"), usd("0.00"))
    await cashier.done("voidInvoice", "id", id=made["id"], version=3, reason="Not done")
    assert (await membership(cashier, bought["id"]))["usage"] == []


async def test_of_twenty_invoices_at_once_two_get_what_is_included_twice(cashier: Cashier) -> None:
    service = await cashier.new_service("10.00")
    bought = await member(cashier, await plan(cashier, included=[{"serviceId": service, "count": 2}]))
    made = await asyncio.gather(*(cashier.draft({"serviceId": service}) for _ in range(20)))
    assert Counter(one["total"]["amount"] for one in made) == {"0.00": 2, "10.00": 18}
    assert [one["used"] for one in (await membership(cashier, bought["id"]))["usage"]] == [2]


async def test_of_twenty_who_enroll_a_patient_one_does(cashier: Cashier) -> None:
    gold = await plan(cashier)
    asked = {"patientId": cashier.patient, "planId": gold["id"]}
    answers = await asyncio.gather(*(cashier.ask("enrollPatient", "id", **asked) for _ in range(20)))
    assert Counter(code for answer in answers for code in answer.codes) == {"CONFLICT": 19}
    async with tenant_scope(cashier.clinic.ref):
        assert len(await Invoice.rows({"patient_id": ObjectId(cashier.patient)})) == 1


async def test_a_renewal_adds_a_period_that_counts_for_itself(cashier: Cashier) -> None:
    service = await cashier.new_service("10.00")
    gold = await plan(cashier, periodMonths=1, included=[{"serviceId": service, "count": 1}])
    bought = await member(cashier, gold)
    await cashier.draft({"serviceId": service})

    renewed = await cashier.done(
        "renewMembership", MEMBERSHIP, id=bought["id"], version=(await membership(cashier, bought["id"]))["version"]
    )
    first, second = renewed["periods"]
    assert (renewed["startsOn"], renewed["endsOn"]) == (first["startsOn"], second["endsOn"])
    assert date.fromisoformat(second["startsOn"]) == date.fromisoformat(first["endsOn"]) + timedelta(1)
    assert (await cashier.draft({"serviceId": service}))["total"] == usd("10.00"), "the next period is not yet here"
    again = await cashier.ask("renewMembership", "id", id=bought["id"], version=renewed["version"])
    assert again.codes == ["INVALID_STATE"]


async def test_a_membership_that_is_over_gives_nothing_until_it_is_renewed(cashier: Cashier) -> None:
    service = await cashier.new_service("10.00")
    gold = await plan(cashier, periodMonths=1, included=[{"serviceId": service, "count": 1}])
    bought = await member(cashier, gold, startsOn=str(TODAY - timedelta(60)))
    assert (await cashier.draft({"serviceId": service}))["total"] == usd("10.00")
    renewed = await cashier.done("renewMembership", MEMBERSHIP, id=bought["id"], version=1)
    assert (renewed["startsOn"], len(renewed["periods"])) == (str(TODAY), 2)
    assert (await cashier.draft({"serviceId": service}))["total"] == usd("0.00")


@pytest.mark.parametrize("day", ["9999-12-31", "0001-01-01"])
async def test_a_membership_begins_in_a_year_that_somebody_lives_in(cashier: Cashier, day: str) -> None:
    gold = await plan(cashier)
    answer = await cashier.ask("enrollPatient", "id", patientId=cashier.patient, planId=gold["id"], startsOn=day)
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.startsOn"])


async def test_a_cancelled_membership_gives_nothing_and_makes_room_for_another(cashier: Cashier) -> None:
    service = await cashier.new_service("10.00")
    gold = await plan(cashier, discounts=[{"percent": "50"}])
    bought = await member(cashier, gold)
    ended = await cashier.done("cancelMembership", MEMBERSHIP, id=bought["id"], version=1, reason="Moved away")
    assert (ended["status"], ended["history"][-1]["reason"]) == ("CANCELLED", "Moved away")
    assert (await cashier.draft({"serviceId": service}))["total"] == usd("10.00")
    for name in ("renewMembership", "cancelMembership"):
        more = {"reason": "Again"} if name == "cancelMembership" else {}
        answer = await cashier.ask(name, "id", id=bought["id"], version=2, **more)
        assert answer.codes == ["INVALID_STATE"]
    await member(cashier, gold)
    async with tenant_scope(cashier.clinic.ref):
        assert len(await PatientMembership.rows({"patient_id": ObjectId(cashier.patient)})) == 2


async def test_a_plan_that_is_sold_no_more_goes_on_for_those_who_have_it(cashier: Cashier) -> None:
    service = await cashier.new_service("10.00")
    gold = await plan(cashier, discounts=[{"percent": "50"}])
    await member(cashier, gold)
    archive = "mutation($input: ArchiveInput!) { archiveMembershipPlan(input: $input) { id } }"
    assert not (await cashier.client.gql(archive, input={"id": gold["id"], "version": 1})).errors
    assert (await cashier.draft({"serviceId": service}))["total"] == usd("5.00")
    answer = await cashier.ask("enrollPatient", "id", patientId=await cashier.new_patient(), planId=gold["id"])
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.planId"])


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"periodMonths": 0}, "input.periodMonths"),
        ({"discounts": [{"percent": "101"}]}, "input.discounts.0.percent"),
        ({"price": usd("-1")}, "input.price.amount"),
        ({"price": {"amount": "1", "currency": "EUR"}}, "input.price.currency"),
        ({"taxRate": "NaN"}, "input.taxRate"),
        ({"taxRate": "1E-999999999"}, "input.taxRate"),
    ],
)
async def test_wrong_plans_are_told_by_their_path(cashier: Cashier, change: dict[str, Any], path: str) -> None:
    asked = {"name": f"Plan {uuid4().hex[:8]}", "price": usd("1"), "periodMonths": 1, **change}
    answer = await cashier.ask("createMembershipPlan", "id", **asked)
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])


async def test_a_plan_gives_services_of_its_clinic_alone(cashier: Cashier, cashier_b: Cashier) -> None:
    theirs = await cashier_b.new_service("10.00")
    own = await cashier.new_service("10.00")
    both = [{"serviceId": own, "count": 1}, {"serviceId": theirs, "count": 1}]
    for rules, path in (
        ({"discounts": [{"percent": "1", "serviceId": theirs}]}, "input.discounts.0.serviceId"),
        ({"included": both}, "input.included.1.serviceId"),
    ):
        asked = {"name": "Foreign", "price": usd("1"), "periodMonths": 1, **rules}
        answer = await cashier.ask("createMembershipPlan", "id", **asked)
        assert (answer.codes, answer.paths) == (["NOT_FOUND"], [path])
    twice = {"included": [{"serviceId": own, "count": 1}] * 2}
    answer = await cashier.ask("createMembershipPlan", "id", name="Twice", price=usd("1"), periodMonths=1, **twice)
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.included"])


@pytest.mark.parametrize(
    ("first", "months", "last"),
    [
        (date(2026, 1, 31), 1, date(2026, 2, 28)),
        (date(2024, 1, 30), 1, date(2024, 2, 29)),
        (date(2026, 12, 31), 2, date(2027, 2, 28)),
        (date(2026, 11, 30), 1, date(2026, 12, 29)),
        (date(2024, 2, 29), 12, date(2025, 2, 28)),
        (date(2026, 10, 31), 1, date(2026, 11, 30)),
    ],
)
def test_a_period_ends_on_the_day_before_the_same_day(first: date, months: int, last: date) -> None:
    assert last_day(first, months) == last
