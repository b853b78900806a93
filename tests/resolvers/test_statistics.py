"""Figures: on the clinic's own days whatever the clocks do, of the clinic alone, and each counted once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from models import Appointment, Invoice, Payment, QueueEntry, Visit
from models.appointment import AppointmentStatus
from models.queue import QueueStatus
from models.visit import VisitStatus
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.desks import Desk, OpenDesk
from tests.fixtures.tills import INVOICE, NOTE, PAYMENT, Cashier, OpenTill, usd

FIGURES = """query($from: Date!, $to: Date!, $by: StatisticsBy, $doctorId: ID) {
    statistics(from: $from, to: $to, by: $by, doctorId: $doctorId) {
      rows { day doctor { id } ...N } total { ...N } } }
    fragment N on StatisticsRow {
      appointments fulfilled noShows cancelled noShowPercent walkIns served left
      averageWaitMinutes longestWaitMinutes }"""
EARNED = """query($from: Date!, $to: Date!, $by: StatisticsBy, $doctorId: ID) {
    statistics(from: $from, to: $to, by: $by, doctorId: $doctorId) {
      rows { day doctor { id } service { id } visits ...M } total { visits ...M } } }
    fragment M on StatisticsRow { billed { amount currency } received { amount currency } }"""
UPDATE_ROLE = "mutation($input: UpdateRoleInput!) { updateRole(input: $input) { id } }"
SPRING = "2030-03-10"
"""In New York the clocks go forward: a day of 23 hours."""


async def asked(client: Client, first: str, last: str, **more: Any) -> dict[str, Any]:
    shown: dict[str, Any] = (await client.gql(FIGURES, **{"from": first, "to": last}, **more)).data["statistics"]
    return shown


async def seen(desk: Desk, start: datetime, status: AppointmentStatus = AppointmentStatus.FULFILLED) -> None:
    async with tenant_scope(desk.clinic.ref):
        await Appointment(
            patient_id=desk.patient_id,
            doctor_id=desk.doctor_id,
            starts_at=start,
            ends_at=start + timedelta(minutes=15),
            status=status,
        ).insert()


async def waited(desk: Desk, day: str, minutes: int | None, **more: Any) -> None:
    since = datetime.fromisoformat(f"{day}T15:00:00+00:00")
    called = since + timedelta(minutes=minutes) if minutes is not None else None
    values = {"status": QueueStatus.DONE if called else QueueStatus.LEFT, "ticket": 1, "called_at": called, **more}
    async with tenant_scope(desk.clinic.ref):
        await QueueEntry(
            patient_id=desk.patient_id,
            queue_key=f"doctor:{desk.doctor}",
            doctor_id=desk.doctor_id,
            day=day,
            waiting_since=since,
            **values,
        ).insert()


@pytest.fixture
async def office(make_clinic: MakeClinic, open_desk: OpenDesk, server: Server) -> tuple[Desk, Client]:
    """A desk of a clinic of its own, and its admin."""
    clinic = await make_clinic()
    return await open_desk(clinic), await server.sign_in(clinic)


async def test_days_are_the_clinics_own_also_when_the_clocks_change(office: tuple[Desk, Client]) -> None:
    desk, admin = office
    for instant in (
        datetime(2030, 3, 10, 4, 59, tzinfo=UTC),  # 23:59 on the 9th
        datetime(2030, 3, 10, 5, 0, tzinfo=UTC),  # 00:00 on the 10th
        datetime(2030, 3, 11, 3, 59, tzinfo=UTC),  # 23:59 on the 10th, an hour earlier than the day before
        datetime(2030, 3, 11, 4, 0, tzinfo=UTC),  # 00:00 on the 11th
    ):
        await seen(desk, instant)

    shown = await asked(admin, "2030-03-09", "2030-03-11")
    one = await asked(admin, SPRING, SPRING)

    assert [(row["day"], row["appointments"]) for row in shown["rows"]] == [
        ("2030-03-09", 1),
        (SPRING, 2),
        ("2030-03-11", 1),
    ]
    assert one["total"]["appointments"] == 2


async def test_what_became_of_appointments_is_counted_and_errors_are_not(office: tuple[Desk, Client]) -> None:
    desk, admin = office
    start = datetime(2030, 5, 6, 15, tzinfo=UTC)
    for at, status in enumerate(AppointmentStatus):
        await seen(desk, start + timedelta(minutes=15 * at), status)

    total = (await asked(admin, "2030-05-06", "2030-05-06"))["total"]

    assert total["appointments"] == len(AppointmentStatus) - 1
    assert (total["fulfilled"], total["noShows"], total["cancelled"], total["noShowPercent"]) == (2, 1, 1, "33.3")


async def test_waiting_times_are_of_those_who_were_called(office: tuple[Desk, Client]) -> None:
    desk, admin = office
    appointment = ObjectId()
    await waited(desk, "2030-05-06", 10)
    await waited(desk, "2030-05-06", 30, ticket=2, appointment_id=appointment)
    await waited(desk, "2030-05-06", None, ticket=3)

    total = (await asked(admin, "2030-05-06", "2030-05-06"))["total"]
    none = (await asked(admin, "2030-05-07", "2030-05-07"))["total"]

    assert (total["walkIns"], total["served"], total["left"]) == (2, 2, 1)
    assert (total["averageWaitMinutes"], total["longestWaitMinutes"]) == (20, 30)
    assert (none["averageWaitMinutes"], none["noShowPercent"]) == (None, None)


async def test_figures_by_doctor_add_up_to_those_by_day(office: tuple[Desk, Client], open_desk: OpenDesk) -> None:
    desk, admin = office
    other = await open_desk(desk.clinic)
    for turn in range(3):
        await seen(desk, datetime(2030, 6, 3 + turn, 15, tzinfo=UTC))
    await seen(other, datetime(2030, 6, 4, 15, tzinfo=UTC), AppointmentStatus.NO_SHOW)
    await waited(other, "2030-06-05", 12)

    by_day = await asked(admin, "2030-06-01", "2030-06-30")
    by_doctor = await asked(admin, "2030-06-01", "2030-06-30", by="DOCTOR")
    alone = await asked(admin, "2030-06-01", "2030-06-30", doctorId=other.doctor)

    assert by_day["total"] == by_doctor["total"]
    assert len(by_day["rows"]) == 30
    assert [(row["doctor"]["id"], row["appointments"]) for row in by_doctor["rows"]] == [
        (desk.doctor, 3),
        (other.doctor, 1),
    ]
    assert (alone["total"]["appointments"], alone["total"]["averageWaitMinutes"]) == (1, 12)


async def test_one_clinics_figures_hold_nothing_of_another(
    office: tuple[Desk, Client], open_desk: OpenDesk, clinic_b: Clinic
) -> None:
    _, admin = office
    stranger = await open_desk(clinic_b)
    await seen(stranger, datetime(2030, 7, 1, 15, tzinfo=UTC))
    await waited(stranger, "2030-07-01", 45)

    for more in ({}, {"by": "DOCTOR"}, {"doctorId": stranger.doctor}):
        total = (await asked(admin, "2030-07-01", "2030-07-01", **more))["total"]
        assert (total["appointments"], total["served"], total["longestWaitMinutes"]) == (0, 0, None)


async def test_a_span_is_bounded(office: tuple[Desk, Client]) -> None:
    _, admin = office

    for first, last in (("2030-01-02", "2030-01-01"), ("2030-01-01", "2031-01-02")):
        answer = await admin.gql(FIGURES, **{"from": first, "to": last})
        assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["to"])
    assert len((await asked(admin, "2030-01-01", "2031-01-01"))["rows"]) == 366


# --- visits and money -------------------------------------------------------------------------------------------------


async def earned(client: Client, first: str, last: str, **more: Any) -> dict[str, Any]:
    shown: dict[str, Any] = (await client.gql(EARNED, **{"from": first, "to": last}, **more)).data["statistics"]
    return shown


async def visited(desk: Desk, start: datetime, status: VisitStatus = VisitStatus.SIGNED) -> str:
    async with tenant_scope(desk.clinic.ref):
        visit = Visit(patient_id=desk.patient_id, doctor_id=desk.doctor_id, started_at=start, status=status)
        return str((await visit.insert()).id)


async def moved(desk: Desk, model: Any, id: str, **values: Any) -> None:
    """Lets a document be of another time, or currency."""
    async with tenant_scope(desk.clinic.ref):
        await model.guarded().update_one({"_id": ObjectId(id)}, {"$set": values})


async def billed(till: Cashier, desk: Desk, at: datetime, *lines: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An invoice of the desk's patient, issued then."""
    made = await till.done("createInvoice", INVOICE, patientId=desk.patient, lines=list(lines), **more)
    issued = await till.done("issueInvoice", INVOICE, id=made["id"], version=1)
    await moved(desk, Invoice, issued["id"], dated_at=at, issued_at=at)
    return issued


def line(amount: str, **more: Any) -> dict[str, Any]:
    return {"description": "Visit", "unitPrice": usd(amount), **more}


async def test_visits_are_counted_on_the_clinics_days_and_errors_are_not(office: tuple[Desk, Client]) -> None:
    desk, admin = office
    for instant in (
        datetime(2030, 3, 10, 5, 0, tzinfo=UTC),  # 00:00 on the 10th
        datetime(2030, 3, 11, 3, 59, tzinfo=UTC),  # 23:59 on the 10th, a day of 23 hours
        datetime(2030, 3, 11, 4, 0, tzinfo=UTC),
    ):
        await visited(desk, instant)
    await visited(desk, datetime(2030, 3, 10, 12, tzinfo=UTC), VisitStatus.ENTERED_IN_ERROR)

    shown = await earned(admin, SPRING, "2030-03-11")
    [doctor] = (await earned(admin, SPRING, "2030-03-11", by="DOCTOR"))["rows"]

    assert [(row["day"], row["visits"]) for row in shown["rows"]] == [(SPRING, 2), ("2030-03-11", 1)]
    assert (doctor["doctor"]["id"], doctor["visits"], shown["total"]["visits"]) == (desk.doctor, 3, 3)


async def test_money_is_of_the_day_on_which_it_was_billed_and_of_that_on_which_it_came(
    office: tuple[Desk, Client], open_till: OpenTill
) -> None:
    desk, admin = office
    till = await open_till(desk.clinic)
    first = await billed(till, desk, datetime(2030, 3, 10, 5, tzinfo=UTC), line("100.00"))  # 00:00 on the 10th
    await billed(till, desk, datetime(2030, 3, 11, 4, tzinfo=UTC), line("7.50"))  # 00:00 on the 11th
    await till.draft(line("999.00"))
    paid = await till.paid(first, "60.00")
    await moved(desk, Payment, paid["id"], received_at=datetime(2030, 3, 12, 3, 59, tzinfo=UTC))  # 23:59 on the 11th
    back = await till.done(
        "refundPayment", PAYMENT, paymentId=paid["id"], amount=usd("10.00"), method="CASH", reason="Too much"
    )
    await moved(desk, Payment, back["id"], received_at=datetime(2030, 3, 12, 4, tzinfo=UTC))

    shown = await earned(admin, SPRING, "2030-03-12")

    assert [(row["day"], row["billed"], row["received"]) for row in shown["rows"]] == [
        (SPRING, [usd("100.00")], []),
        ("2030-03-11", [usd("7.50")], [usd("60.00")]),
        ("2030-03-12", [], [usd("-10.00")]),
    ]
    assert (shown["total"]["billed"], shown["total"]["received"]) == ([usd("107.50")], [usd("50.00")])


async def test_money_by_doctor_is_that_of_their_visits_and_by_service_that_of_its_lines(
    office: tuple[Desk, Client], open_desk: OpenDesk, open_till: OpenTill
) -> None:
    desk, admin = office
    till, day = await open_till(desk.clinic), datetime(2030, 5, 6, 15, tzinfo=UTC)
    service = await till.new_service("80.00")
    visit = await visited(desk, day)
    one = await billed(till, desk, day, {"serviceId": service}, line("5.00"), visitId=visit)
    await billed(till, desk, day, line("1.00"))
    note = {"invoiceId": one["id"], "lines": [{"number": 2}], "reason": "Not done"}
    await till.done("createCreditNote", NOTE, **note)

    by_doctor = await earned(admin, "2030-05-06", "2030-05-06", by="DOCTOR")
    by_service = await earned(admin, "2030-05-06", "2030-05-06", by="SERVICE")
    alone = await earned(admin, "2030-05-06", "2030-05-06", doctorId=desk.doctor)
    other = await earned(admin, "2030-05-06", "2030-05-06", doctorId=(await open_desk(desk.clinic)).doctor)

    assert {row["doctor"] and row["doctor"]["id"]: row["billed"] for row in by_doctor["rows"]} == {
        desk.doctor: [usd("80.00")],
        None: [usd("1.00")],
    }
    assert {row["service"] and row["service"]["id"]: row["billed"] for row in by_service["rows"]} == {
        service: [usd("80.00")],
        None: [usd("1.00")],
    }
    assert by_doctor["total"]["billed"] == by_service["total"]["billed"] == [usd("81.00")]
    assert (alone["total"]["billed"], other["total"]["billed"]) == ([usd("80.00")], [])


async def test_currencies_are_never_added_up(office: tuple[Desk, Client], open_till: OpenTill) -> None:
    desk, admin = office
    till, day = await open_till(desk.clinic), datetime(2030, 5, 6, 15, tzinfo=UTC)
    await billed(till, desk, day, line("1.00"))
    before = await billed(till, desk, day, line("3.00"))
    await moved(desk, Invoice, before["id"], currency="EUR")  # as those from before the clinic changed its own

    total = (await earned(admin, "2030-05-06", "2030-05-06"))["total"]

    assert total["billed"] == [{"amount": "3.00", "currency": "EUR"}, usd("1.00")]


async def test_money_is_for_those_with_the_right_to_revenue_and_the_rest_is_not(
    office: tuple[Desk, Client], open_till: OpenTill
) -> None:
    desk, admin = office
    accountant = (await open_till(desk.clinic)).client
    assert (await earned(accountant, SPRING, SPRING))["total"]["billed"] == []
    roles = (await admin.gql("{ roles { edges { node { id version name permissions } } } }")).data["roles"]["edges"]
    role = next(edge["node"] for edge in roles if edge["node"]["name"] == "accountant")
    rights = [right for right in role["permissions"] if right != "revenue:read"]
    changed = {"id": role["id"], "version": role["version"], "permissions": rights}
    assert not (await admin.gql(UPDATE_ROLE, input=changed)).errors

    for text in (EARNED, EARNED.replace("billed { amount currency }", "")):
        assert (await accountant.gql(text, **{"from": SPRING, "to": SPRING})).codes == ["FORBIDDEN"]
    assert (await asked(accountant, SPRING, SPRING))["total"]["appointments"] == 0


async def test_one_clinics_money_and_visits_hold_nothing_of_another(
    office: tuple[Desk, Client], open_desk: OpenDesk, open_till: OpenTill, clinic_b: Clinic
) -> None:
    _, admin = office
    stranger, till = await open_desk(clinic_b), await open_till(clinic_b)
    day = datetime(2030, 7, 1, 15, tzinfo=UTC)
    visit = await visited(stranger, day)
    invoice = await billed(till, stranger, day, line("5.00"), visitId=visit)
    paid = await till.paid(invoice, "5.00")
    await moved(stranger, Payment, paid["id"], received_at=day)

    for more in ({}, {"by": "DOCTOR"}, {"by": "SERVICE"}, {"doctorId": stranger.doctor}):
        total = (await earned(admin, "2030-07-01", "2030-07-01", **more))["total"]
        assert total == {"visits": 0, "billed": [], "received": []}
