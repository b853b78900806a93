"""What a role may do at a clinic, from the clinic's own documents."""

from __future__ import annotations

from collections import OrderedDict

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.permissions import REPRESENTATIVE, Permission
from app.tenancy.scope import Scope, open_scope
from models import Membership, Role, RolePermission, Staff
from models.staff import StaffKind

Rights = tuple[str, frozenset[Permission]]
CACHE_SIZE = 10_000

_cache: OrderedDict[tuple[ObjectId, ObjectId, int], Rights] = OrderedDict()


async def rights_of(membership_id: ObjectId, version: int, role_id: ObjectId, scope: Scope) -> Rights:
    """The name and permissions of the role that a membership gives at the scope's clinic.

    `version` is that of the membership that was just read. Whatever changes a role raises the version of its
    memberships in the same transaction (`renew_rights`), so a cached entry can never outlive a change. Entries are
    kept per membership: a newer member's version may equal one that an older member had before the change.
    """
    key = (membership_id, role_id, version)
    rights = _cache.get(key)
    if rights is None:
        with open_scope(scope):
            rights = _cache[key] = await _read(membership_id, role_id)
        if len(_cache) > CACHE_SIZE:
            _cache.popitem(last=False)
    return rights


async def _read(membership_id: ObjectId, role_id: ObjectId) -> Rights:
    role = await Role.find_one({"_id": role_id})
    if role is None:
        return "", frozenset()
    documents = await RolePermission.find({"role_id": role_id}).to_list()
    rights = frozenset[Permission]().union(*(document.rights() for document in documents))
    return role.name, rights & REPRESENTATIVE.permissions if await _represents(membership_id) else rights


async def _represents(membership_id: ObjectId) -> bool:
    """Whether the member's profile is a medical representative's. Whatever changes its kind raises the version too."""
    member = await Membership.guarded().find_one({"_id": membership_id}, {"user_id": 1})
    kind = {"user_id": member["user_id"] if member else None, "kind": StaffKind.MEDICAL_REPRESENTATIVE.value}
    return member is not None and await Staff.guarded().find_one(kind, {"_id": 1}) is not None


async def renew_rights(clinic_id: ObjectId, role_id: ObjectId, session: AsyncClientSession) -> None:
    """Makes every process read the role anew at its members' next request; call it where a role is changed."""
    await Membership.get_pymongo_collection().update_many(
        {"clinic_id": clinic_id, "role_id": role_id}, {"$inc": {"version": 1}}, session=session
    )
