"""Mails to a clinic's admins before and after its plan ends, each sent once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession

from app.config import Settings
from app.db.transactions import in_transaction
from app.permissions import ADMIN
from app.plans import GRACE
from app.services.mailing import Letter, host_url, language_of, letter
from app.services.outbox import enqueue_mail
from app.services.subscription import keeping
from app.tenancy.scope import TenantRef, current_scope
from models import Membership, Tenant, User
from models.tenant import Language, SubscriptionStatus
from models.user import MembershipStatus, UserStatus
from models.values import now

MOST_MARKS = 20
MOST_ADMINS = 20


class Reminder(StrEnum):
    """What a clinic is told."""

    TRIAL_ENDS = "trial_ends"
    TRIAL_ENDS_TOMORROW = "trial_ends_tomorrow"
    PLAN_ENDS = "plan_ends"
    PAYMENT_LATE = "payment_late"
    ENDED = "ended"


_TOLD = {
    Reminder.TRIAL_ENDS: timedelta(days=3),
    Reminder.TRIAL_ENDS_TOMORROW: timedelta(days=1),
    Reminder.PLAN_ENDS: timedelta(days=7),
}
"""So long before the end."""
LATE = timedelta(days=1)
"""What renews itself is taken in the course of a day."""

_WORDS: Mapping[Language, Mapping[Reminder, tuple[str, str]]] = {
    Language.EN: {
        Reminder.TRIAL_ENDS: ("Your trial ends soon", "The trial of {clinic} ends on {day}. Choose a plan to go on:"),
        Reminder.TRIAL_ENDS_TOMORROW: (
            "Your trial ends within a day",
            "The trial of {clinic} ends on {day}. Choose a plan to go on:",
        ),
        Reminder.PLAN_ENDS: ("Your plan ends soon", "The plan of {clinic} is paid until {day}. Renew it here:"),
        Reminder.PAYMENT_LATE: (
            "A payment is late",
            "The plan of {clinic} was paid until {day}. It goes on until {grace}; pay it here:",
        ),
        Reminder.ENDED: (
            "Your plan has ended",
            "The plan of {clinic} has ended. Everything can still be read and exported. Renew it here to go on:",
        ),
    },
    Language.ES: {
        Reminder.TRIAL_ENDS: (
            "Su prueba termina pronto",
            "La prueba de {clinic} termina el {day}. Elija un plan para continuar:",
        ),
        Reminder.TRIAL_ENDS_TOMORROW: (
            "Su prueba termina en un día",
            "La prueba de {clinic} termina el {day}. Elija un plan para continuar:",
        ),
        Reminder.PLAN_ENDS: (
            "Su plan termina pronto",
            "El plan de {clinic} está pagado hasta el {day}. Renuévelo aquí:",
        ),
        Reminder.PAYMENT_LATE: (
            "Hay un pago pendiente",
            "El plan de {clinic} estaba pagado hasta el {day}. Sigue hasta el {grace}; páguelo aquí:",
        ),
        Reminder.ENDED: (
            "Su plan ha terminado",
            "El plan de {clinic} ha terminado. Todo se puede leer y exportar. Renuévelo aquí para continuar:",
        ),
    },
}
_BUTTON = {Language.EN: "Choose a plan", Language.ES: "Elegir un plan"}


def reminder_at(subscription: Mapping[str, Any], moment: datetime) -> Reminder | None:
    """What a clinic with this stored subscription should have been told by that moment, if anything."""
    ends, status = subscription.get("expires_at"), subscription.get("status", SubscriptionStatus.TRIAL.value)
    if ends is None or status == SubscriptionStatus.CANCELLED.value:
        return None
    if status == SubscriptionStatus.TRIAL.value:
        if moment >= ends:
            return None  # it is about to be noted as expired
        left = ends - moment
        for one in (Reminder.TRIAL_ENDS_TOMORROW, Reminder.TRIAL_ENDS):
            if left <= _TOLD[one]:
                return one
        return None
    if status == SubscriptionStatus.ACTIVE.value:
        near = moment < ends <= moment + _TOLD[Reminder.PLAN_ENDS]
        return Reminder.PLAN_ENDS if near and subscription.get("renewal_at") is None else None
    if status == SubscriptionStatus.PAST_DUE.value:
        return Reminder.PAYMENT_LATE if moment >= ends + LATE else None
    return Reminder.ENDED


async def remind(settings: Settings) -> Mapping[str, int]:
    """Tells the admins of the clinic in scope what they should know by now, once; how many mails that were."""
    subscription = await keeping.stored()
    reminder = reminder_at(subscription, now())
    if reminder is None:
        return {}
    mark = f"{reminder.value}:{subscription['expires_at']:%Y%m%dT%H%M%S}"
    if mark in (subscription.get("reminded") or ()):
        return {}
    tenant = current_scope().tenant
    assert tenant is not None  # noqa: S101 - a job of each clinic

    async def work(session: AsyncClientSession) -> int:
        done = await Tenant.guarded().update_one(
            {"_id": tenant.id, "subscription.reminded": {"$ne": mark}},
            {"$push": {"subscription.reminded": {"$each": [mark], "$slice": -MOST_MARKS}}},
            session=session,
        )
        if not done.matched_count:  # another run was faster
            return 0
        said = _letter(reminder, await language_of(tenant, session), subscription["expires_at"], tenant, settings)
        addresses = await _admins(session)
        for address in addresses:
            await enqueue_mail(said, to=address, kind="subscription", tenant=tenant, settings=settings, session=session)
        return len(addresses)

    return {"reminded": await in_transaction(work)}


def _letter(reminder: Reminder, language: Language, ends: datetime, tenant: TenantRef, settings: Settings) -> Letter:
    subject, text = _WORDS[language][reminder]
    filled = {"clinic": tenant.name, "day": f"{ends:%Y-%m-%d}", "grace": f"{ends + GRACE:%Y-%m-%d}"}
    link = (_BUTTON[language], f"{host_url(settings, tenant)}/subscription")
    return letter(language, subject, [text.format(**filled)], link=link, signed="Polyclinic")


async def _admins(session: AsyncClientSession) -> list[str]:
    """The addresses of the clinic's admins who can sign in."""
    here = {"clinic_id": current_scope().tenant_id, "role": ADMIN, "status": MembershipStatus.ACTIVE.value}
    rows = await Membership.rows(here, projection={"user_id": 1}, sort=[("_id", 1)], limit=MOST_ADMINS, session=session)
    able = {"_id": {"$in": [row["user_id"] for row in rows]}, "status": UserStatus.ACTIVE.value}
    return [row["email"] for row in await User.rows(able, projection={"email": 1}, session=session)]
