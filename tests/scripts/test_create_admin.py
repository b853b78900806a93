"""`python -m scripts.create_admin`: another admin for a clinic that exists."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pymongo.database import Database
from typer.testing import CliRunner

from app.config import Settings
from scripts.create_admin import cli
from tests.fixtures.clinics import PASSWORD, Clinic, MakeClinic
from tests.scripts.commands import Terminal, run

Stored = Database[dict[str, Any]]
OTHER = "steep valley 38"


@pytest.fixture
async def first(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest.fixture
async def second(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


def admins_of(stored: Stored, clinic: Clinic) -> set[str]:
    """By e-mail address; each has a staff profile there."""
    bound = stored["memberships"].find({"clinic_id": clinic.tenant.id, "role": "admin", "status": "active"})
    users = [one["user_id"] for one in bound]
    assert set(users) <= {one["user_id"] for one in stored["staff"].find({"tenant_id": clinic.tenant.id})}
    return {one["email"] for one in stored["users"].find({"_id": {"$in": users}})}


def test_new_and_known_people_become_admins(settings: Settings, stored: Stored, first: Clinic, second: Clinic) -> None:
    email = f"bo@{first.tenant.subdomain}.example.com"
    asked = ("--email", email.title(), "--name", "Bo Peep", "--json")
    new = run(settings, "create_admin", first.tenant.subdomain, *asked, POLYCLINIC_ADMIN_PASSWORD=OTHER)
    assert new.returncode == 0, new.stderr
    answer = json.loads(new.stdout)
    assert (answer["adminEmail"], answer["newPerson"]) == (email, True)
    assert answer["url"] == f"http://{first.host}:8000"
    assert admins_of(stored, first) == {first.emails["admin"], email}

    proven = run(settings, "create_admin", second.tenant.subdomain, *asked, POLYCLINIC_ADMIN_PASSWORD=OTHER)
    assert json.loads(proven.stdout)["newPerson"] is False
    assert admins_of(stored, second) == {second.emails["admin"], email}
    again = run(settings, "create_admin", second.tenant.subdomain, "--email", email, "--existing")
    assert (again.returncode, "already" in again.stderr) == (1, True)
    assert stored["users"].count_documents({"email": email}) == 1


def test_what_cannot_be_is_refused_and_changes_nothing(
    settings: Settings, stored: Stored, first: Clinic, second: Clinic
) -> None:
    stranger, before = f"nobody@{first.tenant.subdomain}.example.com", stored["memberships"].count_documents({})
    nowhere = run(settings, "create_admin", "no-such-clinic", "--email", first.emails["admin"], "--existing")
    assert (nowhere.returncode, nowhere.stderr.strip()) == (1, "There is no clinic no-such-clinic.")
    nobody = run(settings, "create_admin", first.tenant.subdomain, "--email", stranger, "--existing")
    assert (nobody.returncode, "--email: belongs to nobody who can sign in" in nobody.stderr) == (1, True)
    wrong = run(
        settings, "create_admin", second.tenant.subdomain, *("--email", first.emails["admin"], "--name", "Ada"),
        "--json", POLYCLINIC_ADMIN_PASSWORD=OTHER,
    )  # fmt: skip
    assert wrong.returncode == 1
    assert json.loads(wrong.stdout)["error"]["fields"][0]["path"] == "admin.email"
    assert admins_of(stored, second) == {second.emails["admin"]}
    assert stored["memberships"].count_documents({}) == before


def test_a_member_of_another_role_who_left_becomes_an_admin_with_the_profile_they_have(
    settings: Settings, stored: Stored, first: Clinic
) -> None:
    nurse = first.staff["nurse"]
    stored["memberships"].update_one({"staff_id": nurse.id}, {"$set": {"status": "removed"}})
    done = run(settings, "create_admin", first.tenant.subdomain, "--email", first.emails["nurse"], "--existing")
    assert done.returncode == 0, done.stderr
    assert admins_of(stored, first) == {first.emails["admin"], first.emails["nurse"]}
    assert stored["staff"].count_documents({"tenant_id": first.tenant.id, "user_id": nurse.user_id}) == 1
    bound = list(stored["memberships"].find({"user_id": nurse.user_id}))
    assert [(one["staff_id"], one["version"]) for one in bound] == [(nurse.id, 2)]


def test_what_is_not_given_is_asked_for_and_the_password_unseen(
    settings: Settings, stored: Stored, first: Clinic
) -> None:
    email = f"cy@{first.tenant.subdomain}.example.com"
    command = Terminal(settings, "create_admin", first.tenant.subdomain)
    command.asked("E-mail: ", email)
    command.asked("Full name: ", "Cy Young")
    command.asked("Password: ", "short")
    command.asked("must have at least 8 characters", OTHER)
    command.asked("The same again: ", OTHER)
    assert command.end() == 0
    assert OTHER not in command.shown
    assert email in admins_of(stored, first)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["first", "--email", "x", "--name", "Bo", "--json"], "admin.email"),
        (["first", "--email", "bo@example.com", "--json"], "admin.name"),
        ([], "Missing argument"),
        (["first", "--email", "bo@example.com", "--password", PASSWORD], "No such option"),
    ],
)
def test_wrong_flags_end_with_2(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(cli, arguments, env={"POLYCLINIC_ADMIN_PASSWORD": OTHER, "COLUMNS": "120"})
    assert done.exit_code == 2
    assert said in done.output
