"""Memberships of patients: sold, renewed and ended. What one gives, `coverage` applies when an invoice is made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import in_turn
from app.errors import Conflict, FieldError, InvalidState, NotFound, ValidationFailed
from app.services import catalog
from app.services.billing.coverage import today
from app.services.billing.invoices import actor_id, drafted
from app.services.billing.lines import number_in, ordered
from app.services.changes import Row, another_version, build, change_row, row_of, storable
from app.services.references import check_references
from app.services.scheduling.claims import check_year
from app.services.settings import require_own_currency
from app.services.states import advance, refused, state_of
from models import MembershipPlan, PatientMembership, Service, Specialization
from models.patient_membership import MAX_PERIODS, MembershipState, Period


async def create_plan(values: Mapping[str, Any]) -> Row:
    """Stores a plan; answers with its row. Raises as `catalog.create` does, also at `input.discounts.…`."""
    await _check_plan(values)
    return await catalog.create(MembershipPlan, values)


async def change_plan(id: ObjectId, version: int, changes: Mapping[str, Any]) -> Row:
    """Changes a plan, for those who have it already too; answers with its new row."""
    await _check_plan(changes)
    return await catalog.change(MembershipPlan, id, version, changes)


async def _check_plan(values: Mapping[str, Any]) -> None:
    """What a plan gives is of this clinic, and its price in the clinic's currency."""
    discounts, included = values.get("discounts") or (), values.get("included") or ()
    missing = await _missing(Service, "service_id", {"discounts": discounts, "included": included})
    missing += await _missing(Specialization, "specialization_id", {"discounts": discounts})
    if missing:
        raise NotFound(fields=missing)
    services = [one["service_id"] for one in included]
    if len(set(services)) < len(services):
        raise ValidationFailed.at("input.included", "names a service twice")
    if "price" in values:
        await require_own_currency(values["price"]["currency"], at="input.price.currency")


async def _missing(model: Any, column: str, lists: Mapping[str, Any]) -> list[FieldError]:
    """Where the rules of a plan point to documents that the clinic does not have."""
    name = "serviceId" if column == "service_id" else "specializationId"
    places = {
        f"input.{of}.{place}.{name}": rule[column]
        for of, rules in lists.items()
        for place, rule in enumerate(rules)
        if rule.get(column) is not None
    }
    ids = list(set(places.values()))
    rows = await model.rows({"_id": {"$in": ids}}, projection={"_id": 1}) if ids else []
    known = {row["_id"] for row in rows}
    return [FieldError(path, "Not found.") for path, id in places.items() if id not in known]


def last_day(first: date, months: int) -> date:
    """The day before the same day so many months later; a month that has no such day ends with its last one.

    >>> last_day(date(2026, 1, 31), 1), last_day(date(2026, 3, 15), 12)
    (datetime.date(2026, 2, 28), datetime.date(2027, 3, 14))
    """
    years, month = divmod(first.month - 1 + months, 12)
    try:
        return first.replace(year=first.year + years, month=month + 1) - timedelta(days=1)
    except ValueError:
        following = date(first.year + years + (month + 1) // 12, (month + 1) % 12 + 1, 1)
        return following - timedelta(days=1)


async def enroll(patient_id: ObjectId, plan_id: ObjectId, starts_on: date | None) -> Row:
    """Gives a patient a membership, with a draft invoice for its price; answers with the membership's row.

    Raises NOT_FOUND at `input.patientId` or `input.planId`, CONFLICT when the patient has one already.
    """
    if starts_on is not None:
        check_year(starts_on, "input.startsOn")
    await check_references(PatientMembership, {"patient_id": patient_id, "plan_id": plan_id}, at="input")
    plan = await _plan(plan_id)
    if plan.get("archived_at") is not None:
        raise ValidationFailed.at("input.planId", "is not sold any more")
    first = starts_on or date.fromisoformat(today())
    period = _period(first, plan)
    membership: PatientMembership = build(
        PatientMembership,
        {
            "id": ObjectId(),
            "patient_id": patient_id,
            "plan_id": plan_id,
            "starts_on": period.starts_on,
            "ends_on": period.ends_on,
            "periods": [period],
            "created_by": actor_id(),
        },
    )

    async def work(session: AsyncClientSession) -> Row:
        await membership.insert(session=session)
        await _ask_for_price(plan, row_of(membership), session)
        return row_of(membership)

    try:
        return await in_turn(patient_id, work)
    except DuplicateKeyError:
        raise Conflict(
            "The patient has a membership already: renew or cancel it.",
            [FieldError("input.patientId", "has a membership already")],
        ) from None


async def renew(id: ObjectId, version: int) -> Row:
    """Adds the next period: from the day after the present one, or from today when that is over; a draft invoice asks
    for the price. Answers with the new row.

    Raises NOT_FOUND at `input.id`, INVALID_STATE for a cancelled one or one with a period to come, or CONFLICT.
    """
    row = await _stored(id)
    if row["status"] != MembershipState.ACTIVE.value:
        raise refused(PatientMembership, state_of(PatientMembership, row))
    if row["version"] != version:
        raise another_version()
    if (row["periods"] and row["periods"][-1]["starts_on"] > today()) or len(row["periods"]) >= MAX_PERIODS:
        raise InvalidState("The membership has a period to come already.")
    plan = await _plan(row["plan_id"])
    period = _period(_next_day(row), plan)

    async def work(session: AsyncClientSession) -> Row:
        values = {
            "starts_on": period.starts_on if row["ends_on"] < today() else row["starts_on"],
            "ends_on": period.ends_on,
            "periods": [*row["periods"], storable(period)],
        }
        renewed = await change_row(PatientMembership, id, version, values, session=session)
        await _ask_for_price(plan, renewed, session)
        return renewed

    return await in_turn(row["patient_id"], work)


def _next_day(row: Row) -> date:
    following = date.fromisoformat(row["ends_on"]) + timedelta(days=1)
    return max(following, date.fromisoformat(today()))


async def cancel(id: ObjectId, version: int, reason: str) -> Row:
    """Ends a membership at once; invoices that it was applied to stay as they are. Answers with the new row."""
    return await advance(PatientMembership, id, version, MembershipState.CANCELLED, reason=reason)


def _period(first: date, plan: Row) -> Period:
    ends = last_day(first, plan["period_months"])
    return Period(starts_on=first.isoformat(), ends_on=ends.isoformat(), by=actor_id())


async def _ask_for_price(plan: Row, membership: Row, session: AsyncClientSession) -> None:
    """A draft invoice for the price of a plan, if it has one."""
    price = {"amount": number_in(plan["price"], "amount"), "currency": plan["price"]["currency"]}
    if not price["amount"]:
        return
    line = {"description": plan["name"], "unit_price": price, "tax_rate": number_in(plan, "tax_rate")}
    order = await ordered([line], None, session=session)
    await drafted(order, membership["patient_id"], {"membership_id": membership["_id"]}, None, session)


async def _plan(id: ObjectId) -> Row:
    rows: list[Row] = await MembershipPlan.rows({"_id": id}, limit=1)
    if not rows:
        raise NotFound.at("input.planId")
    return rows[0]


async def _stored(id: ObjectId) -> Row:
    rows: list[Row] = await PatientMembership.rows({"_id": id}, limit=1)
    if not rows:
        raise NotFound.at("input.id")
    return rows[0]
