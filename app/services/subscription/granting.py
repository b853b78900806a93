"""Plans that those who run the system give to clinics, by command, noted in the platform's audit."""

from __future__ import annotations

from datetime import datetime, timedelta

from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import ValidationFailed
from app.plans import PlanName
from app.services.changes import Row, storable
from app.services.platform_log import note_act, reason_of
from app.services.subscription import keeping
from app.services.subscription.course import Course
from app.tenancy.crossing import tenant_scope
from models import SubscriptionPayment, Tenant
from models.tenant import PlanGrant
from models.values import now

LONGEST = timedelta(days=3_650)
"""No gift is for longer."""


async def grant(tenant: Tenant, plan: PlanName, until: datetime, reason: str) -> Course:
    """Gives a clinic a plan until then, beside whatever it pays; it takes the place of an earlier grant.

    Raises VALIDATION_FAILED at `input.plan`, `input.until` or `input.reason`.
    """
    said = reason_of(reason)
    if plan is PlanName.TRIAL:
        raise ValidationFailed.at("input.plan", "cannot be given: every clinic begins with it")
    if until <= (moment := now()):
        raise ValidationFailed.at("input.until", "must lie ahead")
    if until > moment + LONGEST:
        raise ValidationFailed.at("input.until", f"must lie within {LONGEST.days} days")
    given = storable(PlanGrant(plan=plan, until=until))

    async def work(session: AsyncClientSession) -> Course:
        await note_act("subscription.grant", said, clinic_id=tenant.key, session=session)
        async with tenant_scope(tenant):
            return await keeping.renew("given by those who run the system", session, values={"grant": given})

    return await in_transaction(work)


async def revoke(tenant: Tenant, reason: str) -> Course:
    """Takes a grant back at once: from then on counts what the clinic pays. Raises as `grant` does."""
    said = reason_of(reason)

    async def work(session: AsyncClientSession) -> Course:
        await note_act("subscription.revoke", said, clinic_id=tenant.key, session=session)
        async with tenant_scope(tenant):
            return await keeping.renew("grant taken back", session, values={"grant": None})

    return await in_transaction(work)


async def shown(tenant: Tenant) -> tuple[Row, list[Row]]:
    """The subscription of a clinic as it stands now, and its latest payments."""
    async with tenant_scope(tenant):
        payments = await SubscriptionPayment.rows({}, sort=[("paid_at", -1), ("_id", -1)], limit=50)
        return await keeping.standing_now(), payments
