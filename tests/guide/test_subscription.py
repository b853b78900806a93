"""The way of docs/guide/subscription.md, walked with the operations of that page."""

from __future__ import annotations

from datetime import timedelta

from models import Tenant
from models.values import now
from tests.fixtures.clinics import ROLE_NAMES, MakeClinic, Server
from tests.fixtures.paypal import Till
from tests.guide.page import Page


async def test_the_way_of_a_subscription(make_clinic: MakeClinic, server: Server, till: Till) -> None:
    page, clinic = Page("subscription"), await make_clinic()
    admin = till.at(await server.sign_in(clinic))

    # what the clinic has
    trial = await page.told(admin, "Status")
    assert (trial["plan"], trial["status"], trial["works"]) == ("TRIAL", "TRIAL", True)
    usage = await page.told(admin, "Usage")
    assert (usage["seatsTaken"], usage["features"]) == (len(ROLE_NAMES), ["LABORATORIES", "SINGLE_SIGN_ON"])

    # once it has ended, before anything was paid
    over = now() - timedelta(days=1)
    ended = {"subscription.expires_at": over, "subscription.trial_ends_at": over}
    await Tenant.guarded().update_one({"_id": clinic.tenant.key}, {"$set": ended})
    room = "mutation($input: CreateRoomInput!) { createRoom(input: $input) { id } }"
    assert (await admin.gql(room, input={"name": "Room 1"})).codes == ["PLAN_REQUIRED"]
    assert (await admin.gql("{ patients { totalCount } }")).data["patients"]["totalCount"] == 0
    assert (await page.told(admin, "All"))["subscription"]["works"] is False

    # paying once
    plans = await page.told(admin, "Plans")
    price = next(one["monthly"] for one in plans if one["name"] == "PRO")
    order = await page.told(
        admin, "Order", input={"plan": "PRO", "billingCycle": "MONTHLY", "idempotencyKey": "0b2f6c1e"}
    )
    assert order["amount"] == price
    assert (await page.ask(admin, "Capture", input={"orderId": order["id"]})).codes == ["INVALID_STATE"]
    back = await till.agree(order)
    assert back.headers["location"].startswith(f"http://{clinic.host}:8000/subscription/paid?order={order['id']}")
    assert (await page.told(admin, "Capture", input={"orderId": order["id"]}))["status"] == "COMPLETED"
    assert (await page.told(admin, "Status"))["status"] == "ACTIVE"
    assert not (await admin.gql(room, input={"name": "Room 1"})).errors
    [payment] = [edge["node"] for edge in (await page.told(admin, "Payments"))["edges"]]
    assert (payment["state"], payment["amount"]) == ("COMPLETED", price)
    [shown] = [edge["node"] for edge in (await page.told(admin, "Orders"))["edges"]]
    assert (shown["status"], shown["renews"]) == ("COMPLETED", False)

    # ending
    cancelled = await page.told(admin, "End", input={"reason": "We close."})
    assert (cancelled["status"], cancelled["works"]) == ("CANCELLED", True)
    assert page.used == page.operations.keys()
