"""`python -m scripts.seed_data`: a demo that keeps the system's own rules."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from typing import Any

from pymongo.database import Database

from app.config import PROJECT_ROOT, Settings
from app.services.billing.settling import state_after
from app.services.demo.plans import PASSWORD, SUNSHINE
from models import ALL_DOCUMENTS, LabOrder, Prescription, Visit
from models.appointment import TRANSITIONS, AppointmentStatus
from models.values import now
from tests.scripts.commands import PRODUCTION, environment, run

Stored = Database[dict[str, Any]]
Row = dict[str, Any]


def snapshot(stored: Stored) -> dict[str, list[Row]]:
    names = [model.guarded_name() for model in ALL_DOCUMENTS]
    return {name: list(stored[name].find({}, sort=[("_id", 1)])) for name in names}


def of(stored: Stored, collection: str, subdomain: str) -> list[Row]:
    tenant = stored["tenants"].find_one({"subdomain": subdomain})
    assert tenant is not None
    return list(stored[collection].find({"$or": [{"tenant_id": tenant["_id"]}, {"tenant_ids": tenant["_id"]}]}))


def prepared(settings: Settings) -> str:
    """Makes the database ready as `make run` does; whether it made the demo."""
    work = "from app.config import load_settings as load; from scripts.dev import prepare_database as prepare"
    done = subprocess.run(
        [sys.executable, "-c", f"{work}; print(prepare(load()).created)"],
        cwd=PROJECT_ROOT,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


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
    assert prepared(own_settings) == "False", "make run finds it as it is"
    assert snapshot(own_stored) == before

    for subdomain in ("sunshine", "riverside"):
        check_people(own_stored, subdomain)
        check_appointments(own_stored, subdomain)
        check_queue(own_stored, subdomain)
        check_money(own_stored, subdomain)
        check_care(own_stored, subdomain)
        check_pharmacy(own_stored, subdomain)
    check_what_is_shared(own_stored)


def check_people(stored: Stored, subdomain: str) -> None:
    staff = of(stored, "staff", subdomain)
    kinds = Counter(one["kind"] for one in staff)
    assert kinds.pop("doctor") >= 3
    assert kinds == {"admin": 1, "nurse": 1, "pharmacist": 1, "receptionist": 1, "accountant": 1}
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
    single = [one for one in appointments if one["series_id"] is None]
    assert max(one["starts_at"] for one in single) < moment + timedelta(days=16)
    [series] = of(stored, "appointment_series", subdomain)
    assert len(appointments) - len(single) == series["rule"]["count"]


def check_queue(stored: Stored, subdomain: str) -> None:
    entries = of(stored, "queue_entries", subdomain)
    assert {"waiting", "called", "in_service", "done", "left"} <= {one["status"] for one in entries}
    assert sorted(one["ticket"] for one in entries) == list(range(1, len(entries) + 1))
    [counter] = [one for one in of(stored, "counters", subdomain) if one["name"].startswith("ticket:")]
    assert counter["value"] == len(entries)


def check_money(stored: Stored, subdomain: str) -> None:
    """The books are in order: what is paid is what payments say, and each state follows from it."""
    invoices = of(stored, "invoices", subdomain)
    payments: Counter[Any] = Counter()
    for one in of(stored, "payments", subdomain):
        payments[one["invoice_id"]] += one["amount"].to_decimal()
    assert len({one["number"] for one in invoices}) == len(invoices) > 50
    assert {one["status"] for one in invoices} == {"issued", "partially_paid", "paid"}
    for one in invoices:
        total, paid, open_ = (one[name].to_decimal() for name in ("total", "paid", "open"))
        assert (paid, open_) == (payments[one["_id"]], total - paid)
        assert one["status"] == state_after(open_, paid).value == one["history"][-1]["status"]
    assert len(of(stored, "patient_memberships", subdomain)) > 5
    assert {one["status"] for one in of(stored, "quotes", subdomain)} <= {"sent", "accepted"}


def check_care(stored: Stored, subdomain: str) -> None:
    """Who came was seen; what was found lies in its own clinic, in states that follow each other."""
    seen = {one["_id"]: one for one in of(stored, "appointments", subdomain) if one["status"] == "fulfilled"}
    visits = {one["_id"]: one for one in of(stored, "visits", subdomain)}
    assert {one["appointment_id"] for one in visits.values()} == set(seen)
    assert all(one["patient_id"] == seen[one["appointment_id"]]["patient_id"] for one in visits.values())
    medicines = {one["_id"] for one in of(stored, "medicines", subdomain)}
    assert len(medicines) > 300
    for model in (Visit, Prescription, LabOrder):
        for one in of(stored, model.guarded_name(), subdomain):
            states = [type(next(iter(model.transitions)))(step["status"]) for step in one["history"]]
            assert all(after in model.transitions[before] for before, after in pairwise(states))
            handed_out = sum(bool(item["dispensed"]) for item in one["items"]) if model is Prescription else 0
            assert (states[-1], one["version"]) == (one["status"], 1 + len(states) + handed_out)
            assert model is Visit or visits[one["visit_id"]]["patient_id"] == one["patient_id"]
    prescriptions, orders = of(stored, "prescriptions", subdomain), of(stored, "lab_orders", subdomain)
    assert {one for rx in prescriptions for one in rx["medicine_ids"]} <= medicines
    for kept, prefix in ((prescriptions, "RX"), (orders, "LO")):
        assert sorted(one["number"] for one in kept) == [f"{prefix}-{n:06d}" for n in range(1, len(kept) + 1)]
        assert len(kept) > 10
    results = Counter(one["lab_order_id"] for one in of(stored, "lab_results", subdomain))
    assert results == Counter(one["_id"] for one in orders if one["status"] != "collected")


def check_pharmacy(stored: Stored, subdomain: str) -> None:
    """The stock is the sum of its movements, and what was handed out is what prescriptions say; some runs low."""
    moved: Counter[Any] = Counter()
    for one in sorted(of(stored, "stock_movements", subdomain), key=lambda one: one["_id"]):
        moved[one["lot_id"]] += one["quantity"]
        assert moved[one["lot_id"]] == one["balance"] >= 0
    lots, items = of(stored, "stock_lots", subdomain), of(stored, "inventory_items", subdomain)
    assert {one["_id"]: one["balance"] for one in lots} == dict(moved)
    for item in items:
        assert item["stock"] == sum(one["balance"] for one in lots if one["item_id"] == item["_id"])
        assert item["low"] is (item["stock"] < item["reorder_level"])
    assert 1 < sum(one["low"] for one in items) < len(items)
    today = now().date().isoformat()
    left = [one["expires_on"] for one in lots if one["balance"] and one["expires_on"]]
    assert min(left) < today < sorted(left)[1] < (now() + timedelta(days=60)).date().isoformat()
    handed_out: Counter[Any] = Counter()
    for one in of(stored, "dispensings", subdomain):
        assert one["quantity"] == sum(part["quantity"] for part in one["lots"])
        handed_out[one["prescription_id"]] += one["quantity"]
    assert len(handed_out) > 10
    for rx in of(stored, "prescriptions", subdomain):
        assert rx["items"][0]["dispensed"] == handed_out[rx["_id"]] <= rx["items"][0]["quantity"]


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
    assert (unknown.returncode, unknown.stderr.strip()) == (1, "There is no clinic nowhere.")


def test_production_gets_no_accounts_with_a_known_password(own_settings: Settings, own_stored: Stored) -> None:
    for arguments in ([], ["--tenant", "hill"]):
        done = run(own_settings, "seed_data", *arguments, **PRODUCTION)
        assert (done.returncode, done.stdout) == (1, "")
        assert "seed_data is refused in production" in done.stderr
    assert own_stored["users"].count_documents({}) == 0
