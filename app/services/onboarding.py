"""Opens a clinic: tenant, roles, permissions, first admin and settings, all or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic.alias_generators import to_camel
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.auth.passwords import hash_password, verify_password, weakness
from app.db.transactions import in_transaction
from app.errors import FieldError, ValidationFailed
from app.permissions import ADMIN, ROLES, RoleSpec, by_resource
from app.services.audit import record
from app.services.changes import build
from app.tenancy.crossing import tenant_scope
from app.tenancy.directory import ref_of
from models import Membership, Role, RolePermission, Settings, Staff, Tenant, Tombstone, User
from models.staff import StaffKind
from models.user import UserStatus
from models.values import Address, Currency, DateFormat, Email, Line, Name, Phone, Subdomain, Timezone, search_key


class _Form(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class RegionalForm(_Form):
    """The settings that may be chosen when a clinic is opened."""

    timezone: Timezone = "UTC"
    currency: Currency = "USD"
    date_format: DateFormat = "MM/DD/YYYY"


class AdminForm(_Form):
    """The clinic's first admin. With an e-mail address that is known, the password proves that it is theirs."""

    name: Name
    email: Email
    password: SecretStr
    phone: Phone | None = None


class OnboardingForm(_Form):
    """What it takes to open a clinic; camelCase names on the wire."""

    name: Name
    subdomain: Subdomain
    display_name: Line | None = None
    email: Email | None = None
    phone: Phone | None = None
    address: Address = Field(default_factory=Address)
    settings: RegionalForm = Field(default_factory=RegionalForm)
    admin: AdminForm


@dataclass(frozen=True, slots=True)
class Onboarded:
    """The clinic that was opened, and how much was written for it."""

    tenant: Tenant
    admin_email: str
    roles: int
    permissions: int


def read_form(body: Any, *, at: str = "") -> OnboardingForm:
    """The form in a JSON body or a wizard's answers. Raises VALIDATION_FAILED with the path of all that is wrong."""
    form: OnboardingForm = build(OnboardingForm, body, at=at)
    if problem := weakness(form.admin.password.get_secret_value(), "admin.password"):
        raise ValidationFailed(fields=[problem])
    return form


async def onboard(form: OnboardingForm) -> Onboarded:
    """Opens the clinic in one transaction. Raises VALIDATION_FAILED at the field that is taken or wrong."""
    if await subdomain_taken(form.subdomain):
        raise _taken()
    user = await _person(form.admin)
    tenant = build(Tenant, _tenant_values(form), at="")
    tenant.id = ObjectId()

    async def work(session: AsyncClientSession) -> Onboarded:
        return await _write(tenant, user, form, session)

    try:
        return await in_transaction(work)
    except DuplicateKeyError as error:
        raise _collision(error) from None


async def subdomain_taken(subdomain: str) -> bool:
    """Whether a clinic has or had this subdomain; one that was deleted keeps it for ever."""
    wanted = {"subdomain": subdomain}
    living = await Tenant.guarded().find_one(wanted, {"_id": 1})
    return living is not None or await Tombstone.guarded().find_one(wanted, {"_id": 1}) is not None


async def _person(admin: AdminForm) -> User:
    """The person of this e-mail address, who proves it with the password, or a new one not yet stored."""
    password = admin.password.get_secret_value()
    known = await User.find_one({"email": admin.email})
    if known is None:
        hashed = await hash_password(password)
        return User(id=ObjectId(), email=admin.email, name=admin.name, password_hash=hashed)
    if known.status is not UserStatus.ACTIVE or not await verify_password(known.password_hash, password):
        raise ValidationFailed.at("admin.email", "is already registered")
    return known


def _tenant_values(form: OnboardingForm) -> dict[str, Any]:
    values = form.model_dump(exclude={"admin", "settings", "address"})
    return {**values, "address": form.address, "settings": form.settings.model_dump()}


async def _write(tenant: Tenant, user: User, form: OnboardingForm, session: AsyncClientSession) -> Onboarded:
    await tenant.insert(session=session)
    if await User.guarded().find_one({"_id": user.id}, {"_id": 1}, session=session) is None:
        await user.insert(session=session)
    async with tenant_scope(ref_of(tenant)):
        roles, permissions = await seed_roles(session)
        staff = await _staff(form.admin, user, session)
        await Settings().insert(session=session)
        await Membership(
            user_id=user.key, clinic_id=tenant.key, role_id=roles[ADMIN].key, role=ADMIN, staff_id=staff.key
        ).insert(session=session)
        await record("clinic.open", subject=tenant, session=session)
    return Onboarded(tenant, user.email, len(roles), permissions)


async def _staff(admin: AdminForm, user: User, session: AsyncClientSession) -> Staff:
    staff = Staff(
        kind=StaffKind.ADMIN,
        name=admin.name,
        name_key=search_key(admin.name),
        user_id=user.id,
        email=admin.email,
        phone=admin.phone,
    )
    await staff.insert(session=session)
    return staff


async def seed_roles(session: AsyncClientSession) -> tuple[dict[str, Role], int]:
    """Writes the five roles and their permissions for the clinic in scope; answers with the roles by name."""
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


def _collision(error: DuplicateKeyError) -> ValidationFailed:
    """Somebody else was faster with the same subdomain or the same new e-mail address."""
    pattern = (error.details or {}).get("keyPattern", {})
    if "email" in pattern:
        return ValidationFailed(fields=[FieldError("admin.email", "is already registered")])
    return _taken()
