"""Puts the demo into a database: two clinics that share three patients and a doctor, or one clinic's filling.

A clinic is written in one transaction, so it is there whole or not at all, and a second run goes on where a first
one was ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.auth.passwords import hash_password
from app.db.transactions import in_transaction
from app.errors import InvalidState
from app.plans import PlanName
from app.services.audit import record
from app.services.changes import storable
from app.services.demo.filling import add_records, fill
from app.services.demo.plans import PASSWORD, RIVERSIDE, SUNSHINE, ClinicPlan
from app.services.demo.talk import add_files
from app.services.onboarding import open_clinic, read_form, subdomain_taken
from app.services.subscription.keeping import renew
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import TenantId
from models import Membership, Patient, PatientRecord, Role, Tenant, User
from models.tenant import PlanGrant
from models.values import now

PLANS = (SUNSHINE, RIVERSIDE)
LASTS = timedelta(days=3_650)
"""So long the demo's clinics have everything that a plan gives."""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody of the demo at one clinic; `clinic` is the subdomain."""

    clinic: str
    role: str
    email: str


@dataclass(frozen=True, slots=True)
class Seeded:
    """`created` is False when there was nothing left to do. Without accounts there is no demo here."""

    created: bool
    accounts: tuple[Account, ...]


class _State(Enum):
    FREE = auto()
    OURS = auto()
    TAKEN = auto()
    """By a clinic that is none of the demo's, or was until it was deleted."""


async def seed_two_clinics(*, beside_others: bool) -> Seeded:
    """Makes the demo. In a database with other clinics it does so only when `beside_others`."""
    states = {plan.subdomain: await _state(plan) for plan in PLANS}
    free = [plan for plan in PLANS if states[plan.subdomain] is _State.FREE]
    begun = _State.OURS in states.values()
    if free and not begun and not beside_others and await Tenant.guarded().find_one({}, {"_id": 1}) is not None:
        return Seeded(False, ())
    if free:
        hashed = await hash_password(PASSWORD)
        for plan in free:
            await _open(plan, hashed)
    shared = await _share_patients()
    ours = [plan for plan in PLANS if states[plan.subdomain] is not _State.TAKEN]
    return Seeded(bool(free) or shared, tuple(account for plan in ours for account in accounts_of(plan)))


async def _state(plan: ClinicPlan) -> _State:
    if await _demo_clinic(plan) is not None:
        return _State.OURS
    return _State.TAKEN if await subdomain_taken(plan.subdomain) else _State.FREE


async def _demo_clinic(plan: ClinicPlan) -> Tenant | None:
    """The clinic, if it is the demo's own: the one in which the demo's admin works."""
    tenant = await Tenant.find_one({"subdomain": plan.subdomain})
    admin = await User.find_one({"email": plan.email_of("admin")})
    if tenant is None or admin is None:
        return None
    return tenant if await Membership.find_one({"user_id": admin.id, "clinic_id": tenant.id}) else None


def accounts_of(plan: ClinicPlan) -> list[Account]:
    """Who can sign in there, with the demo's password."""
    roles = [Account(plan.subdomain, role, plan.email_of(role)) for role in plan.staff]
    doctors = [Account(plan.subdomain, "doctor", plan.doctor_email(place)) for place in range(len(plan.doctors))]
    return [*roles[:1], *doctors, *roles[1:]] if "admin" in plan.staff else [*doctors, *roles]


async def _open(plan: ClinicPlan, password_hash: str) -> None:
    admin = {"name": plan.staff["admin"], "email": plan.email_of("admin"), "password": PASSWORD}
    form = read_form(
        {
            "name": plan.name,
            "subdomain": plan.subdomain,
            "email": plan.email_of("hello"),
            "phone": plan.phone,
            "address": plan.address,
            "settings": plan.settings,
            "admin": admin,
        }
    )
    user = await User.find_one({"email": form.admin.email})
    user = user or User(id=ObjectId(), email=form.admin.email, name=form.admin.name, password_hash=password_hash)

    clinic = ObjectId()  # the same when the transaction is tried again

    async def work(session: AsyncClientSession) -> None:
        opened = await open_clinic(form, user, session, clinic=clinic)
        async with tenant_scope(opened.tenant):
            await fill(plan, opened.roles, password_hash, session)
            given = storable(PlanGrant(plan=PlanName.ENTERPRISE, until=now() + LASTS))
            await renew("the demo", session, values={"grant": given})

    await in_transaction(work)
    if (tenant := await _demo_clinic(plan)) is not None:
        async with tenant_scope(tenant):
            await add_files()


async def _share_patients() -> bool:
    """Shares the patients who go to both clinics, as far as they are not; tells whether there was any to share."""
    first, second = [await _demo_clinic(plan) for plan in PLANS]
    if first is None or second is None:
        return False
    emails = [person.email for person in SUNSHINE.shared]
    async with tenant_scope(first):
        rows = await Patient.rows({"email": {"$in": emails}}, projection={"_id": 1}, sort=[("email", 1)])
    ids = [row["_id"] for row in rows]
    async with tenant_scope(second):
        known = {row["patient_id"] for row in await PatientRecord.rows({"patient_id": {"$in": ids}})}
    if missing := [one for one in ids if one not in known]:
        await _share(missing, first, second)
    return bool(missing)


async def _share(patients: Sequence[ObjectId], giver: Tenant, taker: Tenant) -> None:
    """First the grants, then the records: what a kill in between leaves undone shows, and is done by the next run."""

    async def grant(session: AsyncClientSession) -> None:
        for one in patients:
            await Patient.guarded().grant(one, TenantId(ObjectId(taker.id)), session=session)
            await record("patient.share", subject=await Patient.get(one, session=session), session=session)

    async def receive(session: AsyncClientSession) -> None:
        await add_records(patients, session)
        for one in patients:
            await record("patient.receive", subject=await Patient.get(one, session=session), session=session)

    async with tenant_scope(giver):
        await in_transaction(grant)
    async with tenant_scope(taker):
        await in_transaction(receive)


async def seed_clinic(tenant: Tenant) -> Seeded:
    """Fills a clinic that exists. Raises INVALID_STATE when its people's addresses belong to others."""
    plan = SUNSHINE.settled_at(tenant.subdomain)
    accounts = tuple(accounts_of(plan))
    people = await User.find({"email": {"$in": [account.email for account in accounts]}}).to_list()
    if people:
        bound = await Membership.rows({"user_id": {"$in": [user.id for user in people]}, "clinic_id": tenant.id})
        if len(bound) == len(accounts):
            return Seeded(False, accounts)
        raise InvalidState(f"Somebody of the demo is known already: {people[0].email}.")
    hashed = await hash_password(PASSWORD)

    async def work(session: AsyncClientSession) -> None:
        async with tenant_scope(tenant):
            roles = {role.name: role for role in await Role.find({}, session=session).to_list()}
            await fill(plan, roles, hashed, session)

    await in_transaction(work)
    async with tenant_scope(tenant):
        await add_files()
    return Seeded(True, accounts)
