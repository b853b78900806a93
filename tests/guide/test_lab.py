"""The day of docs/guide/lab.md, walked with the operations of that page."""

from __future__ import annotations

from app.tenancy.crossing import tenant_scope
from models import PatientRecord
from tests.fixtures.clinics import MakeClinic, Server
from tests.fixtures.portal import Visit
from tests.guide.page import Page
from tests.http.lab_support import connect, report

PANEL = {"name": "Comprehensive metabolic panel", "loinc": "24323-8"}
CRP = {"name": "C-reactive protein", "value": "48.0", "unit": "mg/L", "flag": "HIGH"}


async def test_the_laboratorys_day(server: Server, make_clinic: MakeClinic, visit: Visit) -> None:
    page, clinic = Page("lab"), await make_clinic()
    visitor = await visit(clinic)
    admin, doctor = await server.sign_in(clinic), await server.sign_in(clinic, "doctor")
    nurse, lab = await server.sign_in(clinic, "nurse"), await connect(server, clinic, admin)
    async with tenant_scope(clinic.ref):
        [kept] = await PatientRecord.rows({"patient_id": visitor.patient_id}, projection=["code"])

    # an order, and the sample
    asked = {"patientId": str(visitor.patient_id), "priority": "URGENT", "reason": "Pneumonia?", "panels": [PANEL]}
    order = await page.told(doctor, "Order", input=asked)
    assert (order["number"], order["status"]) == ("LO-000001", "ORDERED")
    [edge] = (await page.told(nurse, "Waiting"))["edges"]
    assert edge["node"]["number"] == order["number"]
    taken = {"id": order["id"], "version": order["version"], "specimen": "serum"}
    assert (await page.told(nurse, "Collect", input=taken))["collectedBy"]["name"] == clinic.staff["nurse"].name

    # the result comes, from outside and from the clinic's own bench
    event = report(kept["code"], orderNumber=order["number"])
    assert (await lab.send(event)).status_code == 200
    await page.told(nurse, "Enter", input={"labOrderId": order["id"], "observations": [CRP]})
    assert (await page.told(doctor, "Follow", id=order["id"]))["status"] == "RESULTED"

    # somebody looks at both; the patient sees nothing yet
    arrived = [edge["node"] for edge in (await page.told(doctor, "Arrived"))["edges"]]
    assert [one["order"]["number"] for one in arrived] == [order["number"]] * 2
    steps = [{"id": one["id"], "version": one["version"]} for one in arrived]
    reviewed = [await page.told(doctor, "Review", input=one) for one in steps]
    assert [one["order"]["status"] for one in reviewed] == ["RESULTED", "REVIEWED"]
    assert (await page.told(visitor.client, "Mine"))["edges"] == []

    # the patient may see it
    steps = [{"id": one["id"], "version": one["version"]} for one in reviewed]
    released = [await page.told(doctor, "Release", input=one) for one in steps]
    assert [one["order"]["status"] for one in released] == ["REVIEWED", "RELEASED"]
    mine = [edge["node"] for edge in (await page.told(visitor.client, "Mine"))["edges"]]
    assert sorted(one["observations"][0]["value"] for one in mine) == ["48.0", "5.40"]

    # the laboratory corrects itself
    mended = {**event["observations"][0], "value": "6.20", "flag": "high"}
    correction = {**event, "eventId": f"{event['eventId']}-2", "version": 2, "observations": [mended]}
    assert (await lab.send(correction)).status_code == 200
    followed = await page.told(doctor, "Follow", id=order["id"])
    states = [step["status"] for step in followed["history"]]
    assert states == ["COLLECTED", "RESULTED", "REVIEWED", "RELEASED", "RESULTED"]
    mine = [edge["node"] for edge in (await page.told(visitor.client, "Mine"))["edges"]]
    assert [one["replaced"] for one in mine].count(True) == 1
    assert "6.20" not in [one["observations"][0]["value"] for one in mine]
    assert page.used == page.operations.keys()
