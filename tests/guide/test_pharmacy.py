"""The day of docs/guide/pharmacy.md, walked with the operations of that page."""

from __future__ import annotations

from tests.fixtures.clinics import MakeClinic, Server
from tests.guide.page import Page
from tests.resolvers.care_calls import item, medicine, only, prescribed, rx_signed
from tests.resolvers.patient_calls import register
from tests.resolvers.pharmacy_calls import LATER, SOON, Pharmacy


async def test_the_pharmacists_day(server: Server, make_clinic: MakeClinic) -> None:
    page, clinic = Page("pharmacy"), await make_clinic()
    doctor, pharmacist = await server.sign_in(clinic, "doctor"), await server.sign_in(clinic, "pharmacist")
    patient = (await register(doctor))["id"]
    metformin = await medicine(clinic, "Metformin", "A10BA02")

    # what is kept, and a delivery
    input = {"medicineId": metformin, "unit": "tablet", "place": "Cabinet A", "reorderLevel": 40}
    kept = await page.told(pharmacist, "Keep", input=input)
    assert (kept["name"], kept["kind"], kept["stock"], kept["low"]) == ("Metformin", "MEDICINE", 0, True)
    gloves = {"kind": "CONSUMABLE", "name": "Gloves M", "unit": "pair"}
    supply = await page.told(pharmacist, "Keep", input=gloves)
    cost = {"amount": "0.18", "currency": "USD"}
    lines = [
        {"itemId": kept["id"], "quantity": 30, "lot": "B-204", "expiresOn": SOON, "unitCost": cost},
        {"itemId": kept["id"], "quantity": 50, "lot": "B-377", "expiresOn": LATER},
        {"itemId": supply["id"], "quantity": 100},
    ]
    delivery = {"reference": "DN 4711", "idempotencyKey": "f3a1", "lines": lines}
    came = await page.told(pharmacist, "Receive", input=delivery)
    assert sorted(one["quantity"] for one in came) == [30, 50, 100]
    wrong = {"lines": [{**lines[0], "expiresOn": LATER}]}
    refused = await page.ask(pharmacist, "Receive", input=wrong)
    assert (refused.codes, refused.paths) == (["VALIDATION_FAILED"], ["input.lines.0.expiresOn"])

    # to another place and back
    upstairs = await page.told(pharmacist, "Keep", input={**input, "name": "Metformin upstairs", "reorderLevel": 0})
    shop = Pharmacy(pharmacist, clinic)
    [first, _] = await shop.lots(itemId=kept["id"])
    bring = {"lotId": first["id"], "toItemId": upstairs["id"], "quantity": 10}
    moved = await page.told(pharmacist, "Bring", input=bring)
    assert [(one["quantity"], one["balance"], one["lot"]) for one in moved] == [(-10, 20, "B-204"), (10, 10, "B-204")]
    [other] = await shop.lots(itemId=upstairs["id"])
    await page.told(pharmacist, "Bring", input={"lotId": other["id"], "toItemId": kept["id"], "quantity": 10})
    rows = await pharmacist.gql("{ inventoryItems { edges { node { id version } } } }")
    [empty] = [edge["node"] for edge in only(rows)["edges"] if edge["node"]["id"] == upstairs["id"]]
    await shop.done("archiveInventoryItem", **empty)

    # by prescription: two lots, a part, a refill, and too much
    line = item(metformin, quantity=40, refills=1)
    await rx_signed(doctor, await prescribed(doctor, patient, line))
    [edge] = (await page.told(pharmacist, "Waiting", patientId=patient))["edges"]
    rx = edge["node"]
    assert (rx["items"][0]["remaining"], rx["items"][0]["refillsLeft"]) == (40, 1)
    asked = {"prescriptionId": rx["id"], "itemNumber": 1}
    part = await page.told(pharmacist, "Dispense", input={**asked, "quantity": 35, "idempotencyKey": "9c0e"})
    assert [(one["lot"], one["quantity"]) for one in part["lots"]] == [("B-204", 30), ("B-377", 5)]
    assert part["prescription"]["items"][0]["remaining"] == 5
    over = await page.ask(pharmacist, "Dispense", input={**asked, "quantity": 6})
    assert (over.codes, over.paths) == (["VALIDATION_FAILED"], ["input.quantity"])
    await page.told(pharmacist, "Dispense", input={**asked, "quantity": 5})
    done = await page.ask(pharmacist, "Dispense", input={**asked, "quantity": 1})
    assert done.codes == ["INVALID_STATE"]
    refill = await page.told(pharmacist, "Dispense", input={**asked, "quantity": 30, "takeRefill": True})
    counted = refill["prescription"]["items"][0]
    assert (counted["dispensed"], counted["remaining"], counted["refillsLeft"]) == (70, 10, 0)
    other = await rx_signed(doctor, await prescribed(doctor, (await register(doctor))["id"], line))
    short = await page.ask(
        pharmacist, "Dispense", input={"prescriptionId": other["id"], "itemNumber": 1, "quantity": 22}
    )
    assert short.codes == ["OUT_OF_STOCK"]
    assert short.errors[0]["extensions"]["available"] == 10
    assert short.errors[0]["message"] == "There are 10 of Metformin in stock."

    # for the clinic itself, and what comes back
    used = await page.told(pharmacist, "HandOut", input={"itemId": supply["id"], "quantity": 4})
    assert (used["patient"], used["quantity"]) == (None, 4)
    back = {"dispensingId": refill["id"], "quantity": 10, "toStock": True, "reason": "Never left the counter"}
    returned = await page.told(pharmacist, "TakeBack", input=back)
    assert returned["prescription"]["items"][0] == {"dispensed": 60, "remaining": 20}
    assert [edge["node"]["kind"] for edge in returned["movements"]["edges"]] == ["DISPENSED", "RETURNED"]

    # what runs low, and who is told
    [low] = (await page.told(pharmacist, "Low"))["edges"]
    assert (low["node"]["name"], low["node"]["stock"], low["node"]["reorderLevel"]) == ("Metformin", 20, 40)
    told = only(await pharmacist.gql("{ notifications { edges { node { kind itemId } } } }"))["edges"]
    assert [one["node"] for one in told] == [{"kind": "STOCK_LOW", "itemId": kept["id"]}]

    # what expires
    await page.told(pharmacist, "Receive", input={"lines": [{**lines[0], "quantity": 8, "lot": "OLD"}]})
    [old] = await Pharmacy(pharmacist, clinic).lots(lot="old")
    await Pharmacy(pharmacist, clinic).aged(old["id"])
    [expired] = (await page.told(pharmacist, "Expiring"))["edges"]
    assert (expired["node"]["lot"], expired["node"]["expired"], expired["node"]["balance"]) == ("OLD", True, 8)
    off = {"lotIds": [expired["node"]["id"]], "reason": "Given to the recycler"}
    [gone] = await page.told(pharmacist, "WriteOff", input=off)
    assert (gone["kind"], gone["quantity"], gone["balance"]) == ("EXPIRED", -8, 0)
    [edge] = (await page.told(pharmacist, "Shelf", itemId=kept["id"]))["edges"]
    lot = edge["node"]
    assert (lot["lot"], lot["balance"]) == ("B-377", 20)
    waste = {"lotId": lot["id"], "quantity": 2, "reason": "Fell to the floor"}
    assert (await page.told(pharmacist, "Waste", input=waste))["balance"] == 18

    # counting
    count = {"lotId": lot["id"], "counted": 17, "expected": 20, "reason": "Yearly count: one was missing"}
    assert (await page.ask(pharmacist, "Count", input=count)).codes == ["CONFLICT"]
    found = await page.told(pharmacist, "Count", input={**count, "expected": 18})
    assert (found["quantity"], found["balance"], found["item"]["stock"]) == (-1, 17, 17)

    # the history of a lot, and what all of it is worth
    history = [edge["node"] for edge in (await page.told(pharmacist, "History", lotId=lot["id"]))["edges"]]
    kinds = ["ADJUSTED", "WASTED", "RETURNED", "DISPENSED", "DISPENSED", "DISPENSED", "RECEIVED"]
    assert [one["kind"] for one in history] == kinds
    assert [one["dispensing"] is not None for one in history] == [kind in ("RETURNED", "DISPENSED") for kind in kinds]
    worth = await page.told(pharmacist, "Worth")
    assert (worth["total"], worth["withoutPrice"]) == ([], 2)
    assert await Pharmacy(pharmacist, clinic).adds_up()
    assert page.used == page.operations.keys()
