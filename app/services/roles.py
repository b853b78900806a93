"""A clinic's roles and what they permit. Each change holds from its members' next request on, in every process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.auth.rights import renew_rights
from app.db.transactions import in_transaction
from app.errors import Conflict, FieldError, Forbidden, InvalidState, NotFound, ValidationFailed
from app.permissions import ADMIN, Permission, by_resource
from app.services.audit import record
from app.services.changes import Row, build, change_row, checked, row_of
from app.services.memberships import one_at_a_time, require_level
from app.tenancy.scope import current_scope
from models import Membership, Role, RolePermission
from models.user import MembershipStatus

T = TypeVar("T")

_ACTIVE = MembershipStatus.ACTIVE.value


def read_rights(names: Iterable[str]) -> frozenset[Permission]:
    """Rights from their names. Raises VALIDATION_FAILED with the path of each name that is none."""
    known = {right.value: right for right in Permission}
    wanted = list(names)
    wrong = [i for i, name in enumerate(wanted) if name not in known]
    if wrong:
        raise ValidationFailed(fields=[FieldError(f"input.permissions.{i}", "is not a permission") for i in wrong])
    rights = frozenset(known[name] for name in wanted)
    if blind := _blind(wanted, rights):
        raise ValidationFailed(fields=blind)
    return rights


def _blind(names: Sequence[str], rights: frozenset[Permission]) -> list[FieldError]:
    """The rights to change what the role may not read: what a change answers with would show it all the same."""
    resources = {right.resource for right in rights if right.action == "read"}
    return [
        FieldError(f"input.permissions.{i}", f"needs {name.partition(':')[0]}:read as well")
        for i, name in enumerate(names)
        if name.partition(":")[0] not in resources
    ]


def _require_own(rights: frozenset[Permission]) -> None:
    """Raises FORBIDDEN, naming them, for rights that the actor lacks."""
    lacking = sorted(rights - current_scope().signed_in.permissions)
    if lacking:
        raise Forbidden(f"You may not grant what you may not do yourself: {', '.join(lacking)}.")


async def rights_by_role(
    ids: Sequence[ObjectId], session: AsyncClientSession | None = None
) -> dict[ObjectId, list[str]]:
    """The rights of each role by its id, as `resource:action` in the order of the enum."""
    documents = await RolePermission.find({"role_id": {"$in": list(ids)}}, session=session).to_list()
    held: dict[ObjectId, set[Permission]] = {id: set() for id in ids}
    for document in documents:
        held[document.role_id] |= document.rights()
    return {id: [right.value for right in Permission if right in rights] for id, rights in held.items()}


async def create(values: Mapping[str, Any], names: Iterable[str]) -> Row:
    """Stores a role of the clinic's own. Raises CONFLICT at `input.name` when the name is taken."""
    role: Role = build(Role, {**values, "system": False, "id": ObjectId()})
    rights = read_rights(names)
    _require_own(rights)

    async def work(session: AsyncClientSession) -> None:
        await require_level(role.level, session)
        await role.insert(session=session)
        await _grant(role.key, rights, session)
        await record("role.create", subject=role, session=session)

    await _with_unique_name(work)
    return row_of(role)


async def change(role_id: ObjectId, version: int, changes: Mapping[str, Any], names: Iterable[str] | None) -> Row:
    """Changes that version of a role, and what it permits unless `names` is None; answers with its new row.

    The admin's role stays as it is; the other seeded ones keep name and level. Raises INVALID_STATE for those,
    FORBIDDEN for a role above the actor's or a right that the actor lacks.
    """
    values = checked(Role, changes)
    rights = None if names is None else read_rights(names)

    async def work(session: AsyncClientSession) -> Row:
        role = await _changeable(role_id, session)
        if role.system and values.keys() & {"name", "level"}:
            raise InvalidState("A role that every clinic has keeps its name and level.")
        await require_level(values.get("level", role.level), session)
        row = await change_row(Role, role_id, version, values, session=session)
        if rights is not None:
            await _replace_rights(role, rights, session)
        if "name" in values:
            await _rename_members(role_id, values["name"], session)
        await renew_rights(current_scope().tenant_id, role_id, session)
        await record("role.change", subject=role, session=session)
        return row

    return await _with_unique_name(work)


async def delete(role_id: ObjectId, version: int) -> None:
    """Deletes a role of the clinic's own that nobody has. Raises INVALID_STATE when somebody has it."""

    async def work(session: AsyncClientSession) -> None:
        role = await _changeable(role_id, session)
        if role.system:
            raise InvalidState("A role that every clinic has cannot be deleted.")
        await change_row(Role, role_id, version, {}, session=session)
        await one_at_a_time(session)
        members = {"clinic_id": current_scope().tenant_id, "role_id": role_id, "status": _ACTIVE}
        if await Membership.guarded().find_one(members, {"_id": 1}, session=session):
            raise InvalidState("Somebody has this role. Give them another one first.")
        await RolePermission.guarded().delete_many({"role_id": role_id}, session=session)
        await Role.guarded().delete_one({"_id": role_id}, session=session)
        await record("role.delete", subject=role, session=session)

    await in_transaction(work)


async def _changeable(role_id: ObjectId, session: AsyncClientSession) -> Role:
    """The role, if the actor may change it."""
    role = await Role.find_one({"_id": role_id}, session=session)
    if role is None:
        raise NotFound.at("input.id")
    if role.name == ADMIN:
        raise InvalidState("The admin's role cannot be changed.")
    await require_level(role.level, session)
    return role


async def _replace_rights(role: Role, rights: frozenset[Permission], session: AsyncClientSession) -> None:
    """Only what is added must be the actor's own: a role may keep what it had."""
    held = await rights_by_role([role.key], session)
    _require_own(rights - {Permission(name) for name in held[role.key]})
    await RolePermission.guarded().delete_many({"role_id": role.key}, session=session)
    await _grant(role.key, rights, session)


async def _grant(role_id: ObjectId, rights: frozenset[Permission], session: AsyncClientSession) -> None:
    documents = [
        RolePermission(role_id=role_id, resource=resource, actions=list(actions))
        for resource, actions in by_resource(rights).items()
    ]
    if documents:
        await RolePermission.insert_many(documents, session=session)


async def _rename_members(role_id: ObjectId, name: str, session: AsyncClientSession) -> None:
    members = {"clinic_id": current_scope().tenant_id, "role_id": role_id}
    await Membership.guarded().update_many(members, {"$set": {"role": name}}, session=session)


async def _with_unique_name(work: Callable[[AsyncClientSession], Awaitable[T]]) -> T:
    """Runs `work` in a transaction and tells at `input.name` that the name is taken, when the unique index says so."""
    try:
        return await in_transaction(work)
    except DuplicateKeyError:
        raise Conflict("There is one of that name already.", [FieldError("input.name", "is taken")]) from None
