"""A clinic's own subscription: ordered, paid by PayPal over a socket, renewed, given back and ended."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
import pytest_asyncio
from bson import ObjectId
from pymongo import AsyncMongoClient

from app.errors import Conflict
from app.plans import PLANS, PlanName
from app.services.deletion import delete_tenant
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, open_scope
from models import AuditEntry, PaypalOrder, PaypalRoute, Tenant
from models.values import now
from tests.fixtures.clinics import ROLE_NAMES, Client, Clinic, MakeClinic, Server
from tests.fixtures.paypal import CANCEL, CREATE, STATUS, Till, set_up, settings_for, simulated, till_for

Json = dict[str, Any]


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture
async def boss(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def days_until(text: str) -> float:
    return (moment(text) - now()) / timedelta(days=1)


async def stored(clinic: Clinic) -> Json:
    [row] = await Tenant.rows({"_id": clinic.tenant.key})
    found: Json = row["subscription"]
    return found


# --- the trial --------------------------------------------------------------------------------------------------------


async def test_a_new_clinic_tries_the_system_for_seven_days(till: Till, boss: Client) -> None:
    shown = await till.status(boss)
    assert (shown["plan"], shown["status"], shown["works"]) == ("TRIAL", "TRIAL", True)
    assert shown["expiresAt"] == shown["trialEndsAt"] == shown["worksUntil"]
    assert 6.9 < days_until(shown["expiresAt"]) < 7
    assert shown["history"] == []


async def test_whoever_may_not_see_the_subscription_is_refused(server: Server, clinic: Clinic) -> None:
    doctor = await server.sign_in(clinic, "doctor")
    assert (await doctor.gql(STATUS)).codes == ["FORBIDDEN"]
    asked = {"plan": "PRO", "billingCycle": "MONTHLY"}
    assert (await doctor.gql(CREATE, input=asked)).codes == ["FORBIDDEN"]


# --- paying once ------------------------------------------------------------------------------------------------------


async def test_a_plan_is_ordered_agreed_to_and_paid(till: Till, clinic: Clinic, boss: Client) -> None:
    trial = await till.status(boss)
    made = await till.order(boss)
    assert (made["status"], made["amount"]) == ("PENDING", {"amount": "149.00", "currency": "USD"})
    assert made["approveUrl"].startswith(till.paypal.url)
    back = await till.agree(made)
    assert back.headers["location"].startswith(f"http://{clinic.host}:8000/subscription/paid?order={made['id']}")
    paid = (await till.capture(boss, made)).data["captureSubscriptionOrder"]
    assert paid["status"] == "COMPLETED"

    shown = await till.status(boss)
    assert (shown["plan"], shown["status"], shown["billingCycle"]) == ("PRO", "ACTIVE", "MONTHLY")
    after_the_trial = moment(shown["expiresAt"]) - moment(trial["trialEndsAt"])
    assert timedelta(days=28) <= after_the_trial <= timedelta(days=31), "the days of the trial are not lost"
    assert moment(shown["worksUntil"]) - moment(shown["expiresAt"]) == timedelta(days=7), "there are days of grace"
    assert [step["status"] for step in shown["history"]] == ["ACTIVE"]

    [payment] = await till.payments(boss)
    assert (payment["state"], payment["amount"]) == ("COMPLETED", {"amount": "149.00", "currency": "USD"})
    assert payment["payerEmail"] == "payer@example.com"
    [order] = [one for one in till.paypal.ledger.orders.values() if one["id"] == made["paypalId"]]
    assert payment["transactionId"] == order["purchase_units"][0]["payments"]["captures"][0]["id"]
    async with tenant_scope(clinic.ref):
        acts = {row["action"] for row in await AuditEntry.rows({})}
    assert {"subscription.order", "subscription.payment", "subscription.active"} <= acts


async def test_what_the_payer_is_called_lies_encrypted(till: Till, boss: Client, clinic: Clinic) -> None:
    await till.pay(boss)
    [shown] = await till.payments(boss)
    settings = till.server.settings
    async with AsyncMongoClient[Json](settings.mongodb_uri) as raw:
        kept = raw[settings.mongodb_database]["subscription_payments"]
        [row] = await kept.find({"tenant_id": clinic.tenant.key}).to_list()
    assert shown["payerEmail"] == "payer@example.com"
    assert "payer@example.com" not in str(row)


async def test_a_payer_without_a_usable_address_has_paid_as_well(till: Till, boss: Client) -> None:
    made = await till.order(boss)
    await till.agree(made)
    till.paypal.ledger.order(made["paypalId"])["payer"]["email_address"] = "\u202eodd\n" * 90
    assert (await till.capture(boss, made)).data["captureSubscriptionOrder"]["status"] == "COMPLETED"
    [payment] = await till.payments(boss)
    assert payment["payerEmail"] is None


async def test_nothing_is_paid_before_the_payer_agrees(till: Till, boss: Client) -> None:
    made = await till.order(boss)
    answer = await till.capture(boss, made)
    assert answer.codes == ["INVALID_STATE"]
    assert await till.payments(boss) == []
    assert (await till.status(boss))["status"] == "TRIAL"


async def test_a_payer_who_turns_back_pays_nothing(till: Till, boss: Client, clinic: Clinic) -> None:
    made = await till.order(boss)
    back = await till.agree(made, "cancel")
    assert back.headers["location"] == f"http://{clinic.host}:8000/subscription/cancelled?order={made['id']}"
    assert (await till.capture(boss, made)).codes == ["INVALID_STATE"]


async def test_a_declined_card_is_told_by_paypals_word(till: Till, boss: Client) -> None:
    made = await till.order(boss)
    await till.agree(made)
    till.paypal.ledger.declines = True
    try:
        answer = await till.capture(boss, made)
    finally:
        till.paypal.ledger.declines = False
    assert answer.codes == ["INVALID_STATE"]
    assert "INSTRUMENT_DECLINED" in answer.errors[0]["message"]
    assert (await till.capture(boss, made)).data["captureSubscriptionOrder"]["status"] == "COMPLETED"


async def test_captures_at_once_take_the_money_once(till: Till, boss: Client) -> None:
    made = await till.order(boss)
    await till.agree(made)
    answers = await asyncio.gather(*(till.capture(boss, made) for _ in range(20)))
    assert {one.data["captureSubscriptionOrder"]["status"] for one in answers} == {"COMPLETED"}
    assert len(await till.payments(boss)) == 1
    assert 28 + 6 < days_until((await till.status(boss))["expiresAt"]) < 31 + 8


async def test_the_same_key_leads_to_the_same_order(till: Till, boss: Client) -> None:
    answers = await asyncio.gather(*(till.ask_for(boss, idempotencyKey="k-1") for _ in range(8)))
    orders = {one.data["createSubscriptionOrder"]["id"] for one in answers}
    at_paypal = {one.data["createSubscriptionOrder"]["paypalId"] for one in answers}
    assert (len(orders), len(at_paypal)) == (1, 1)
    other = await till.ask_for(boss, "BASIC", idempotencyKey="k-1")
    assert other.codes == ["IDEMPOTENCY_CONFLICT"]


async def test_an_order_that_paypal_did_not_answer_is_asked_for_again(
    till: Till, boss: Client, server: Server, tmp_path: Any
) -> None:
    with simulated() as other:
        there = till_for(server, other, tmp_path)
        other.faults.failures = 1.0
        assert (await there.ask_for(boss, idempotencyKey="again")).codes == ["UNAVAILABLE"]
        other.faults.failures = 0.0
        made = await there.order(boss, idempotencyKey="again")
        assert made["status"] == "PENDING"
        assert len(other.ledger.orders) == 1, "PayPal made it once, whatever it answered"


async def test_a_paypal_that_fails_now_and_then_is_asked_again(boss: Client, server: Server, tmp_path: Any) -> None:
    with simulated() as other:
        there = till_for(server, other, tmp_path)
        made = await there.order(boss)
        await there.agree(made)
        other.faults.failures = 0.4
        while (answer := await there.capture(boss, made)).errors:
            assert answer.codes == ["UNAVAILABLE"]
        assert answer.data["captureSubscriptionOrder"]["status"] == "COMPLETED"
        other.faults.failures = 0.0
        assert len(await there.payments(boss)) == 1


async def test_a_paypal_that_is_not_there_is_unavailable(server: Server, boss: Client, tmp_path: Any) -> None:
    with simulated() as other:
        there = till_for(server, other, tmp_path)
    assert (await there.ask_for(boss)).codes == ["UNAVAILABLE"]
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(other.url)


async def test_where_paypal_is_not_set_up_it_is_said(boss: Client) -> None:
    answer = await boss.gql(CREATE, input={"plan": "PRO", "billingCycle": "MONTHLY"})
    assert answer.codes == ["UNAVAILABLE"]
    assert answer.errors[0]["message"] == "This system takes no payments by PayPal. Ask those who run it for a plan."


async def test_the_trial_cannot_be_bought(till: Till, boss: Client) -> None:
    answer = await till.ask_for(boss, "TRIAL")
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.plan"])


# --- another clinic ---------------------------------------------------------------------------------------------------


async def test_another_clinic_cannot_capture_the_order(till: Till, boss: Client, stranger: Client) -> None:
    made = await till.order(boss)
    await till.agree(made)
    theirs = await till.capture(stranger, made)
    nobodys = await till.capture(stranger, {"id": str(ObjectId())})
    assert (theirs.codes, theirs.paths) == (["NOT_FOUND"], ["input.orderId"])
    assert theirs.errors[0]["message"] == nobodys.errors[0]["message"]
    assert till.paypal.ledger.orders[made["paypalId"]]["status"] == "APPROVED", "no money was taken"
    assert (await till.capture(boss, made)).data["captureSubscriptionOrder"]["status"] == "COMPLETED"


# --- what PayPal has must be what was ordered -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"amount": {"currency_code": "USD", "value": "1.00"}},
        {"amount": {"currency_code": "MXN", "value": "149.00"}},
        {"custom_id": str(ObjectId())},
        {"custom_id": None},
    ],
    ids=["amount", "currency", "another order", "no order"],
)
async def test_an_order_that_is_another_at_paypal_pays_for_nothing(till: Till, boss: Client, change: Json) -> None:
    made = await till.order(boss)
    await till.agree(made)
    unit = till.paypal.ledger.orders[made["paypalId"]]["purchase_units"][0]
    unit.update(change)
    answer = await till.capture(boss, made)
    assert answer.codes == ["INVALID_STATE"]
    assert till.paypal.ledger.orders[made["paypalId"]]["status"] == "APPROVED", "no money was taken"
    assert await till.payments(boss) == []
    assert (await till.status(boss))["status"] == "TRIAL"


async def test_a_capture_of_another_amount_pays_for_nothing(till: Till, boss: Client) -> None:
    made = await till.order(boss)
    await till.agree(made)
    till.paypal.ledger.capture(made["paypalId"])
    unit = till.paypal.ledger.orders[made["paypalId"]]["purchase_units"][0]
    unit["payments"]["captures"][0]["amount"] = {"currency_code": "USD", "value": "148.99"}
    assert (await till.capture(boss, made)).codes == ["INVALID_STATE"]
    assert await till.payments(boss) == []


# --- another plan -----------------------------------------------------------------------------------------------------


async def test_a_larger_plan_counts_at_once_and_what_was_paid_is_not_lost(till: Till, boss: Client) -> None:
    await till.pay(boss, "BASIC", "YEARLY")
    before = await till.status(boss)
    await till.pay(boss, "PRO", "MONTHLY")
    after = await till.status(boss)
    assert (before["plan"], after["plan"]) == ("BASIC", "PRO")
    left = days_until(before["expiresAt"]) * (490 / 12) / 149
    assert days_until(after["expiresAt"]) == pytest.approx(left + 30, abs=2)


async def test_a_plan_with_fewer_seats_than_people_is_not_sold(
    till: Till, boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {**PLANS, PlanName.BASIC: _with_seats(PLANS[PlanName.BASIC], 4)}
    monkeypatch.setattr("app.services.subscription.orders.PLANS", small)
    answer = await till.ask_for(boss, "BASIC")
    assert answer.codes == ["QUOTA_EXCEEDED"]
    assert answer.errors[0]["message"] == f"{len(ROLE_NAMES)} people work here, and the plan BASIC has 4 seats."


def _with_seats(plan: Any, seats: int) -> Any:
    return replace(plan, seats=seats)


# --- giving back ------------------------------------------------------------------------------------------------------


async def test_money_that_is_given_back_ends_what_it_paid(till: Till, boss: Client) -> None:
    made = await till.pay(boss)
    till.paypal.ledger.refund(made["paypalId"])
    [event] = till.events("PAYMENT.CAPTURE.REFUNDED", (await till.payments(boss))[0]["transactionId"])
    assert (await till.deliver(event)).status_code == 200
    await till.handle()
    shown = await till.status(boss)
    assert (shown["status"], shown["plan"]) == ("TRIAL", "TRIAL"), "the days of the trial that are left still count"
    [payment] = await till.payments(boss)
    assert (payment["state"], payment["refunded"]["amount"]) == ("REFUNDED", "149.00")


async def test_a_part_that_is_given_back_leaves_the_plan(till: Till, boss: Client) -> None:
    made = await till.pay(boss)
    before = await till.status(boss)
    till.paypal.ledger.refund(made["paypalId"], Decimal("20.00"))
    [event] = till.events("PAYMENT.CAPTURE.REFUNDED", (await till.payments(boss))[0]["transactionId"])
    await till.deliver(event)
    await till.handle()
    [payment] = await till.payments(boss)
    assert (payment["state"], payment["refunded"]["amount"]) == ("PARTIALLY_REFUNDED", "20.00")
    assert (await till.status(boss))["expiresAt"] == before["expiresAt"]


# --- ending -----------------------------------------------------------------------------------------------------------


async def test_a_cancelled_plan_holds_until_its_end_and_no_longer(till: Till, boss: Client) -> None:
    await till.pay(boss)
    before = await till.status(boss)
    cancelled = (await till.at(boss).gql(CANCEL)).data["cancelSubscription"]
    assert (cancelled["status"], cancelled["works"]) == ("CANCELLED", True)
    assert cancelled["history"][0]["cause"] == "too dear"
    after = await till.status(boss)
    assert after["expiresAt"] == after["worksUntil"] == before["expiresAt"], "there is no grace"
    assert (await till.at(boss).gql(CANCEL)).codes == ["INVALID_STATE"]
    await till.pay(boss)
    assert (await till.status(boss))["status"] == "ACTIVE", "whoever pays again has not cancelled"


async def test_there_is_nothing_to_cancel_in_a_trial(till: Till, boss: Client) -> None:
    assert (await till.at(boss).gql(CANCEL)).codes == ["INVALID_STATE"]


# --- renewing by itself -----------------------------------------------------------------------------------------------


async def test_an_agreement_renews_itself_until_it_is_ended(till: Till, boss: Client) -> None:
    made = await till.pay(boss, renews=True)
    assert (made["status"], made["renews"]) == ("ACTIVE", True)
    shown = await till.status(boss)
    assert shown["status"] == "ACTIVE"
    assert shown["renewalAt"] is not None
    first = shown["expiresAt"]

    till.paypal.ledger.bill(made["paypalId"])
    *_, event = till.events("PAYMENT.SALE.COMPLETED", made["paypalId"])
    await till.deliver(event)
    await till.handle()
    renewed = await till.status(boss)
    assert timedelta(days=28) <= moment(renewed["expiresAt"]) - moment(first) <= timedelta(days=31)
    assert len(await till.payments(boss)) == 2

    refused = await till.ask_for(boss, "ENTERPRISE")
    assert refused.codes == ["INVALID_STATE"]
    ended = (await till.at(boss).gql(CANCEL)).data["cancelSubscription"]
    assert (ended["status"], ended["renewalAt"]) == ("CANCELLED", None)
    assert ended["expiresAt"] == renewed["expiresAt"]
    assert ended["history"][0]["cause"] == "too dear"
    assert till.paypal.ledger.subscriptions[made["paypalId"]]["status"] == "CANCELLED"


async def test_a_later_agreement_ends_the_one_before_it(till: Till, boss: Client) -> None:
    small = await till.pay(boss, "BASIC", renews=True)
    large = await till.pay(boss, "PRO", renews=True)
    states = {id: one["status"] for id, one in till.paypal.ledger.subscriptions.items()}
    assert (states[small["paypalId"]], states[large["paypalId"]]) == ("CANCELLED", "ACTIVE")
    shown = await till.status(boss)
    assert (shown["plan"], shown["status"]) == ("PRO", "ACTIVE")


async def test_an_agreement_that_the_payer_ends_at_paypal_ends_here(till: Till, boss: Client) -> None:
    made = await till.pay(boss, renews=True)
    till.paypal.ledger.cancel_subscription(made["paypalId"])
    [event] = till.events("BILLING.SUBSCRIPTION.CANCELLED", made["paypalId"])
    await till.deliver(event)
    await till.handle()
    shown = await till.status(boss)
    assert (shown["status"], shown["renewalAt"], shown["works"]) == ("CANCELLED", None, True)


async def test_a_clinic_from_which_paypal_takes_money_is_not_deleted(till: Till, boss: Client, clinic: Clinic) -> None:
    await till.pay(boss, renews=True)
    with open_scope(Scope(request_id="test-delete")), pytest.raises(Conflict, match="End that first"):
        await delete_tenant(clinic.tenant, actor="command", exports=None, settle=timedelta(0))
    [row] = await Tenant.rows({"_id": clinic.tenant.key})
    assert (row["status"], row["deletion_started_at"]) == ("active", None)


async def test_a_plan_that_paypal_does_not_renew_is_paid_by_hand(
    server: Server, till: Till, boss: Client, tmp_path: Any
) -> None:
    there = Till(set_up(server, **{**settings_for(till.paypal, tmp_path), "paypal_plans": {}}), till.paypal)
    answer = await there.ask_for(boss, renews=True)
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.renews"])


# --- what is left behind ----------------------------------------------------------------------------------------------


async def test_what_paypal_calls_something_leads_to_its_clinic_alone(till: Till, boss: Client, clinic: Clinic) -> None:
    made = await till.pay(boss)
    routes = await PaypalRoute.rows({"clinic_id": clinic.tenant.key})
    assert {row["_id"] for row in routes} == {made["paypalId"], (await till.payments(boss))[0]["transactionId"]}
    assert {str(row["order_id"]) for row in routes} == {made["id"]}
    async with tenant_scope(clinic.ref):
        [row] = await PaypalOrder.rows({"_id": ObjectId(made["id"])})
    assert [step["status"] for step in row["history"]] == ["pending", "completed"]
    assert (await stored(clinic))["paypal_order_id"] == made["paypalId"]
