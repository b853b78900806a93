"""Opens a clinic: tenant, roles, permissions, first admin and settings, all or nothing."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

from beanie import PydanticObjectId
from bson import ObjectId
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic.alias_generators import to_camel
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.auth.passwords import hash_password, weakness
from app.db.transactions import in_transaction
from app.errors import ValidationFailed
from app.permissions import ADMIN, ROLES, RoleSpec, by_resource
from app.services.audit import record
from app.services.changes import build
from app.services.placement.provisioning import Goal, id_for, provisioned, require_cluster
from app.services.proof import proves
from app.tenancy.crossing import tenant_scope
from app.tenancy.directory import ref_of
from app.tenancy.scope import current_scope
from models import Membership, Role, RolePermission, Settings, Staff, Tenant, Tombstone, User
from models.staff import StaffKind
from models.tenant import Placement, PlacementKind, SubscriptionStatus
from models.user import UserStatus
from models.values import (
    Address,
    Currency,
    DateFormat,
    Email,
    Line,
    Name,
    Phone,
    Subdomain,
    Timezone,
    email_key,
    now,
    search_key,
)

SHARED = Goal()
_RUNNING = frozenset({SubscriptionStatus.TRIAL, SubscriptionStatus.ACTIVE})


def _strong(password: SecretStr) -> SecretStr:
    if problem := weakness(password.get_secret_value(), ""):
        raise ValueError(problem.message)
    return password


Password = Annotated[SecretStr, AfterValidator(_strong)]
"""A password that somebody chose for themselves."""


def object_or_empty(value: Any) -> Any:
    """What JSON calls an object; null counts as one without fields."""
    if value is None:
        return {}
    if not isinstance(value, Mapping | BaseModel):
        raise ValueError("must be an object")
    return value


class _Form(BaseModel):
    """Its fields are camelCase on the wire; unknown ones are refused."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_alias=True, validate_by_name=True, extra="forbid")


class AddressForm(Address):
    """A postal address as it is sent: `zipCode` instead of `zip_code`."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_alias=True, validate_by_name=True)


class RegionalForm(_Form):
    """The settings that may be chosen when a clinic is opened."""

    timezone: Timezone = "UTC"
    currency: Currency = "USD"
    date_format: DateFormat = "MM/DD/YYYY"


class AdminForm(_Form):
    """The clinic's first admin. With an e-mail address that is known, the password proves that it is theirs."""

    name: Name
    email: Email
    password: Password
    phone: Phone | None = None


class OnboardingForm(_Form):
    """What it takes to open a clinic; camelCase names on the wire."""

    name: Name
    subdomain: Subdomain
    display_name: Line | None = None
    email: Email | None = None
    phone: Phone | None = None
    address: Annotated[AddressForm, BeforeValidator(object_or_empty)] = Field(default_factory=AddressForm)
    settings: Annotated[RegionalForm, BeforeValidator(object_or_empty)] = Field(default_factory=RegionalForm)
    admin: Annotated[AdminForm, BeforeValidator(object_or_empty)]


@dataclass(frozen=True, slots=True)
class Onboarded:
    """The clinic that was opened, and how much was written for it."""

    tenant: Tenant
    admin_email: str
    roles: Mapping[str, Role]
    permissions: int

    def answer(self) -> dict[str, Any]:
        """What the caller is told, with the names of the wire. A trial that runs is shown as active."""
        tenant, plan = self.tenant, self.tenant.subscription
        ends = plan.expires_at.isoformat(timespec="milliseconds") if plan.expires_at else None
        return {
            "success": True,
            "message": "Tenant created successfully with seed data",
            "name": tenant.name,
            "subdomain": tenant.subdomain,
            "status": tenant.status.value,
            "adminEmail": self.admin_email,
            "seedData": {"roles": len(self.roles), "permissions": self.permissions, "settings": True},
            "subscription": {
                "plan": plan.plan,
                "status": "active" if plan.status in _RUNNING else plan.status.value,
                "expiresAt": ends.replace("+00:00", "Z") if ends else None,
            },
        }


@dataclass(frozen=True, slots=True)
class Added:
    """Somebody who was given an office; `new_person` is False for whoever was known."""

    email: str
    new_person: bool


def read_form(body: Mapping[str, Any]) -> OnboardingForm:
    """The form in a JSON body or a wizard's answers. Raises VALIDATION_FAILED with the path of all that is wrong."""
    form: OnboardingForm = build(OnboardingForm, {"admin": None, **body}, at="")
    return form


Also = Callable[[Tenant, AsyncClientSession], Awaitable[None]]
"""What else belongs to the transaction in which a clinic is opened."""


async def _nothing(_: Tenant, __: AsyncClientSession) -> None:
    """Nothing else."""


async def onboard(
    form: OnboardingForm,
    goal: Goal = SHARED,
    *,
    also: Also = _nothing,
    key: str | None = None,
) -> Onboarded:
    """Opens the clinic in one transaction, in a database of its own if `goal` says so; that is made before, and goes
    again when the clinic cannot be opened. Raises VALIDATION_FAILED at the field that is taken or wrong.

    A repeat with the same idempotency `key` and form answers as the first did, without opening anything.
    """
    if key is None:
        return await _open_first(form, goal, also)
    opening = _digest(form, goal, key)

    async def marked(tenant: Tenant, session: AsyncClientSession) -> None:
        await Tenant.guarded().update_one({"_id": tenant.id}, {"$set": {"opening": opening}}, session=session)
        await also(tenant, session)

    try:
        return await _open_first(form, goal, marked)
    except ValidationFailed:
        if (before := await _opened_before(form, opening)) is None:
            raise
        return before


def _digest(form: OnboardingForm, goal: Goal, key: str) -> str:
    """By which a request is known again; of the form all but the password, which `person` judges."""
    values = form.model_dump(mode="json", exclude={"admin": {"password"}})
    return sha256(json.dumps([key, _named(goal), values], sort_keys=True).encode()).hexdigest()


async def _opened_before(form: OnboardingForm, opening: str) -> Onboarded | None:
    """What that request opened, for whoever still proves to be the person of the form."""
    tenant = await Tenant.find_one({"subdomain": form.subdomain, "opening": opening, "deletion_started_at": None})
    if tenant is None:
        return None
    user = await person(form.admin)
    async with tenant_scope(ref_of(tenant)):
        roles = {role.name: role for role in await Role.find({"system": True}).to_list()}
    return Onboarded(tenant, user.email, roles, sum(len(by_resource(spec.permissions)) for spec in ROLES))


def _named(goal: Goal) -> str:
    return goal.kind.value if goal.cluster is None else f"{goal.kind.value} {goal.cluster}"


async def _open_first(form: OnboardingForm, goal: Goal, also: Also) -> Onboarded:
    if await subdomain_taken(form.subdomain):
        raise _taken()
    await require_cluster(goal, at="cluster")
    if goal.kind is PlacementKind.SHARED:
        return await _open_once(form, ObjectId(), Placement(), also)
    await person(form.admin)  # whoever cannot open it makes no database
    clinic = id_for(form.subdomain)
    async with provisioned(clinic, form.subdomain, goal) as placement:
        return await _open_once(form, clinic, placement, also)


async def _open_once(form: OnboardingForm, clinic: ObjectId, placement: Placement, also: Also) -> Onboarded:
    try:
        return await _open(form, clinic, placement, also)
    except DuplicateKeyError as error:
        if "email" not in _unique_fields(error):
            raise
    return await _open(form, clinic, placement, also)  # the person became known meanwhile, and may be the same


async def _open(form: OnboardingForm, clinic: ObjectId, placement: Placement, also: Also) -> Onboarded:
    user = await person(form.admin)

    async def work(session: AsyncClientSession) -> Onboarded:
        opened = await open_clinic(form, user, session, clinic=clinic, placement=placement)
        await also(opened.tenant, session)
        return opened

    try:
        return await in_transaction(work)
    except DuplicateKeyError as error:
        if "subdomain" in _unique_fields(error):
            raise _taken() from None
        raise


async def subdomain_taken(subdomain: str, *, session: AsyncClientSession | None = None) -> bool:
    """Whether a clinic has or had this subdomain; one that was deleted keeps it for ever."""
    wanted = {"subdomain": subdomain}
    if await Tenant.guarded().find_one(wanted, {"_id": 1}, session=session) is not None:
        return True
    return await Tombstone.guarded().find_one(wanted, {"_id": 1}, session=session) is not None


async def person(admin: AdminForm) -> User:
    """The person of this e-mail address, who proves it with the password, or a new one not yet stored.

    Raises VALIDATION_FAILED at `admin.email`, alike for a wrong password and for somebody who is disabled.
    """
    password = admin.password.get_secret_value()
    known = await User.find_one({"email": admin.email})
    if known is None:
        hashed = await hash_password(password)
        return User(id=ObjectId(), email=admin.email, name=admin.name, password_hash=hashed)
    proven = await proves(known.email, known.password_hash, password)
    if known.status is not UserStatus.ACTIVE or not proven:
        raise ValidationFailed.at("admin.email", "is already registered")
    return known


async def known_person(email: str) -> User:
    """Somebody known, on the word of whoever runs commands on the server: no password is asked for.

    Raises VALIDATION_FAILED at `admin.email` when nobody active has this address.
    """
    user = await User.find_one({"email": email_key(email)})
    if user is None or user.status is not UserStatus.ACTIVE:
        raise ValidationFailed.at("admin.email", "belongs to nobody who can sign in")
    return user


async def open_clinic(
    form: OnboardingForm,
    user: User,
    session: AsyncClientSession,
    *,
    clinic: ObjectId,
    placement: Placement | None = None,
) -> Onboarded:
    """Writes the clinic, and `user` if not yet stored, within the transaction of `session`.

    `clinic` is its id, the same when the transaction is tried again; a `placement` of its own must be ready. With an
    own database, the transaction spans both, also over two clusters.

    Raises VALIDATION_FAILED when the subdomain is taken, or the driver's `DuplicateKeyError` when it, or the new
    person's e-mail address, is taken at this very moment.
    """
    if await subdomain_taken(form.subdomain, session=session):
        raise _taken()
    tenant = build(Tenant, _tenant_values(form), at="")
    tenant.id = PydanticObjectId(clinic)
    tenant.placement = placement or Placement()
    await tenant.insert(session=session)
    await hold(user, session)
    async with tenant_scope(ref_of(tenant)):
        roles, permissions = await seed_roles(session)
        staff = await admin_profile(user, form.admin.name, form.admin.phone, session)
        await Settings().insert(session=session)
        await membership_of(user, staff, roles[ADMIN]).insert(session=session)
        await record("clinic.open", subject=tenant, session=session)
    return Onboarded(tenant, user.email, roles, permissions)


async def hold(user: User, session: AsyncClientSession) -> None:
    """Stores a new person. A known one is written to as well, so that a deletion of their last clinic, which takes
    them along, cannot commit beside this."""
    held = await User.guarded().update_one({"_id": user.id}, {"$set": {"updated_at": now()}}, session=session)
    if not held.matched_count:
        await user.insert(session=session)


def _tenant_values(form: OnboardingForm) -> dict[str, Any]:
    values = form.model_dump(exclude={"admin"})
    return {**values, "address": Address(**values["address"])}


async def admin_profile(user: User, name: str, phone: str | None, session: AsyncClientSession) -> Staff:
    """Writes the staff profile of an admin of the clinic in scope."""
    staff = Staff(
        kind=StaffKind.ADMIN, name=name, name_key=search_key(name), user_id=user.id, email=user.email, phone=phone
    )
    await staff.insert(session=session)
    return staff


def membership_of(user: User, staff: Staff, role: Role) -> Membership:
    """Binds the person to the clinic in scope; not yet stored."""
    bound = {"user_id": user.id, "clinic_id": current_scope().tenant_id, "staff_id": staff.id}
    membership: Membership = build(Membership, {**bound, "role_id": role.id, "role": role.name}, at="")
    return membership


async def seed_roles(session: AsyncClientSession) -> tuple[dict[str, Role], int]:
    """Writes the seeded roles and their permissions for the clinic in scope; answers with the roles by name."""
    roles = {spec.name: _role(spec) for spec in ROLES}
    permissions = [
        RolePermission(role_id=roles[spec.name].id, resource=resource, actions=list(actions))
        for spec in ROLES
        for resource, actions in by_resource(spec.permissions).items()
    ]
    await Role.insert_many(list(roles.values()), session=session)
    await RolePermission.insert_many(permissions, session=session)
    return roles, len(permissions)


def _role(spec: RoleSpec) -> Role:
    return Role(id=ObjectId(), name=spec.name, level=spec.level, description=spec.description, system=True)


def _taken() -> ValidationFailed:
    return ValidationFailed.at("subdomain", "is already taken")


def _unique_fields(error: DuplicateKeyError) -> frozenset[str]:
    """The fields of the unique index that refused."""
    return frozenset((error.details or {}).get("keyPattern", {}))
