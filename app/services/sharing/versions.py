"""Which demographics were changed, by whom, and what they were: written in the transaction of the change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.services.changes import Row, change_row
from app.services.portal.accounts import CONTACT, follow
from app.tenancy.crossing import neighbour_scope, other_clinics
from app.tenancy.scope import current_scope
from models import Patient, PatientVersion
from models.sharing import DemographicsBefore

KEPT = tuple(DemographicsBefore.model_fields)
"""The columns whose former values are kept."""


Moved = Callable[[Row, Row, AsyncClientSession], Awaitable[None]]
"""Is told within the transaction where codes for the portal went and go: the account before, the patient after."""


async def change_demographics(
    patient_id: ObjectId, version: int, values: Mapping[str, Any], moved: Moved | None = None
) -> Row:
    """As `change_row` for a patient; what was there before is kept, at each clinic that shares the patient.

    A change that changes nothing leaves no version behind. Codes for the portal of this clinic, and of no other, follow
    changed contact data.
    """

    async def work(session: AsyncClientSession) -> Row:
        return await changed_demographics(patient_id, version, values, session, moved)

    return await in_transaction(work)


async def changed_demographics(
    patient_id: ObjectId,
    version: int,
    values: Mapping[str, Any],
    session: AsyncClientSession,
    moved: Moved | None = None,
) -> Row:
    """As `change_demographics`, within a transaction."""
    before = await Patient.rows({"_id": patient_id}, projection=dict.fromkeys(KEPT, 1), limit=1, session=session)
    row = await change_row(Patient, patient_id, version, values, session=session)
    changed = [name for name in KEPT if name in values and before[0].get(name) != row.get(name)]
    if changed:
        await _keep(row, {name: before[0].get(name) for name in changed}, session)
    if set(changed) & set(CONTACT) and (account := await follow(row, session)) is not None and moved is not None:
        await moved(account, row, session)
    return row


async def _keep(row: Row, before: Row, session: AsyncClientSession) -> None:
    actor = current_scope().actor
    about: dict[str, Any] = {
        "patient_id": row["_id"],
        "patient_version": row["version"],
        "at": row["updated_at"],
        "fields": list(before),
        "before": before,
    }
    own = {"user_id": actor.user_id, "person_name": actor.name[:200]} if actor else {}
    await PatientVersion.model_validate({**about, **own}).insert(session=session)
    for clinic in await other_clinics(row["_id"], session=session):
        async with neighbour_scope(clinic, action="patient.changed", session=session) as there:
            if there is not None:
                await PatientVersion.model_validate({**about, "elsewhere": True}).insert(session=session)
