"""Between which clinics a patient can be shared: those whose documents lie in the shared database."""

from __future__ import annotations

from app.errors import InvalidState
from app.tenancy.scope import current_scope


def require_shared_database() -> None:
    """Raises INVALID_STATE at a clinic with a database of its own: a patient is one document, and lies in one place."""
    tenant = current_scope().tenant
    if tenant is not None and tenant.residence.is_own:
        raise InvalidState(
            "This clinic keeps its data in a database of its own, so its patients are not shared with other clinics. "
            "Give the patient an export of their data instead."
        )
