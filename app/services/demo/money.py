"""Makes up what a clinic's patients were asked to pay for their visits, and what they paid; plans, and a few quotes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from beanie import PydanticObjectId
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.services.billing.lines import Bill, Order, billed, charge_of
from app.services.billing.memberships import last_day
from app.services.billing.settling import state_after
from app.services.changes import build
from app.services.counters import next_numbers
from app.tenancy.scope import current_scope
from models import Appointment, Invoice, MembershipPlan, PatientMembership, Payment, Quote, Service
from models.appointment import AppointmentStatus
from models.billing import AskedLine, BillLine
from models.invoice import InvoiceLine, InvoiceStatus
from models.money import ZERO, rounded
from models.patient_membership import Period
from models.payment import PaymentMethod
from models.quote import QuoteStatus
from models.service import Price
from models.states import Step
from models.values import now, search_key

MOST_INVOICES = 150
_DUE = timedelta(days=14)
_METHODS = (PaymentMethod.CARD, PaymentMethod.CASH, PaymentMethod.TRANSFER)
_SHARES = (Decimal(1), Decimal("0.5"), ZERO)
"""Of an invoice: all of it, a half, or nothing paid."""
_PLANS = (("Basic care", "120.00", "10", 1), ("Family care", "240.00", "20", 2))
"""Name, price, percent off everything, and how many check-ups are included."""


async def add_money(
    appointments: Sequence[Appointment],
    services: Sequence[Service],
    clerk: PydanticObjectId | None,
    rng: Random,
    session: AsyncClientSession,
) -> None:
    """Stores invoices for the latest visits that took place, their payments, plans with members, and quotes."""
    visits = [one for one in appointments if one.status is AppointmentStatus.FULFILLED]
    visits = sorted(visits, key=lambda one: one.ends_at)[-MOST_INVOICES:]
    till = _Till(services, clerk, rng)
    if visits:
        numbers = await next_numbers("invoice", len(visits), session=session)
        invoices = [till.invoice(visit, number) for visit, number in zip(visits, numbers, strict=True)]
        await Invoice.insert_many(invoices, session=session)
        paid = [one for one in invoices if one.paid]
        receipts = await next_numbers("receipt", len(paid), session=session)
        payments = [till.payment(invoice, number) for invoice, number in zip(paid, receipts, strict=True)]
        await Payment.insert_many(payments, session=session)
    await _add_plans(till, [one.patient_id for one in visits], session)


async def _add_plans(till: _Till, patients: Sequence[ObjectId], session: AsyncClientSession) -> None:
    taken = {row["name_key"] for row in await MembershipPlan.rows({"archived_at": None}, session=session)}
    plans = [plan for plan in till.plans() if plan.name_key not in taken]
    if plans:
        await MembershipPlan.insert_many(plans, session=session)
    members = list(dict.fromkeys(patients))[:12]
    if plans and members:
        memberships = [till.membership(patient, plans[place % len(plans)]) for place, patient in enumerate(members)]
        await PatientMembership.insert_many(memberships, session=session)
    if members[:6]:
        numbers = await next_numbers("quote", len(members[:6]), session=session)
        quotes = [till.quote(patient, number) for patient, number in zip(members[:6], numbers, strict=True)]
        await Quote.insert_many(quotes, session=session)


class _Till:
    """Documents of the clinic in scope, not yet stored."""

    def __init__(self, services: Sequence[Service], clerk: PydanticObjectId | None, rng: Random) -> None:
        self._services = {service.id: service for service in services}
        self._clerk, self._rng, self._now = clerk, rng, now()
        tenant = current_scope().tenant
        self._currency = tenant.currency if tenant else "USD"
        self._zone = ZoneInfo(tenant.timezone if tenant else "UTC")

    def _bill(self, service: Service, kind: type[BillLine]) -> Bill[Any]:
        line = AskedLine(service_id=service.id, description=service.name, unit_price=service.price, tax_rate=ZERO)
        return billed(Order(self._currency, [line], [charge_of(line)], None), kind)

    def _step(self, status: str, at: datetime) -> Step:
        return Step(at=at, by=self._clerk, status=status)

    def invoice(self, visit: Appointment, number: int) -> Invoice:
        bill = self._bill(self._services[visit.service_id], InvoiceLine).values()
        share = self._rng.choices(_SHARES, (75, 10, 15))[0]
        paid = rounded(bill["total"] * share, self._currency)
        status = state_after(bill["total"] - paid, paid)
        steps = [self._step(InvoiceStatus.ISSUED.value, visit.ends_at)]
        if status is not InvoiceStatus.ISSUED:
            steps.append(self._step(status.value, visit.ends_at))
        values = {
            **bill,
            "id": ObjectId(),
            "patient_id": visit.patient_id,
            "number": f"INV-{number:06d}",
            "status": status,
            "paid": paid,
            "open": bill["total"] - paid,
            "history": steps,
            "version": len(steps) + 1,
            "due_on": (visit.ends_at + _DUE).astimezone(self._zone).date(),
            "created_by": self._clerk,
            **dict.fromkeys(("created_at", "updated_at", "dated_at", "issued_at"), visit.ends_at),
        }
        invoice: Invoice = build(Invoice, values, at="")
        return invoice

    def payment(self, invoice: Invoice, number: int) -> Payment:
        values = {
            "number": f"R-{number:06d}",
            "invoice_id": invoice.id,
            "patient_id": invoice.patient_id,
            "amount": invoice.paid,
            "currency": invoice.currency,
            "method": self._rng.choice(_METHODS),
            "received_by": self._clerk,
            **dict.fromkeys(("created_at", "updated_at", "received_at"), invoice.dated_at),
        }
        payment: Payment = build(Payment, values, at="")
        return payment

    def plans(self) -> list[MembershipPlan]:
        check = next((one for one in self._services.values() if one.code == "CHECK"), None)
        return [
            MembershipPlan(
                id=PydanticObjectId(),
                name=name,
                name_key=search_key(name),
                price=Price(amount=Decimal(price), currency=self._currency),
                period_months=12,
                discounts=[{"percent": Decimal(percent)}],  # type: ignore[list-item]
                included=[{"service_id": check.id, "count": count}] if check else [],  # type: ignore[list-item]
            )
            for name, price, percent, count in _PLANS
        ]

    def membership(self, patient: ObjectId, plan: MembershipPlan) -> PatientMembership:
        first = (self._now - timedelta(days=self._rng.randrange(0, 300))).astimezone(self._zone).date()
        period = Period(
            starts_on=first.isoformat(), ends_on=last_day(first, plan.period_months).isoformat(), by=self._clerk
        )
        values = {"patient_id": patient, "plan_id": plan.id, "created_by": self._clerk, "periods": [period]}
        days = {"starts_on": period.starts_on, "ends_on": period.ends_on}
        membership: PatientMembership = build(PatientMembership, {**values, **days}, at="")
        return membership

    def quote(self, patient: ObjectId, number: int) -> Quote:
        bill = self._bill(self._rng.choice(list(self._services.values())), BillLine).values()
        accepted = self._rng.random() < 0.3
        sent = self._now - timedelta(days=self._rng.randrange(1, 10))
        steps = [self._step(QuoteStatus.SENT.value, sent)]
        if accepted:
            steps.append(self._step(QuoteStatus.ACCEPTED.value, self._now))
        values = {
            **bill,
            "patient_id": patient,
            "number": f"Q-{number:06d}",
            "status": QuoteStatus.ACCEPTED if accepted else QuoteStatus.SENT,
            "valid_until": (sent + timedelta(days=30)).astimezone(self._zone).date(),
            "history": steps,
            "version": len(steps) + 1,
            "dated_at": sent,
            "sent_at": sent,
            "created_by": self._clerk,
        }
        quote: Quote = build(Quote, values, at="")
        return quote
