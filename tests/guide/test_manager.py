"""The day of docs/guide/manager.md, walked with the operations of that page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from models import Appointment
from tests.fixtures.clinics import Client, MakeClinic, Server
from tests.fixtures.desks import TODAY, ZONE, Desk, OpenDesk, day_ahead, instant, wall
from tests.fixtures.tills import OpenTill, usd
from tests.guide.page import Page
from tests.resolvers.sharing_calls import CONSENTS, RECORD


def week(*spans: tuple[str, str]) -> list[dict[str, str]]:
    """The same hours on each weekday but Sunday."""
    days = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY")
    return [{"weekday": day, "opens": opens, "closes": closes} for day in days for opens, closes in spans]


async def test_the_day_of_a_manager(
    make_clinic: MakeClinic, open_desk: OpenDesk, open_till: OpenTill, server: Server
) -> None:
    page, clinic = Page("manager"), await make_clinic()
    desk, admin = await open_desk(clinic), await server.sign_in(clinic)

    # people and what they may do
    roles = await page.told(admin, "Roles")
    nurse = next(edge["node"] for edge in roles["edges"] if edge["node"]["name"] == "nurse")
    invited = await page.told(
        admin, "Invite", input={"email": "new@example.com", "name": "Nina New", "kind": "NURSE", "roleId": nurse["id"]}
    )
    assert invited["email"] == "new@example.com"
    may_see = {e["node"]["name"] for e in roles["edges"] if "statistics:read" in e["node"]["permissions"]}
    assert may_see == {"admin", "accountant"}

    # rooms, and services under their headings
    await page.told(admin, "AddRoom", input={"name": "Room 1"})
    heading = await page.told(admin, "AddHeading", input={"name": "General"})
    price = {"amount": "80.00", "currency": "USD"}
    service = await page.told(
        admin,
        "AddService",
        input={"name": "Check-up", "durationMinutes": 30, "price": price, "categoryId": heading["id"]},
    )
    shown = await page.told(admin, "Catalogue", filter={"categoryId": heading["id"]})
    assert [edge["node"] for edge in shown["edges"]] == [{"name": "Check-up", "category": {"name": "General"}}]

    # when the clinic is open: no Sundays, and a break at noon
    opened = await page.told(
        admin, "Open", input={"version": 1, "openingHours": week(("13:00", "16:00"), ("08:30", "12:00"))}
    )
    assert [one["opens"] for one in opened["openingHours"]][:2] == ["08:30", "13:00"]
    workday = next(day_ahead(days) for days in range(7, 14) if day_ahead(days).weekday() == 2)
    sunday = workday + timedelta(days=4)
    slots = await page.told(desk.client, "Slots", doctorId=desk.doctor, **{"from": str(workday), "to": str(workday)})
    starts = [f"{instant(one['startsAt']).astimezone(ZONE):%H:%M}" for one in slots]
    assert (starts[0], starts[-1], "11:45" in starts, "12:00" in starts) == ("08:30", "15:45", True, False)
    assert await page.told(desk.client, "Slots", doctorId=desk.doctor, **{"from": str(sunday), "to": str(sunday)}) == []
    at_noon = await desk.book(wall(12, day=workday))
    assert (at_noon.codes, at_noon.paths) == (["VALIDATION_FAILED"], ["input.startsAt"])
    assert at_noon.errors[0]["extensions"]["fields"][0]["message"] == "The clinic is closed then."

    # a holiday; what is booked stays booked
    booked = await desk.booked(wall(9, day=workday), serviceId=service["id"])
    closed = await page.told(admin, "Close", input={"name": "Training", "firstDay": str(workday)})
    listed = await page.told(admin, "Closures", **{"from": str(workday), "to": str(sunday)})
    assert closed["lastDay"] == str(workday)
    assert [edge["node"]["name"] for edge in listed["edges"]] == ["Training"]
    span = {"from": str(workday), "to": str(workday)}
    assert await page.told(desk.client, "Slots", doctorId=desk.doctor, **span) == []
    assert (await desk.book(wall(10, day=workday))).codes == ["VALIDATION_FAILED"]
    assert [row["status"] for row in await desk.stored()] == ["booked"]

    # what patients sign before anything is shared
    await _forms(page, admin, desk)

    # what was
    await _moved(desk.clinic, booked, wall(23, 30, day=day_ahead(-3)), "fulfilled")
    for minute, status in ((0, "no_show"), (15, "cancelled"), (30, "entered_in_error")):
        other = await desk.booked(wall(9, minute, day=workday + timedelta(days=1)))
        await _moved(desk.clinic, other, wall(9, minute, day=day_ahead(-2)), status)
    span = {"from": str(day_ahead(-3)), "to": str(day_ahead(-1))}
    by_day = await page.told(admin, "Figures", **span, by="DAY")
    by_doctor = await page.told(admin, "Figures", **span, by="DOCTOR")
    by_service = await page.told(admin, "Figures", **span, by="SERVICE")
    assert [(row["day"], row["appointments"], row["fulfilled"], row["noShows"]) for row in by_day["rows"]] == [
        (str(day_ahead(-3)), 1, 1, 0),
        (str(day_ahead(-2)), 2, 0, 1),
        (str(day_ahead(-1)), 0, 0, 0),
    ]
    assert by_day["total"] == by_doctor["total"] == by_service["total"]
    assert (by_day["total"]["noShowPercent"], by_day["total"]["cancelled"]) == ("50.0", 1)
    assert [row["doctor"]["name"] for row in by_doctor["rows"]] == ["Dora Doctor"]
    assert [row["service"] and row["service"]["name"] for row in by_service["rows"]] == [None, "Check-up"]
    assert (await page.ask(desk.client, "Figures", **span, by="DAY")).codes == ["FORBIDDEN"]

    # and what it brought in
    till = await open_till(clinic)
    await till.paid(await till.issued("80.00"), "50.00")
    today = {"from": str(TODAY), "to": str(TODAY)}
    usual = await page.told(admin, "Money", **today, by="DAY")
    assert (usual["total"]["billed"], usual["total"]["received"]) == ([usd("80.00")], [usd("50.00")])
    by_doctor = await page.told(admin, "Money", **today, by="DOCTOR")
    assert (by_doctor["total"]["billed"], by_doctor["total"]["received"]) == ([usd("80.00")], [])
    assert (await page.ask(desk.client, "Money", **today, by="DAY")).codes == ["FORBIDDEN"]
    assert page.used == page.operations.keys()


async def _forms(page: Page, admin: Client, desk: Desk) -> None:
    doctor = await desk.server.sign_in(desk.clinic, "doctor")
    form = await page.told(
        admin,
        "AddForm",
        input={
            "name": "Second opinion", "purpose": "SECOND_OPINION", "categories": ["VISITS", "LAB_RESULTS"],
            "en": {"title": "Second opinion", "text": "I agree."}, "validDays": 90,
        },
    )  # fmt: skip
    assert (form["edition"], form["validDays"]) == (1, 90)
    given = {"patientId": desk.patient, "method": "PAPER", "witnessId": str(desk.clinic.staff["nurse"].id)}
    first = await doctor.gql(RECORD, input={**given, "consentTemplateId": form["id"]})
    assert first.data["recordConsent"]["template"]["edition"] == 1
    spanish = {"title": "Segunda opinión", "text": "Acepto."}
    revision = {"id": form["id"], "version": form["version"], "es": spanish, "validDays": 30}
    revised = await page.told(admin, "ReviseForm", input=revision)
    assert (revised["edition"], revised["es"], revised["validDays"]) == (2, {"title": "Segunda opinión"}, 30)
    assert (await doctor.gql(RECORD, input={**given, "consentTemplateId": form["id"]})).codes == ["INVALID_STATE"]
    second = await doctor.gql(RECORD, input={**given, "consentTemplateId": revised["id"]})
    assert second.data["recordConsent"]["template"]["edition"] == 2
    in_use = (await page.told(admin, "Forms", filter={"search": "Second"}))["edges"]
    assert [(edge["node"]["id"], edge["node"]["replacedAt"]) for edge in in_use] == [(revised["id"], None)]
    [consent] = (await doctor.gql(CONSENTS, filter={"patientId": desk.patient, "state": "LIVE"})).data["consents"][
        "edges"
    ][1:]
    assert consent["node"]["template"]["edition"] == 1, "what was given holds"


async def _moved(clinic: Any, appointment: dict[str, Any], start: str, status: str) -> None:
    """Lets an appointment have been at another time, in the past, and end as it did."""
    begins = instant(start)
    times = {"starts_at": begins, "ends_at": begins + timedelta(minutes=15), "status": status}
    async with tenant_scope(clinic.ref):
        await Appointment.guarded().update_one(
            {"_id": ObjectId(appointment["id"])}, {"$set": times, "$unset": {"claims": ""}}
        )
