"""Adds the lists to a clinic. What it has already, in use or archived, stays as it is, so a second run adds nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import in_transaction
from app.errors import Conflict
from app.services.audit import record
from app.services.changes import build
from app.services.medicines import keyed
from app.services.starter import lists
from app.tenancy.crossing import tenant_scope
from models import Medicine, Specialization, Tenant
from models.tenant import TenantStatus
from models.values import search_key

Add = Callable[[AsyncClientSession], Awaitable[int]]


async def add_medicines(session: AsyncClientSession) -> int:
    """Adds the medicines that the clinic in scope lacks; how many. One is known by name, form and strength."""
    known = await Medicine.rows({}, projection=["name_key", "form", "strength"], session=session)
    present = {_medicine_key(row) for row in known}
    wanted = [keyed({**one, "name_key": search_key(str(one["name"]))}) for one in lists.medicines()]
    return await _insert(Medicine, [one for one in wanted if _medicine_key(one) not in present], session)


async def add_specializations(session: AsyncClientSession) -> int:
    """Adds the specializations that the clinic in scope lacks; how many."""
    known = await Specialization.rows({}, projection=["name_key"], session=session)
    present = {row["name_key"] for row in known}
    wanted = [{**one, "name_key": search_key(str(one["name"]))} for one in lists.specializations()]
    return await _insert(Specialization, [one for one in wanted if one["name_key"] not in present], session)


def _medicine_key(values: Mapping[str, Any]) -> tuple[Any, ...]:
    return values["name_key"], values["form"], values.get("strength")


async def _insert(model: Any, missing: list[dict[str, Any]], session: AsyncClientSession) -> int:
    if missing:
        await model.insert_many([build(model, one, at="") for one in missing], session=session)
    return len(missing)


async def add_to(tenant: Tenant, add: Add, action: str) -> int:
    """Runs one of the above at a clinic, with its note in the audit; how many were added."""

    async def work(session: AsyncClientSession) -> int:
        async with tenant_scope(tenant):
            added = await add(session)
            if added:
                await record(action, session=session)
            return added

    try:
        return await in_transaction(work)
    except DuplicateKeyError:
        raise Conflict("Somebody else added the same just now. Try again.") from None


async def clinics_in_use() -> list[Tenant]:
    """Every active clinic, by subdomain."""
    active = {"status": TenantStatus.ACTIVE.value, "deletion_started_at": None}
    return await Tenant.find(active).sort("subdomain").to_list()
