"""Any kind of document about a patient, as it could stand in a file: made from the models, so that a new one is there
by itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from bson import ObjectId

from app.services.merging.moving import movable
from app.services.scheduling.claims import claims_for
from app.tenancy.scope import current_scope
from models import Appointment, Erasure, OneTimeCode, PatientMerge, PortalAccount, PortalSession, PortalTicket
from models.base import TenantDocument
from models.references import Mark
from models.values import now
from tests.contracts._samples import Marker, Sampler

Row = dict[str, Any]

APART = (Erasure, PatientMerge, PortalAccount, PortalSession, OneTimeCode, PortalTicket)
"""What has rules of its own, and tests of its own."""
KINDS = [model for model in movable() if model not in APART]
PLAIN: Mapping[str, Row] = {
    "break_glass": {"ended_at": now()},
    "received_shares": {"known_as": None},
    "patient_memberships": {"status": "cancelled"},
    "lab_results": {"connection_id": None, "lab_message_id": None},
    "visits": {"appointment_id": None, "queue_entry_id": None},
    "prescriptions": {"replaces_id": None},
    "invoices": {"quote_id": None},
}
"""Values that keep samples from being in each other's way."""
_numbers = count(50_000_000)
_FIRST = now().replace(minute=0, second=0, microsecond=0)


class Filing:
    """Files documents of any kind for patients of the clinic in scope."""

    def __init__(self) -> None:
        self.marker = Marker.fresh("file")
        self.filed: list[tuple[type[TenantDocument], ObjectId, ObjectId]] = []
        """Kind, id and patient of each."""

    async def file(self, model: type[TenantDocument], patient: ObjectId, *, slot: int | None = None) -> ObjectId:
        """Stores one; `slot` puts an appointment at that place in the past, beside others there."""
        number = next(_numbers)
        values = Sampler(self.marker, number, lambda mark: self._point(mark, patient)).values(
            model, skip=("id", "tenant_id", "revision_id")
        )
        values |= PLAIN.get(model.guarded_name(), {})
        if model is Appointment:
            values |= _time(number, patient, slot)
        document = await model(**values).insert()
        self.filed.append((model, ObjectId(document.id), patient))
        return ObjectId(document.id)

    def _point(self, mark: Mark, patient: ObjectId) -> ObjectId:
        """A document of the same patient where there is one."""
        if mark.collection == "patients":
            return patient
        own = [id for model, id, whose in self.filed if model.guarded_name() == mark.collection and whose == patient]
        return own[-1] if own else ObjectId()


def _time(number: int, patient: ObjectId, slot: int | None) -> Row:
    start: datetime = (
        _FIRST - timedelta(days=2, hours=slot) if slot is not None else _FIRST + timedelta(hours=number % 90_000)
    )
    end = start + timedelta(minutes=15)
    tenant = str(current_scope().tenant_id)
    claims = claims_for(doctor=str(ObjectId()), room=None, patient=str(patient), tenant=tenant, start=start, end=end)
    return {"starts_at": start, "ends_at": end, "claims": claims}
