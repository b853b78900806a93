"""The stock over GraphQL: kept, delivered, counted, written off; its sum is that of its movements, whatever is done."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId
from pymongo.errors import WriteError

from app.services.tenant_checks import _stock_faults
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Database
from models import Notification, Room
from models.values import search_key
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.people import SignedIn
from tests.resolvers.care_calls import medicine, only
from tests.resolvers.pharmacy_calls import ITEM, LATER, LOT, SOON, Pharmacy

VALUE = "{ stockValue { total { amount currency } expired { amount currency } withoutPrice } }"
LOW = f"{{ lowStock(first: 100) {{ edges {{ node {ITEM} }} }} }}"
EXPIRING = f"""query($days: Int!) {{
    expiringStock(withinDays: $days, first: 100) {{ edges {{ node {LOT} }} }} }}"""
LIST = f"""query($filter: InventoryItemFilter) {{
    inventoryItems(filter: $filter) {{ edges {{ node {ITEM} }} }} }}"""


@pytest_asyncio.fixture
async def pharmacy(signed_in: SignedIn, clinic_a: Clinic) -> Pharmacy:
    return Pharmacy(await signed_in(clinic_a, "pharmacist"), clinic_a)


@pytest_asyncio.fixture
async def own(server: Server, make_clinic: MakeClinic) -> Pharmacy:
    """The pharmacy of a clinic of its own."""
    clinic = await make_clinic()
    return Pharmacy(await server.sign_in(clinic, "pharmacist"), clinic)


async def rows(client: Client, text: str, **variables: Any) -> list[dict[str, Any]]:
    return [edge["node"] for edge in only(await client.gql(text, **variables))["edges"]]


# --- items ------------------------------------------------------------------------------------------------------------


async def test_a_medicines_item_is_named_after_it_and_has_nothing_at_first(pharmacy: Pharmacy) -> None:
    made = await pharmacy.medicine(reorderLevel=5, place=" Shelf B ")
    assert (made["kind"], made["stock"], made["low"], made["place"]) == ("MEDICINE", 0, True, "Shelf B")
    assert made["name"].startswith("Med ")
    assert await pharmacy.item(made["id"]) == made


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"kind": None}, "input.kind"),
        ({"kind": "MEDICINE"}, "input.medicineId"),
        ({"name": None}, "input.name"),
        ({"unit": " "}, "input.unit"),
        ({"reorderLevel": -1}, "input.reorderLevel"),
    ],
)
async def test_what_is_no_item_is_refused_at_its_path(pharmacy: Pharmacy, values: dict[str, Any], path: str) -> None:
    usual = {"name": "Gloves of the wrong kind", "kind": "CONSUMABLE", "unit": "pair"}
    answer = await pharmacy.tried("createInventoryItem", **{**usual, **values})
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])


async def test_a_medicine_is_of_no_other_kind(pharmacy: Pharmacy, clinic_a: Clinic) -> None:
    key = await medicine(clinic_a, "Ibuprofen", "M01AE01")
    answer = await pharmacy.tried("createInventoryItem", medicineId=key, kind="DEVICE", unit="tablet")
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.kind"])


async def test_two_items_in_use_never_bear_one_name(pharmacy: Pharmacy) -> None:
    made = await pharmacy.kept()
    again = await pharmacy.tried("createInventoryItem", name=made["name"].upper(), kind="DEVICE", unit="piece")
    assert (again.codes, again.paths) == (["CONFLICT"], ["input.name"])


async def test_items_are_found_by_name_kind_medicine_room_and_level(own: Pharmacy) -> None:
    async with tenant_scope(own.clinic.ref):
        room = await Room(name="Cellar", name_key=search_key("Cellar")).insert()
    gloves = await own.kept("Gloves", roomId=str(room.id), reorderLevel=3)
    tablets = await own.medicine()
    for filter, wanted in (
        ({"search": "glo"}, [gloves]),
        ({"kind": "CONSUMABLE"}, [gloves]),
        ({"kind": "MEDICINE"}, [tablets]),
        ({"medicineId": tablets["medicine"]["id"]}, [tablets]),
        ({"roomId": str(room.id)}, [gloves]),
        ({"low": True}, [gloves]),
        ({"low": False}, [tablets]),
        ({"archived": True}, []),
    ):
        assert await rows(own.client, LIST, filter=filter) == wanted, filter


async def test_a_change_moves_nothing_and_a_new_level_is_judged_at_once(pharmacy: Pharmacy) -> None:
    made = await pharmacy.kept(reorderLevel=2)
    await pharmacy.received(made, 5)
    known = {"id": made["id"], "version": 1}
    changed = await pharmacy.done("updateInventoryItem", **known, reorderLevel=6, place=None, name="Compresses 10x10")
    assert (changed["low"], changed["stock"], changed["version"]) == (True, 5, 2)
    assert (await pharmacy.done("updateInventoryItem", id=made["id"], version=2, reorderLevel=5))["low"] is False
    assert (await pharmacy.tried("updateInventoryItem", **known, reorderLevel=1)).codes == ["CONFLICT"]
    await pharmacy.done("updateInventoryItem", id=made["id"], version=3, name=made["name"])


async def test_an_item_is_archived_once_nothing_is_left(pharmacy: Pharmacy) -> None:
    made = await pharmacy.kept()
    moved = await pharmacy.received(made, 1)
    known = {"id": made["id"], "version": 1}
    assert (await pharmacy.tried("archiveInventoryItem", **known)).codes == ["INVALID_STATE"]
    await pharmacy.done("wasteStock", lotId=moved["stockLot"]["id"], quantity=1, reason="Torn")
    assert (await pharmacy.done("archiveInventoryItem", **known))["archivedAt"]
    again = await pharmacy.tried("archiveInventoryItem", id=made["id"], version=2)
    assert (again.codes, again.errors[0]["message"]) == (["INVALID_STATE"], "It is archived already.")
    line = {"itemId": made["id"], "quantity": 1}
    refused = await pharmacy.tried("receiveStock", lines=[line])
    assert (refused.codes, refused.paths) == (["VALIDATION_FAILED"], ["input.lines.0.itemId"])
    found = await pharmacy.tried("adjustStock", lotId=moved["stockLot"]["id"], counted=1, reason="Found one")
    assert found.codes == ["INVALID_STATE"]
    assert (await pharmacy.done("restoreInventoryItem", id=made["id"], version=2))["archivedAt"] is None
    assert await pharmacy.done("adjustStock", lotId=moved["stockLot"]["id"], counted=1, reason="Found one")


# --- deliveries -------------------------------------------------------------------------------------------------------


async def test_several_lots_of_several_items_come_at_once(own: Pharmacy) -> None:
    tablets, gloves = await own.medicine(), await own.kept()
    cost = {"amount": "0.1250", "currency": "USD"}
    lines = [
        {"itemId": tablets["id"], "quantity": 100, "lot": "A-1", "expiresOn": LATER, "unitCost": cost},
        {"itemId": gloves["id"], "quantity": 30},
        {"itemId": tablets["id"], "quantity": 50, "lot": "A-2", "expiresOn": SOON},
        {"itemId": tablets["id"], "quantity": 10, "lot": " a-1", "expiresOn": LATER},
    ]
    moved = await own.done("receiveStock", lines=lines, reference="DN 4711")
    assert len({one["act"] for one in moved}) == 1
    assert {one["reference"] for one in moved} == {"DN 4711"}
    assert sorted(one["quantity"] for one in moved) == [10, 30, 50, 100]
    assert (await own.item(tablets["id"]))["stock"] == 160
    first, second = await own.lots(itemId=tablets["id"])
    assert (first["lot"], first["balance"], first["unitCost"]) == ("A-2", 50, None)
    assert (second["lot"], second["balance"], second["unitCost"]) == ("A-1", 110, cost)
    assert [one["id"] for one in await own.lots(lot="a-1")] == [second["id"]]
    value = only(await own.client.gql(VALUE))
    assert [(float(one["amount"]), one["currency"]) for one in value["total"]] == [(13.75, "USD")]
    assert (float(value["expired"][0]["amount"]), value["withoutPrice"]) == (0, 2)
    assert await own.adds_up()


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ({"quantity": 0}, "quantity"),
        ({"quantity": 1_000_001}, "quantity"),
        ({"expiresOn": None}, "expiresOn"),
        ({"expiresOn": "2020-01-01"}, "expiresOn"),
        ({"lot": "two\nlines"}, "lot"),
        ({"unitCost": {"amount": "-1", "currency": "USD"}}, "unitCost.amount"),
        ({"unitCost": {"amount": "1", "currency": "EUR"}}, "unitCost.currency"),
    ],
)
async def test_of_a_delivery_with_one_wrong_line_nothing_is_stored(
    pharmacy: Pharmacy, line: dict[str, Any], path: str
) -> None:
    tablets = await pharmacy.medicine()
    good = {"itemId": tablets["id"], "quantity": 5, "lot": "L", "expiresOn": LATER}
    answer = await pharmacy.tried("receiveStock", lines=[good, {**good, **line}])
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [f"input.lines.1.{path}"])
    assert (await pharmacy.item(tablets["id"]))["stock"] == 0
    assert await pharmacy.lots(itemId=tablets["id"]) == []


async def test_a_lot_expires_on_one_day(pharmacy: Pharmacy) -> None:
    tablets = await pharmacy.medicine()
    await pharmacy.received(tablets, 5, "L-7", LATER)
    line = {"itemId": tablets["id"], "quantity": 5, "lot": "L-7", "expiresOn": SOON}
    answer = await pharmacy.tried("receiveStock", lines=[line])
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.lines.0.expiresOn"])
    await pharmacy.received(tablets, 5, None, LATER)
    await pharmacy.received(tablets, 5, None, SOON)
    assert [one["balance"] for one in await pharmacy.lots(itemId=tablets["id"])] == [5, 5, 5]


async def test_a_delivery_that_is_sent_again_comes_once(pharmacy: Pharmacy) -> None:
    gloves = await pharmacy.kept()
    input = {"lines": [{"itemId": gloves["id"], "quantity": 7}], "idempotencyKey": "delivery"}
    answers = await asyncio.gather(*(pharmacy.tried("receiveStock", **input) for _ in range(8)))
    assert {one["id"] for answer in answers for one in only(answer)} == {only(answers[0])[0]["id"]}
    assert (await pharmacy.item(gloves["id"]))["stock"] == 7
    other = {"lines": [{"itemId": gloves["id"], "quantity": 8}], "idempotencyKey": "delivery"}
    assert (await pharmacy.tried("receiveStock", **other)).codes == ["IDEMPOTENCY_CONFLICT"]


async def test_first_deliveries_of_a_lot_at_once_make_one_lot(pharmacy: Pharmacy) -> None:
    gloves = await pharmacy.kept()
    await asyncio.gather(*(pharmacy.received(gloves, 1, "SAME") for _ in range(8)))
    [lot] = await pharmacy.lots(itemId=gloves["id"])
    assert lot["balance"] == 8


# --- counting and writing off -----------------------------------------------------------------------------------------


async def test_what_is_counted_becomes_a_movement_of_the_difference(pharmacy: Pharmacy) -> None:
    gloves = await pharmacy.kept()
    lot = (await pharmacy.received(gloves, 10))["stockLot"]["id"]
    fewer = await pharmacy.done("adjustStock", lotId=lot, counted=8, expected=10, reason="Yearly count")
    assert (fewer["kind"], fewer["quantity"], fewer["balance"], fewer["reason"]) == ("ADJUSTED", -2, 8, "Yearly count")
    assert fewer["item"]["stock"] == 8
    more = await pharmacy.done("adjustStock", lotId=lot, counted=9, reason="One lay behind")
    assert (more["quantity"], more["balance"]) == (1, 9)
    same = await pharmacy.done("adjustStock", lotId=lot, counted=9, reason="Counted again")
    assert (same["quantity"], same["balance"]) == (0, 9)
    late = await pharmacy.tried("adjustStock", lotId=lot, counted=9, expected=10, reason="Of yesterday")
    assert (late.codes, late.paths) == (["CONFLICT"], ["input.expected"])
    negative = await pharmacy.tried("adjustStock", lotId=lot, counted=-1, reason="Nonsense")
    assert (negative.codes, negative.paths) == (["VALIDATION_FAILED"], ["input.counted"])
    silent = await pharmacy.tried("adjustStock", lotId=lot, counted=1, reason="  ")
    assert silent.paths == ["input.reason"]
    assert [one["quantity"] for one in await pharmacy.movements(lotId=lot)] == [0, 1, -2, 10]


async def test_a_count_that_is_sent_again_is_noted_once(pharmacy: Pharmacy) -> None:
    lot = (await pharmacy.received(await pharmacy.kept(), 10))["stockLot"]["id"]
    count = {"lotId": lot, "counted": 10, "reason": "As it should be", "idempotencyKey": "count"}
    first = await pharmacy.done("adjustStock", **count)
    await pharmacy.done("wasteStock", lotId=lot, quantity=4, reason="Wet")
    again = await pharmacy.done("adjustStock", **count)
    assert again["id"] == first["id"]
    assert again["stockLot"]["balance"] == 6


async def test_no_more_is_wasted_than_there_is(pharmacy: Pharmacy) -> None:
    gloves = await pharmacy.kept()
    lot = (await pharmacy.received(gloves, 3))["stockLot"]["id"]
    answer = await pharmacy.tried("wasteStock", lotId=lot, quantity=4, reason="Torn")
    assert (answer.codes, answer.paths) == (["OUT_OF_STOCK"], ["input.quantity"])
    assert answer.errors[0]["extensions"]["available"] == 3
    wasted = await pharmacy.done("wasteStock", lotId=lot, quantity=3, reason="Torn")
    assert (wasted["kind"], wasted["quantity"], wasted["balance"]) == ("WASTED", -3, 0)


async def test_what_is_brought_to_another_place_stays_its_lot(pharmacy: Pharmacy) -> None:
    here = await pharmacy.medicine()
    upstairs = {"medicineId": here["medicine"]["id"], "unit": "tablet", "name": f"{here['name']} upstairs"}
    there = await pharmacy.done("createInventoryItem", **upstairs)
    cost = {"amount": "0.5000", "currency": "USD"}
    line = {"itemId": here["id"], "quantity": 10, "lot": "T-1", "expiresOn": SOON, "unitCost": cost}
    [came] = await pharmacy.done("receiveStock", lines=[line])
    lot = came["stockLot"]["id"]
    way = {"lotId": lot, "toItemId": there["id"], "quantity": 4, "reason": "For the ward", "idempotencyKey": "way"}
    answers = [await pharmacy.done("transferStock", **way) for _ in range(2)]
    assert answers[0] == answers[1]
    went, arrived = answers[0]
    assert (went["kind"], went["quantity"], went["balance"], went["item"]["stock"]) == ("TRANSFERRED", -4, 6, 6)
    assert (arrived["kind"], arrived["quantity"], arrived["balance"]) == ("TRANSFERRED", 4, 4)
    assert (arrived["lot"], arrived["expiresOn"], arrived["reason"]) == ("T-1", SOON, "For the ward")
    [other] = await pharmacy.lots(itemId=there["id"])
    assert (other["balance"], other["unitCost"]) == (4, cost)
    plain = {name: way[name] for name in ("lotId", "toItemId")}
    short = await pharmacy.tried("transferStock", **plain, quantity=7)
    assert (short.codes, short.errors[0]["extensions"]["available"]) == (["OUT_OF_STOCK"], 6)
    for wrong in (here, await pharmacy.medicine(), await pharmacy.kept()):
        answer = await pharmacy.tried("transferStock", **{**plain, "toItemId": wrong["id"]}, quantity=1)
        assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.toItemId"])
    assert await pharmacy.adds_up()


async def test_expired_lots_are_listed_and_written_off_together_or_not_at_all(own: Pharmacy) -> None:
    tablets, drops = await own.medicine(), await own.medicine(unit="bottle")
    old = (await own.received(tablets, 7, "OLD"))["stockLot"]["id"]
    older = (await own.received(drops, 2, "OLDER"))["stockLot"]["id"]
    soon = (await own.received(tablets, 5, "SOON", SOON))["stockLot"]["id"]
    await own.received(tablets, 5, "LATER", LATER)
    await own.aged(old)
    await own.aged(older, "2019-12-31")
    shown = await rows(own.client, EXPIRING, days=30)
    assert [(one["id"], one["expired"]) for one in shown] == [(older, True), (old, True), (soon, False)]
    assert shown[2]["daysLeft"] in (19, 20, 21)
    assert shown[0]["daysLeft"] < 0
    assert [one["id"] for one in await rows(own.client, EXPIRING, days=0)] == [older, old]

    refused = await own.tried("writeOffExpired", lotIds=[old, soon])
    assert (refused.codes, refused.paths) == (["INVALID_STATE"], ["input.lotIds.1"])
    moved = await own.done("writeOffExpired", lotIds=[old, older], reason="Given to the recycler")
    assert sorted((one["kind"], one["quantity"], one["balance"]) for one in moved) == [
        ("EXPIRED", -7, 0), ("EXPIRED", -2, 0)
    ]  # fmt: skip
    assert {one["reason"] for one in moved} == {"Given to the recycler"}
    assert [one["id"] for one in await rows(own.client, EXPIRING, days=30)] == [soon]
    assert (await own.tried("writeOffExpired", lotIds=[old])).codes == ["INVALID_STATE"]
    assert (await own.tried("writeOffExpired", lotIds=[old, old])).codes == ["VALIDATION_FAILED"]
    wrong = await own.client.gql(EXPIRING, days=-1)
    assert (wrong.codes, wrong.paths) == (["VALIDATION_FAILED"], ["withinDays"])
    assert await own.adds_up()


# --- running low ------------------------------------------------------------------------------------------------------


async def test_those_who_keep_the_stock_are_told_once_each_time_it_falls_low(own: Pharmacy) -> None:
    gloves = await own.kept(reorderLevel=5)
    lot = (await own.received(gloves, 10))["stockLot"]["id"]

    async def told() -> int:
        async with tenant_scope(own.clinic.ref):
            found = await Notification.rows({"item_id": ObjectId(gloves["id"])})
        assert {row["kind"] for row in found} <= {"stock_low"}
        keepers = {own.clinic.staff[role].user_id for role in ("admin", "pharmacist")}
        assert {row["user_id"] for row in found} in (set(), keepers)
        return len(found) // 2

    async def use(quantity: int) -> None:
        await own.done("wasteStock", lotId=lot, quantity=quantity, reason="Torn")

    await use(5)
    assert (await told(), await rows(own.client, LOW)) == (0, [])
    await use(1)
    assert await told() == 1
    assert [one["id"] for one in await rows(own.client, LOW)] == [gloves["id"]]
    await use(1)
    assert await told() == 1
    await own.received(gloves, 10)
    assert await rows(own.client, LOW) == []
    newer = (await own.received(gloves, 1, "X"))["stockLot"]["id"]
    await own.done("wasteStock", lotId=newer, quantity=1, reason="Torn")
    assert await told() == 1
    await own.done("adjustStock", lotId=lot, counted=0, reason="All gone")
    assert await told() == 2
    shown = only(await own.client.gql("{ notifications { edges { node { kind itemId } } } }"))
    assert shown["edges"][0]["node"] == {"kind": "STOCK_LOW", "itemId": gloves["id"]}


# --- who may, and what cannot be --------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["receptionist", "accountant", "doctor", "nurse"])
async def test_the_stock_is_kept_by_those_who_may(signed_in: SignedIn, pharmacy: Pharmacy, role: str) -> None:
    gloves = await pharmacy.kept()
    other = Pharmacy(await signed_in(pharmacy.clinic, role), pharmacy.clinic)
    line = {"itemId": gloves["id"], "quantity": 1}
    assert (await other.tried("receiveStock", lines=[line])).codes == ["FORBIDDEN"]
    assert (await pharmacy.item(gloves["id"]))["stock"] == 0


async def test_the_database_itself_lets_no_balance_go_below_zero(pharmacy: Pharmacy, raw: Database) -> None:
    gloves = await pharmacy.kept()
    lot = (await pharmacy.received(gloves, 3))["stockLot"]["id"]
    for collection, id, column in (("stock_lots", lot, "balance"), ("inventory_items", gloves["id"], "stock")):
        for change in ({"$inc": {column: -4}}, {"$set": {column: 1.5}}, {"$set": {column: None}}):
            with pytest.raises(WriteError) as refused:
                await raw[collection].update_one({"_id": ObjectId(id)}, change)
            assert refused.value.code == 121


async def test_a_balance_that_is_not_the_sum_of_its_movements_is_found(own: Pharmacy, raw: Database) -> None:
    gloves = await own.kept()
    lot = (await own.received(gloves, 3))["stockLot"]["id"]
    assert await own.adds_up()
    await raw["stock_lots"].update_one({"_id": ObjectId(lot)}, {"$inc": {"balance": 1}})
    assert not await own.adds_up()
    faults = {one.problem for one in [fault async for fault in _stock_faults(raw)]}
    assert "balance is not the sum of its movements" in faults
    await raw["stock_lots"].update_one({"_id": ObjectId(lot)}, {"$inc": {"balance": -1}})
    await raw["inventory_items"].update_one({"_id": ObjectId(gloves["id"])}, {"$inc": {"stock": 1}})
    assert not await own.adds_up()
    await raw["inventory_items"].update_one({"_id": ObjectId(gloves["id"])}, {"$inc": {"stock": -1}})
    assert await own.adds_up()
