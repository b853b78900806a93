"""Opening clinics, adding admins and the demo: what holds whoever calls, and when many call at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Conflict, FieldError, InvalidState, RateLimited, ValidationFailed
from app.services.admins import add_admin, add_known_admin
from app.services.clinics import clinic_to_change
from app.services.demo import seeding
from app.services.demo.plans import RIVERSIDE, SUNSHINE
from app.services.onboarding import Added, AdminForm, onboard, read_form, subdomain_taken
from app.services.rate_limits import ONBOARDING, take
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, open_scope
from models import Appointment, Membership, Patient, PatientRecord, Tenant, User
from models.tenant import SubscriptionStatus
from models.user import UserStatus
from models.values import now
from tests.fixtures.clinics import PASSWORD, Clinic, MakeClinic, Server

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
FIELDS = st.sampled_from(["name", "subdomain", "displayName", "email", "phone", "address", "settings", "admin", "x"])


@pytest.fixture(autouse=True)
async def system(server: Server) -> AsyncIterator[None]:
    """Nobody's scope: the one of a command or of a request on the root host."""
    with open_scope(Scope(request_id="test")):
        yield


def form_values(name: str) -> dict[str, Any]:
    admin = {"name": "Ada Admin", "email": f"admin@{name}.example.com", "password": PASSWORD}
    return {"name": f"Clinic {name}", "subdomain": name, "admin": admin}


@given(st.dictionaries(FIELDS, JSON, max_size=9))
def test_any_json_object_is_a_form_or_gets_named_complaints(body: dict[str, Any]) -> None:
    complaints = complaints_about(body)
    assert complaints is None or complaints
    assert all(field.path and field.message for field in complaints or ())


def complaints_about(body: dict[str, Any]) -> Sequence[FieldError] | None:
    """None when nothing is wrong."""
    try:
        read_form(body)
    except ValidationFailed as error:
        return error.fields
    return None


async def test_a_trial_ends_after_seven_days_and_is_told_as_active() -> None:
    name = f"s{uuid4().hex[:10]}"
    opened = await onboard(read_form(form_values(name)))
    plan = opened.tenant.subscription
    assert (plan.plan, plan.status) == ("trial", SubscriptionStatus.TRIAL)
    assert plan.expires_at is not None
    assert (plan.expires_at - now()).days in (6, 7)
    assert opened.answer()["subscription"]["status"] == "active"
    assert await subdomain_taken(name)
    assert not await subdomain_taken(f"{name}-other")


async def test_a_disabled_person_opens_no_clinic_even_with_the_right_password(clinic_a: Clinic) -> None:
    name = f"s{uuid4().hex[:10]}"
    await onboard(read_form(form_values(name)))
    email = f"admin@{name}.example.com"
    disabled = {"$set": {"status": UserStatus.DISABLED.value}}
    await User.guarded().update_one({"email": email}, disabled)
    body = form_values(f"{name}-two")
    body["admin"]["email"] = email
    with pytest.raises(ValidationFailed) as refused:
        await onboard(read_form(body))
    assert [field.path for field in refused.value.fields] == ["admin.email"]
    with pytest.raises(ValidationFailed):
        await add_known_admin(clinic_a.tenant, email)


async def test_the_sixth_try_of_one_address_waits_for_the_window_at_most() -> None:
    address = uuid4().hex
    for _ in range(5):
        await take(ONBOARDING, address)
    with pytest.raises(RateLimited) as refused:
        await take(ONBOARDING, address)
    assert 0 < refused.value.retry_after <= 15 * 60
    await take(ONBOARDING, f"{address}-another")


async def test_one_person_added_many_times_at_once_is_one_admin(make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    name = f"s{uuid4().hex[:10]}"
    form = AdminForm.model_validate({"name": "Bo Peep", "email": f"bo@{name}.example.com", "password": PASSWORD})
    results = await asyncio.gather(*(add_admin(clinic.tenant, form) for _ in range(5)), return_exceptions=True)
    assert any(isinstance(result, Added) for result in results)
    assert all(isinstance(result, Added | InvalidState | Conflict) for result in results)
    people = await User.find({"email": form.email}).to_list()
    assert len(people) == 1
    bound = await Membership.find({"user_id": people[0].id}).to_list()
    assert [one.role for one in bound] == ["admin"]


async def test_a_clinic_that_is_being_deleted_gets_no_admin(make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    going = {"$set": {"deletion_started_at": now()}}
    await Tenant.guarded().update_one({"_id": clinic.tenant.id}, going)
    with pytest.raises(InvalidState, match="is being deleted"):
        await clinic_to_change(clinic.tenant.subdomain)


async def test_the_demo_is_kept_out_of_a_database_in_use_and_goes_on_where_it_was_ended(
    clinic_a: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await seeding.seed_two_clinics(beside_others=False) == seeding.Seeded(False, ())

    async def breaks(*_: object) -> None:
        raise InvalidState("ended here")

    with monkeypatch.context() as broken:
        broken.setattr(seeding, "add_records", breaks)
        with pytest.raises(InvalidState):
            await seeding.seed_two_clinics(beside_others=True)
    assert await state_of_sharing() == (3, 0)
    assert (await seeding.seed_two_clinics(beside_others=False)).created
    assert await state_of_sharing() == (3, 3)
    again = await seeding.seed_two_clinics(beside_others=False)
    assert (again.created, {account.clinic for account in again.accounts}) == (False, {"sunshine", "riverside"})
    await check_that_clinics_stay_apart()


async def state_of_sharing() -> tuple[int, int]:
    """How many of the shared patients the second clinic sees, and how many records it has of them."""
    second = await clinic_to_change(RIVERSIDE.subdomain)
    async with tenant_scope(second):
        seen = await Patient.rows({"email": {"$in": [person.email for person in SUNSHINE.shared]}})
        records = await PatientRecord.rows({"patient_id": {"$in": [row["_id"] for row in seen]}})
    return len(seen), len(records)


async def check_that_clinics_stay_apart() -> None:
    """The doctor of both clinics is at one place at a time, and nothing else is in common."""
    claims: list[set[str]] = []
    for plan in (SUNSHINE, RIVERSIDE):
        async with tenant_scope(await clinic_to_change(plan.subdomain)):
            rows = await Appointment.rows({}, projection={"claims": 1})
            claims.append({claim for row in rows for claim in row["claims"] or ()})
    assert not claims[0] & claims[1]
    assert all(claims)
