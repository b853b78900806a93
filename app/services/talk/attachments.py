"""Documents that a message or comment brings along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from beanie import PydanticObjectId
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import FieldError, Forbidden, NotFound, ValidationFailed
from app.permissions import Permission
from app.tenancy.scope import current_scope
from models import ClinicDocument
from models.conversation import MOST_ATTACHMENTS, Attachment
from models.values import now


async def attached(ids: Sequence[ObjectId], where: Mapping[str, Any]) -> list[Attachment]:
    """The attachments for documents that are not archived and match `where`, in the order of `ids`.

    Raises NOT_FOUND at `input.documentIds.N` for others, VALIDATION_FAILED for too many, and FORBIDDEN for staff who
    may not read documents or, where `where` narrows them to those of a patient, who sees them then, not share them.
    """
    if ids and (actor := current_scope().actor) is not None:
        needed = Permission.DOCUMENT_WRITE if where else Permission.DOCUMENT_READ
        if needed not in actor.permissions:
            raise Forbidden(f"This needs the permission {needed.value}.")
    if len(ids) > MOST_ATTACHMENTS:
        raise ValidationFailed.at("input.documentIds", f"must be at most {MOST_ATTACHMENTS}")
    if not ids:
        return []
    rows = await ClinicDocument.rows(
        {"_id": {"$in": list(ids)}, "archived_at": None, **where},
        projection=["title", "current.content_type", "current.size"],
    )
    found = {row["_id"]: row for row in rows}
    missing = [FieldError(f"input.documentIds.{at}", "Not found.") for at, one in enumerate(ids) if one not in found]
    if missing:
        raise NotFound(fields=missing)
    return [
        Attachment(
            document_id=PydanticObjectId(one),
            title=found[one]["title"],
            content_type=found[one]["current"]["content_type"],
            size=found[one]["current"]["size"],
        )
        for one in dict.fromkeys(ids)
    ]


async def share_attached(attachments: Sequence[Attachment], session: AsyncClientSession) -> None:
    """What is sent to a patient is shared with them."""
    if attachments:
        await ClinicDocument.guarded().update_many(
            {"_id": {"$in": [one.document_id for one in attachments]}, "shared_at": None},
            {"$set": {"shared_at": now(), "updated_at": now()}, "$inc": {"version": 1}},
            session=session,
        )
