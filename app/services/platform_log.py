"""The platform's audit: what was done above the clinics, by whom and why."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from beanie import Document
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.services.changes import checked
from app.services.log_filters import filtered
from app.tenancy.scope import current_scope, scope_or_none
from models import OperatorEntry, PlatformAudit

COMMAND = "command"
"""Who acts where nobody is signed in: whoever runs commands on the server itself."""


def reason_of(text: str) -> str:
    """The reason as it is stored. Raises VALIDATION_FAILED at `input.reason` unless it has 10 to 500 characters."""
    checked_reason: str = checked(OperatorEntry, {"reason": text})["reason"]
    return checked_reason


async def note_act(
    action: str,
    reason: str,
    *,
    clinic_id: ObjectId | None = None,
    subject: Document | None = None,
    session: AsyncClientSession,
) -> None:
    """Notes an act of the scope's actor in the transaction of `session`, and so if and only if it is done."""
    scope = current_scope()
    await PlatformAudit(
        actor=str(scope.actor.user_id) if scope.actor else COMMAND,
        action=action,
        reason=reason,
        tenant=clinic_id,
        subject=f"{subject.get_collection_name()}/{subject.id}" if subject is not None else None,
        request_id=scope.request_id,
        address=scope.address,
    ).insert(session=session)


async def note_work(actor: str, action: str, reason: str, clinic_id: ObjectId | None = None) -> None:
    """Notes a step of long work on a clinic or, without one, on the installation, which no transaction spans. `actor`
    is whoever asked for it."""
    scope = scope_or_none()
    await PlatformAudit(
        actor=actor,
        action=action,
        reason=reason,
        tenant=clinic_id,
        request_id=scope.request_id if scope else COMMAND,
        address=scope.address if scope else "",
    ).insert()


def listed(
    *,
    tenant_id: ObjectId | None,
    actor: str | None,
    action: str | None,
    start: datetime | None,
    end: datetime | None,
) -> dict[str, Any]:
    """The filter of the platform's audit. Raises VALIDATION_FAILED at `filter.…`."""
    where = filtered({"actor": actor, "action": action}, start, end)
    if tenant_id is not None:
        where["tenant"] = tenant_id
    return where
