"""`python -m scripts.subscriptions` and `scripts.paypal_events`: plans that are given, and events that are seen to."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from pymongo.database import Database

from models.values import now
from tests.fixtures.clinics import MakeClinic, Server
from tests.fixtures.paypal import STATUS
from tests.scripts.commands import run

Stored = Database[dict[str, Any]]
REASON = "for the tests of commands"


async def test_a_plan_is_given_shown_and_taken_back(server: Server, make_clinic: MakeClinic, stored: Stored) -> None:
    clinic = await make_clinic()
    name, boss = clinic.tenant.subdomain, await server.sign_in(clinic)

    given = run(server.settings, "subscriptions", "grant", name, "--plan", "pro", "--days", "90", "--reason", REASON)
    assert given.returncode == 0, given.stderr
    assert given.stdout.startswith("PRO, ACTIVE, until ")
    shown = (await boss.gql(STATUS)).data["subscriptionStatus"]
    assert (shown["plan"], shown["status"], shown["works"]) == ("PRO", "ACTIVE", True)
    assert shown["grantedUntil"] == shown["expiresAt"]
    told = json.loads(run(server.settings, "subscriptions", "show", name, "--json").stdout)
    assert (told["plan"], told["status"], told["payments"]) == ("pro", "active", [])
    assert told["granted"].startswith("pro until ")

    back = run(server.settings, "subscriptions", "revoke", name, "--reason", REASON, "--json")
    assert json.loads(back.stdout)["status"] == "trial"
    assert (await boss.gql(STATUS)).data["subscriptionStatus"]["status"] == "TRIAL"
    noted = stored["platform_audit"].find({"tenant": clinic.tenant.key, "reason": REASON}).sort("at")
    assert [row["action"] for row in noted] == ["subscription.grant", "subscription.revoke"]


async def test_what_cannot_be_given_is_said_and_changes_nothing(
    server: Server, make_clinic: MakeClinic, stored: Stored
) -> None:
    clinic = await make_clinic()
    name = clinic.tenant.subdomain
    before = stored["tenants"].find_one({"_id": clinic.tenant.key})
    for flags, code, sentence in (
        (["--plan", "trial", "--days", "9", "--reason", REASON], 1, "--plan: cannot be given"),
        (["--plan", "pro", "--until", "2020-01-01", "--reason", REASON], 1, "--until or --days: must lie ahead"),
        (
            ["--plan", "pro", "--until", "9999-12-31", "--reason", REASON],
            1,
            "--until or --days: must lie within 3650 days",
        ),
        (["--plan", "pro", "--days", "99999999", "--reason", REASON], 2, "'--days'"),
        (["--plan", "pro", "--days", "9", "--reason", "short"], 1, "--reason: must have at least 10 characters"),
        (["--plan", "gold", "--days", "9", "--reason", REASON], 2, "gold"),
        (["--plan", "pro", "--reason", REASON], 2, "either --days or"),
    ):
        refused = run(server.settings, "subscriptions", "grant", name, *flags)
        assert refused.returncode == code, refused.stderr
        assert sentence in refused.stderr
    nobody = run(server.settings, "subscriptions", "show", "no-such-clinic")
    assert (nobody.returncode, nobody.stderr.strip()) == (1, "There is no clinic no-such-clinic.")
    assert stored["tenants"].find_one({"_id": clinic.tenant.key}) == before


@pytest.mark.parametrize("subject", [None, "tenants/{}"], ids=["as noted now", "as noted before"])
async def test_a_clinic_that_was_given_a_plan_can_still_be_deleted(
    server: Server, make_clinic: MakeClinic, stored: Stored, subject: str | None
) -> None:
    tenant = (await make_clinic()).tenant
    name = tenant.subdomain
    run(server.settings, "subscriptions", "grant", name, "--plan", "pro", "--days", "9", "--reason", REASON)
    run(server.settings, "subscriptions", "revoke", name, "--reason", REASON)
    if subject is not None:
        kept = {"tenant": tenant.key, "reason": REASON}
        stored["platform_audit"].update_many(kept, {"$set": {"subject": subject.format(tenant.key)}})

    flags = ("--execute", "--confirm", name, "--no-export", "--settle", "0")
    deleted = run(server.settings, "delete_tenant", name, *flags)

    assert deleted.returncode == 0, deleted.stderr
    assert stored["tenants"].find_one({"_id": tenant.key}) is None
    assert stored["platform_audit"].count_documents({"tenant": tenant.key, "reason": REASON}) == 2


async def test_a_trial_that_is_over_is_shown_as_over_before_a_job_notes_it(
    server: Server, make_clinic: MakeClinic, stored: Stored
) -> None:
    clinic = await make_clinic()
    name, boss = clinic.tenant.subdomain, await server.sign_in(clinic)
    over = now() - timedelta(minutes=1)
    ended = {"subscription.trial_ends_at": over, "subscription.expires_at": over}
    stored["tenants"].update_one({"_id": clinic.tenant.key}, {"$set": ended})

    told = json.loads(run(server.settings, "subscriptions", "show", name, "--json").stdout)

    assert told["status"] == "expired"
    shown = (await boss.gql(STATUS)).data["subscriptionStatus"]
    assert (shown["status"], shown["works"]) == ("EXPIRED", False)


def event(stored: Stored, status: str) -> str:
    row = {
        "_id": f"WH-{uuid4().hex}",
        "event_type": "CHECKOUT.ORDER.APPROVED",
        "subjects": ["NOBODYS"],
        "clinic_id": None,
        "status": status,
        "tries": 8,
        "next_at": now(),
        "error": "PaypalDown",
        "received_at": now() - timedelta(hours=1),
        "settled_at": now(),
        "purge_at": None,
    }
    stored["paypal_events"].insert_one(row)
    return str(row["_id"])


def test_dead_events_are_listed_and_replayed(server: Server, stored: Stored) -> None:
    dead, done = event(stored, "dead"), event(stored, "handled")
    listed = json.loads(run(server.settings, "paypal_events", "list", "--json").stdout)["events"]
    assert {one["id"]: one["error"] for one in listed}[dead] == "PaypalDown"
    assert done not in {one["id"] for one in listed}
    more = run(server.settings, "paypal_events", "list", "--state", "handled").stdout
    assert f"id={done}" in more

    for one in (dead, done):
        again = run(server.settings, "paypal_events", "replay", one)
        assert again.stdout == "1 will be handled anew\n"
        row = stored["paypal_events"].find_one({"_id": one})
        assert row is not None
        assert (row["status"], row["tries"]) == ("waiting", 0)
    every = json.loads(run(server.settings, "paypal_events", "replay", "--all", "--json").stdout)
    assert every["replayed"] >= 0
    nobody = run(server.settings, "paypal_events", "replay", "WH-none")
    assert (nobody.returncode, nobody.stderr) == (1, "There is no such event.\n")
    assert run(server.settings, "paypal_events", "replay").returncode == 2
    stored["paypal_events"].delete_many({"_id": {"$in": [dead, done]}})
