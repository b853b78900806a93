"""The people who may work at a clinic at once: as many as its plan has seats."""

from __future__ import annotations

from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import QuotaExceeded
from app.plans import Plan
from app.services.subscription.keeping import stored
from app.tenancy.directory import standing_of
from app.tenancy.scope import current_scope
from models import Membership
from models.user import MembershipStatus


async def take_seat(session: AsyncClientSession) -> None:
    """Raises QUOTA_EXCEEDED unless there is one seat more at the clinic in scope.

    Call it in a transaction that has written to the clinic (`memberships.one_at_a_time`): of two that take the last
    seat side by side one then starts over, and sees that it is taken. A seat is free again once its person has left or
    was disabled; nothing needs to be given back.
    """
    plan = standing_of(await stored(session)).plan
    if await seats_taken(session) >= plan.seats:
        raise QuotaExceeded(f"All {plan.seats} seats of the plan {plan.name.name} are taken.")


async def seats_taken(session: AsyncClientSession | None = None) -> int:
    """How many people may enter the clinic in scope at present."""
    working = {"clinic_id": current_scope().tenant_id, "status": MembershipStatus.ACTIVE.value}
    taken: int = await Membership.guarded().count_documents(working, session=session)
    return taken


async def require_room_in(plan: Plan) -> None:
    """Raises QUOTA_EXCEEDED when more people work at the clinic in scope than a plan has seats."""
    taken = await seats_taken()
    if taken > plan.seats:
        raise QuotaExceeded(f"{taken} people work here, and the plan {plan.name.name} has {plan.seats} seats.")
