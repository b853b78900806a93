"""Fills a clinic with people, rooms, services, patients and appointments, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from beanie import PydanticObjectId
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.services.audit import record
from app.services.changes import build
from app.services.counters import next_numbers
from app.services.demo.care import COMPLAINTS, DemoCare
from app.services.demo.diary import DemoDiary, Practice
from app.services.demo.money import add_money
from app.services.demo.patients import demo_patients
from app.services.demo.pharmacy import add_pharmacy
from app.services.demo.plans import HEADINGS, ROOMS, SERVICES, SPECIALIZATIONS, ClinicPlan, DoctorPlan
from app.services.demo.queue import DemoQueue
from app.services.demo.season import add_season
from app.services.demo.talk import add_talk
from app.services.onboarding import membership_of
from app.services.starter.adding import add_medicines
from app.tenancy.scope import current_scope
from models import (
    Appointment,
    AvailabilityRule,
    LabOrder,
    Medicine,
    Membership,
    Patient,
    PatientRecord,
    QueueEntry,
    Role,
    Room,
    Service,
    ServiceCategory,
    Settings,
    Specialization,
    Staff,
    User,
)
from models.staff import StaffKind
from models.values import now, search_key

Ids = Mapping[str, ObjectId]


async def fill(plan: ClinicPlan, roles: Mapping[str, Role], password_hash: str, session: AsyncClientSession) -> None:
    """Adds the plan's people and things to the clinic in scope. What it has under the same name is used as it is."""
    rng = Random(plan.subdomain)  # noqa: S311 - the same demo every time
    specializations = await _specializations(session)
    await add_medicines(session)
    rooms = await _rooms(session)
    services = await _services(specializations, await _headings(session), session)
    staff = await _staff(plan, roles, specializations, password_hash, session)
    doctors = staff[-len(plan.doctors) :]
    await AvailabilityRule.insert_many(_rules(plan, doctors), session=session)
    patients = await _patients(plan, rng, session)
    clerk = _user_of(StaffKind.RECEPTIONIST, staff)
    diary, practices = DemoDiary(patients, clerk, rng), _practices(plan, doctors, rooms, services)
    appointments = [one for practice in practices for one in diary.of(practice)]
    await Appointment.insert_many(appointments, session=session)
    await _queue(appointments, patients, clerk, rng, session)
    await _care(appointments, doctors, rng, session)
    await add_pharmacy(_user_of(StaffKind.PHARMACIST, staff), session)
    await add_season(practices, patients, clerk, session)
    await add_money(appointments, services, _user_of(StaffKind.ACCOUNTANT, staff), rng, session)
    await add_talk(staff, patients, session)
    await record("demo.fill", session=session)


async def _queue(
    appointments: Sequence[Appointment],
    patients: Sequence[ObjectId],
    clerk: PydanticObjectId | None,
    rng: Random,
    session: AsyncClientSession,
) -> None:
    queue = DemoQueue(clerk, rng)
    first, *_ = await next_numbers(f"ticket:{queue.day.isoformat()}", 1, session=session)
    queue.tickets = first - 1  # a clinic that exists may have given out some today
    await QueueEntry.insert_many(entries := list(queue.of(appointments, patients)), session=session)
    await next_numbers(f"ticket:{queue.day.isoformat()}", len(entries) - 1, session=session)


async def _care(
    appointments: Sequence[Appointment], doctors: Sequence[Staff], rng: Random, session: AsyncClientSession
) -> None:
    named = {one.medicine for one in COMPLAINTS.values() if one.medicine}
    columns = ["name", "form", "strength", "atc_code", "ingredient_keys"]
    known = await Medicine.rows(
        {"name": {"$in": sorted(named)}}, projection=columns, sort=[("_id", 1)], session=session
    )
    care = DemoCare({ObjectId(one.id): one for one in doctors}, {row["name"]: row for row in known}, rng)
    care.follow(appointments)
    care.numbered(
        await next_numbers("prescription", len(care.prescriptions), session=session),
        await next_numbers(LabOrder.guarded_name(), len(care.orders), session=session),
    )
    for documents in (care.visits, care.prescriptions, care.orders, care.results, care.problems):
        if documents:
            await type(documents[0]).insert_many(documents, session=session)


async def _specializations(session: AsyncClientSession) -> Ids:
    present = await _present(Specialization, session)
    fresh = [
        _named(Specialization, name, description=text)
        for name, text in SPECIALIZATIONS.items()
        if search_key(name) not in present
    ]
    if fresh:
        await Specialization.insert_many(fresh, session=session)
    return {**present, **{one.name_key: one.id for one in fresh}}


async def _present(model: Any, session: AsyncClientSession) -> dict[str, ObjectId]:
    """What the clinic uses already: search key → id."""
    rows = await model.rows({"archived_at": None}, projection={"name_key": 1}, session=session)
    return {row["name_key"]: row["_id"] for row in rows}


def _named(model: Any, name: str, **values: Any) -> Any:
    return build(model, {"id": ObjectId(), "name": name, "name_key": search_key(name), **values}, at="")


async def _rooms(session: AsyncClientSession) -> list[ObjectId]:
    """New rooms only: those that the clinic has may be booked."""
    present = await _present(Room, session)
    fresh = [
        _named(Room, name, kind=kind, floor=floor) for name, kind, floor in ROOMS if search_key(name) not in present
    ]
    if fresh:
        await Room.insert_many(fresh, session=session)
    return [room.id for room in fresh]


async def _headings(session: AsyncClientSession) -> Ids:
    """By the codes of the services that stand under them."""
    present = await _present(ServiceCategory, session)
    fresh = [_named(ServiceCategory, name) for name in HEADINGS if search_key(name) not in present]
    if fresh:
        await ServiceCategory.insert_many(fresh, session=session)
    by_name = {**present, **{one.name_key: one.id for one in fresh}}
    return {code: by_name[search_key(name)] for name, codes in HEADINGS.items() for code in codes}


async def _services(specializations: Ids, headings: Ids, session: AsyncClientSession) -> list[Service]:
    """The services that the plan's doctors offer, those that the clinic has already left out."""
    present = await _present(Service, session)
    tenant = current_scope().tenant
    currency = tenant.currency if tenant else "USD"
    services = [
        _named(
            Service,
            one.name,
            code=one.code,
            duration_minutes=one.minutes,
            price={"amount": one.price, "currency": currency},
            specialization_id=specializations[search_key(one.specialization)] if one.specialization else None,
            category_id=headings.get(one.code),
        )
        for one in SERVICES
    ]
    for service in services:
        service.id = present.get(service.name_key, service.id)
    if fresh := [service for service in services if service.name_key not in present]:
        await Service.insert_many(fresh, session=session)
    return services


async def _staff(
    plan: ClinicPlan,
    roles: Mapping[str, Role],
    specializations: Ids,
    password_hash: str,
    session: AsyncClientSession,
) -> list[Staff]:
    """Everybody but the admin, with sign-in and membership; the doctors last, in the plan's order."""
    people: list[tuple[str, str, str, DoctorPlan | None]]
    people = [(role, name, plan.email_of(role), None) for role, name in plan.staff.items() if role != "admin"]
    people += [("doctor", one.name, plan.doctor_email(place), one) for place, one in enumerate(plan.doctors)]
    users = await _users([(name, email) for _, name, email, _ in people], password_hash, session)
    staff = [
        _profile(role, name, users[email], specializations[search_key(doctor.specialization)] if doctor else None)
        for role, name, email, doctor in people
    ]
    bound = [
        membership_of(users[email], profile, roles[role])
        for (role, _, email, _), profile in zip(people, staff, strict=True)
    ]
    await Staff.insert_many(staff, session=session)
    await Membership.insert_many(bound, session=session)
    return staff


async def _users(people: Sequence[tuple[str, str]], password_hash: str, session: AsyncClientSession) -> dict[str, User]:
    """By e-mail address: who is known already, and the others, who are stored now."""
    found = User.find({"email": {"$in": [email for _, email in people]}}, session=session)
    known = {user.email: user for user in await found.to_list()}
    fresh = {
        email: User(id=ObjectId(), email=email, name=name, password_hash=password_hash)
        for name, email in people
        if email not in known
    }
    if fresh:
        await User.insert_many(list(fresh.values()), session=session)
    return {**known, **fresh}


def _profile(role: str, name: str, user: User, specialization: ObjectId | None) -> Staff:
    staff: Staff = _named(
        Staff,
        name,
        kind=StaffKind(role),
        user_id=user.id,
        email=user.email,
        title="Dr." if specialization else None,
        specialization_ids=[specialization] if specialization else [],
    )
    return staff


def _user_of(kind: StaffKind, staff: Sequence[Staff]) -> PydanticObjectId | None:
    return next((one.user_id for one in staff if one.kind is kind), None)


def _rules(plan: ClinicPlan, doctors: Sequence[Staff]) -> list[AvailabilityRule]:
    return [
        build(AvailabilityRule, {"doctor_id": doctor.id, "weekday": weekday, "starts": opens, "ends": closes}, at="")
        for doctor, one in zip(doctors, plan.doctors, strict=True)
        for weekday in one.weekdays
        for opens, closes in one.hours
    ]


async def _patients(plan: ClinicPlan, rng: Random, session: AsyncClientSession) -> list[ObjectId]:
    patients = demo_patients(plan, rng)
    await Patient.insert_many(patients, session=session)
    ids = [ObjectId(patient.id) for patient in patients]
    await add_records(ids, session)
    return ids


async def add_records(patients: Sequence[ObjectId], session: AsyncClientSession) -> None:
    """This clinic's records of the patients, with the next codes."""
    settings = await Settings.find_one({}, session=session)
    prefix = settings.patient_code_prefix if settings else "P"
    numbers = await next_numbers("patient_code", len(patients), session=session)
    records = [
        PatientRecord(patient_id=patient, code=f"{prefix}-{number:06d}", created_at=now())  # type: ignore[arg-type]
        for patient, number in zip(patients, numbers, strict=True)
    ]
    await PatientRecord.insert_many(records, session=session)


def _practices(
    plan: ClinicPlan, doctors: Sequence[Staff], rooms: Sequence[ObjectId], services: Sequence[Service]
) -> list[Practice]:
    """Each doctor in a room of their own, as far as rooms go."""
    return [
        Practice(one, staff, rooms[place] if place < len(rooms) else None, _offered(staff, services))
        for place, (one, staff) in enumerate(zip(plan.doctors, doctors, strict=True))
    ]


def _offered(doctor: Staff, services: Sequence[Service]) -> list[Service]:
    return [one for one in services if one.specialization_id in (None, *doctor.specialization_ids)]
