"""How large files may be, and how much room a clinic has for all of them: asked here, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from app.config import Settings
from app.tenancy.scope import current_scope


@dataclass(frozen=True, slots=True)
class Limits:
    """In bytes: the largest file, and all files of one clinic."""

    file: int
    clinic: int


async def limits_of(settings: Settings) -> Limits:
    """What the clinic in scope may keep: by its plan, unless the settings say the same for each clinic."""
    tenant = current_scope().tenant
    room = tenant.standing.plan.storage if tenant else 0
    return Limits(file=settings.max_upload_bytes, clinic=settings.storage_per_clinic or room)
