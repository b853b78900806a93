"""`python -m scripts.seed_data`: a demo that keeps the system's own rules."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import pairwise
from typing import Any

from pymongo.database import Database

from app.config import Settings
from app.services.demo.plans import PASSWORD, SUNSHINE
from models import ALL_DOCUMENTS
from models.appointment import TRANSITIONS, AppointmentStatus
from models.values import now
from tests.scripts.commands import PRODUCTION, run

Stored = Database[dict[str, Any]]
Row = dict[str, Any]


def snapshot(stored: Stored) -> dict[str, list[Row]]:
    names = [model.guarded_name() for model in ALL_DOCUMENTS]
    return {name: list(stored[name].find({}, sort=[("_id", 1)])) for name in names}


def of(stored: Stored, collection: str, subdomain: str) -> list[Row]:
    tenant = stored["tenants"].find_one({"subdomain": subdomain})
    assert tenant is not None
    return list(stored[collection].find({"$or": [{"tenant_id": tenant["_id"]}, {"tenant_ids": tenant["_id"]}]}))


def test_the_demo_is_made_once_and_keeps_the_rules(own_settings: Settings, own_stored: Stored) -> None:
    first = run(own_settings, "seed_data")
    assert first.returncode == 0, first.stderr
    assert "The demo is ready." in first.stdout
    assert f"admin@sunshine.example.com               {PASSWORD}" in first.stdout
    before = snapshot(own_stored)
    second = run(own_settings, "seed_data")
    assert second.returncode == 0, second.stderr
    assert "is there already" in second.stdout
    assert snapshot(own_stored) == before

    for subdomain in ("sunshine", "riverside"):
        check_people(own_stored, subdomain)
        check_appointments(own_stored, subdomain)
    check_what_is_shared(own_stored)


def check_people(stored: Stored, subdomain: str) -> None:
    staff = of(stored, "staff", subdomain)
    kinds = Counter(one["kind"] for one in staff)
    assert kinds.pop("doctor") >= 3
    assert kinds == {"admin": 1, "nurse": 1, "receptionist": 1, "accountant": 1}
    tenant = stored["tenants"].find_one({"subdomain": subdomain})
    assert tenant is not None
    bound = {one["staff_id"]: one["role"] for one in stored["memberships"].find({"clinic_id": tenant["_id"]})}
    assert bound == {one["_id"]: one["kind"] for one in staff}
    patients = of(stored, "patients", subdomain)
    records = of(stored, "patient_records", subdomain)
    assert len(patients) >= 150
    assert {one["patient_id"] for one in records} == {one["_id"] for one in patients}
    assert sorted(one["code"] for one in records) == [f"P-{number:06d}" for number in range(1, len(records) + 1)]
    assert len({(one["family_name"], one["given_name"]) for one in patients}) > 140
    emails = [one["email"] for one in patients if one["email"]]
    assert all(email.endswith("@example.com") for email in emails)


def check_appointments(stored: Stored, subdomain: str) -> None:
    appointments = of(stored, "appointments", subdomain)
    moment = now()
    own = {
        name: {one["_id"] for one in of(stored, name, subdomain)} for name in ("patients", "staff", "rooms", "services")
    }
    for one in appointments:
        assert one["patient_id"] in own["patients"]
        assert one["doctor_id"] in own["staff"]
        assert one["room_id"] in own["rooms"]
        assert one["service_id"] in own["services"]
        steps = [AppointmentStatus(step["status"]) for step in one["history"]]
        assert all(after in TRANSITIONS[before] for before, after in pairwise(steps))
        assert steps[-1] == one["status"]
        minutes = (one["ends_at"] - one["starts_at"]) // timedelta(minutes=1)
        assert len(one["claims"] or ()) == (0 if one["status"] == "cancelled" else 3 * (minutes // 5))
    past = Counter(one["status"] for one in appointments if one["ends_at"] < moment - timedelta(minutes=5))
    ahead = Counter(one["status"] for one in appointments if one["starts_at"] > moment + timedelta(minutes=5))
    assert past["fulfilled"] > past["no_show"] > 0
    assert ahead["booked"] > 50
    assert set(past) <= {"fulfilled", "no_show", "cancelled"}
    assert set(ahead) <= {"booked", "cancelled"}
    assert max(one["starts_at"] for one in appointments) < moment + timedelta(days=16)


def check_what_is_shared(stored: Stored) -> None:
    both = list(stored["patients"].find({"tenant_ids.1": {"$exists": True}}))
    assert {one["email"] for one in both} == {person.email for person in SUNSHINE.shared}
    ids = [one["_id"] for one in both]
    assert stored["patient_records"].count_documents({"patient_id": {"$in": ids}}) == 6
    acts = Counter(one["action"] for one in stored["audit_entries"].find())
    assert (acts["patient.share"], acts["patient.receive"]) == (3, 3)
    doctors = [one["user_id"] for one in stored["staff"].find({"kind": "doctor"})]
    assert Counter(Counter(doctors).values()) == {1: 6, 2: 1}


def test_an_existing_clinic_is_filled_beside_others_once(own_settings: Settings, own_stored: Stored) -> None:
    opened = run(
        own_settings, "onboard_tenant", *("--name", "Hill Clinic", "--subdomain", "hill", "--admin-name", "Alma"),
        *("--admin-email", "alma@hill.example.com", "--currency", "PHP", "--json"),
        POLYCLINIC_ADMIN_PASSWORD="wide meadow 71",
    )  # fmt: skip
    assert opened.returncode == 0, opened.stderr
    filled = run(own_settings, "seed_data", "--tenant", "hill")
    assert filled.returncode == 0, filled.stderr
    assert "receptionist@hill.example.com" in filled.stdout
    before = snapshot(own_stored)
    again = run(own_settings, "seed_data", "--tenant", "hill")
    assert (again.returncode, "is there already" in again.stdout) == (0, True)
    assert snapshot(own_stored) == before
    assert own_stored["tenants"].count_documents({}) == 1
    check_people(own_stored, "hill")
    check_appointments(own_stored, "hill")
    assert {one["price"]["currency"] for one in of(own_stored, "services", "hill")} == {"PHP"}

    unknown = run(own_settings, "seed_data", "--tenant", "nowhere")
    assert (unknown.returncode, "--tenant: no clinic has this subdomain" in unknown.stderr) == (1, True)


def test_production_gets_no_accounts_with_a_known_password(own_settings: Settings, own_stored: Stored) -> None:
    for arguments in ([], ["--tenant", "hill"]):
        done = run(own_settings, "seed_data", *arguments, **PRODUCTION)
        assert (done.returncode, done.stdout) == (1, "")
        assert "seed_data is refused in production" in done.stderr
    assert own_stored["users"].count_documents({}) == 0
