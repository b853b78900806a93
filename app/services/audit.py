"""Writes who did what at a clinic."""

from __future__ import annotations

from beanie import Document
from pymongo.asynchronous.client_session import AsyncClientSession

from app.tenancy.scope import current_scope
from models import AuditEntry


async def record(action: str, *, subject: Document | None = None, session: AsyncClientSession | None = None) -> None:
    """Adds an entry for the scope's actor at the scope's clinic. `subject` is named by collection and id."""
    scope = current_scope()
    entry = AuditEntry(
        user_id=scope.actor.user_id if scope.actor else None,
        action=action,
        subject=f"{subject.get_collection_name()}/{subject.id}" if subject is not None else None,
        request_id=scope.request_id,
        address=scope.address,
    )
    await entry.insert(session=session)
