"""What a patient's membership takes off the lines of an invoice, and how often its included services were used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.services.billing.lines import Order, number_in
from app.services.changes import Row
from app.services.scheduling.diary import clinic_zone
from models import MembershipPlan, PatientMembership
from models.invoice import PlanShare
from models.money import ZERO, Charge
from models.patient_membership import MembershipState
from models.values import now


@dataclass(frozen=True, slots=True)
class Coverage:
    """The charges with what the plan takes off them, and the share of each line that it covers."""

    charges: Sequence[Charge]
    shares: Sequence[PlanShare | None]


def today() -> str:
    """The clinic's own day, as text."""
    return now().astimezone(clinic_zone()).date().isoformat()


def in_force(day: str) -> Row:
    """The filter of memberships that give something on that day."""
    return {"status": MembershipState.ACTIVE.value, "starts_on": {"$lte": day}, "ends_on": {"$gte": day}}


async def cover(order: Order, patient_id: ObjectId, session: AsyncClientSession) -> Coverage:
    """Applies the membership that the patient has today, and notes what of its included services is used by that.

    Two invoices at once never use one included service twice: the second transaction starts anew.
    """
    day = today()
    found = await PatientMembership.rows({"patient_id": patient_id, **in_force(day)}, limit=1, session=session)
    since = period_on(found[0], day) if found else None
    plans = await MembershipPlan.rows({"_id": found[0]["plan_id"]}, limit=1, session=session) if since else []
    if since is None or not plans:
        return Coverage(order.charges, [None] * len(order.charges))
    reader = _Reader(found[0], plans[0], since, order.services)
    shares = [reader.share(line.service_id, line.quantity) for line in order.lines]
    if reader.taken:
        await _use(found[0], {(service, since): count for service, count in reader.taken.items()}, session)
    return Coverage([_less(charge, share) for charge, share in zip(order.charges, shares, strict=True)], shares)


def period_on(membership: Row, day: str) -> str | None:
    """The first day of the period of a membership that holds on that day."""
    holding = [one["starts_on"] for one in membership["periods"] if one["starts_on"] <= day <= one["ends_on"]]
    return max(holding, default=None)


class _Reader:
    """Reads a plan line by line; `taken` counts the included services that the lines use."""

    def __init__(self, membership: Row, plan: Row, since: str, services: Mapping[ObjectId, Row]) -> None:
        used = {one["service_id"]: one["used"] for one in membership.get("usage") or () if one["since"] == since}
        self._left = {one["service_id"]: one["count"] - used.get(one["service_id"], 0) for one in plan["included"]}
        self._membership, self._plan, self._since, self._services = membership, plan, since, services
        self.taken: Counter[ObjectId] = Counter()

    def share(self, service_id: Any, quantity: Decimal) -> PlanShare | None:
        if service_id is None:
            return None
        included = max(0, min(self._left.get(service_id, 0), int(quantity)))
        percent = self._percent(service_id)
        if not included and not percent:
            return None
        if included:
            self._left[service_id] -= included
            self.taken[service_id] += included
        return PlanShare(
            membership_id=self._membership["_id"],
            plan_name=self._plan["name"],
            since=self._since,
            included=Decimal(included),
            percent=percent,
        )

    def _percent(self, service_id: ObjectId) -> Decimal:
        """The best of the plan's discounts that fit the service."""
        of = self._services[service_id].get("specialization_id")
        fitting = [
            number_in(rule, "percent")
            for rule in self._plan["discounts"]
            if rule.get("service_id") in (None, service_id) and rule.get("specialization_id") in (None, of)
        ]
        return max(fitting, default=ZERO)


def _less(charge: Charge, share: PlanShare | None) -> Charge:
    return charge if share is None else replace(charge, included=share.included, plan_percent=share.percent)


Used = tuple[ObjectId, str]
"""A service, and the first day of the period in which it was used."""


async def _use(membership: Row, taken: Mapping[Used, int], session: AsyncClientSession) -> None:
    """Counts included services; negative numbers give them back. What periods before the last two used is forgotten."""
    counted: Counter[Used] = Counter()
    for one in membership.get("usage") or ():
        counted[one["service_id"], one["since"]] = one["used"]
    counted.update(taken)
    lately = {one["starts_on"] for one in membership["periods"][-2:]}
    usage = [
        {"service_id": service, "since": since, "used": used}
        for (service, since), used in counted.items()
        if used > 0 and since in lately
    ]
    await PatientMembership.change(membership["_id"], membership["version"], {"usage": usage}, session=session)


async def give_back(invoice: Row, session: AsyncClientSession) -> None:
    """Returns what an invoice used of included services to the period that they were taken from."""
    taken: dict[ObjectId, Counter[Used]] = {}
    for line in invoice["lines"]:
        share = line.get("coverage")
        if share is not None and (included := int(number_in(share, "included"))):
            taken.setdefault(share["membership_id"], Counter())[line["service_id"], share["since"]] -= included
    for membership_id, given in taken.items():
        for found in await PatientMembership.rows({"_id": membership_id}, limit=1, session=session):
            await _use(found, given, session)
