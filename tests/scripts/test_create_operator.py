"""`python -m scripts.create_operator`: the first person who runs an installation, and later ones."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from pymongo.database import Database

from app.config import Settings
from tests.fixtures.clinics import Clinic, MakeClinic
from tests.scripts.commands import Terminal, run

Stored = Database[dict[str, Any]]
SECRET = "steep valley 38"


def fresh() -> str:
    return f"op-{uuid4().hex}@example.com"


def role_of(stored: Stored, email: str) -> str | None:
    user = stored["users"].find_one({"email": email})
    operator = stored["operators"].find_one({"user_id": user["_id"]}) if user else None
    return operator["role"] if operator else None


def test_the_first_operator_of_an_installation_is_made_and_noted(settings: Settings, stored: Stored) -> None:
    email = fresh()
    done = run(
        settings, "create_operator", "--email", email.upper(), "--name", "Ola", "--json",
        POLYCLINIC_ADMIN_PASSWORD=SECRET,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"success": True, "email": email, "role": "super_admin", "newPerson": True}
    assert role_of(stored, email) == "super_admin"
    user = stored["users"].find_one({"email": email})
    assert user is not None
    noted = stored["platform_audit"].find_one({"subject": f"users/{user['_id']}"})
    assert noted is not None
    assert (noted["actor"], noted["action"]) == ("command", "operator.grant.super_admin")
    again = run(settings, "create_operator", "--email", email, "--existing")
    assert (again.returncode, "already" in again.stderr) == (1, True)
    assert stored["operators"].count_documents({"user_id": user["_id"]}) == 1


async def test_somebody_known_becomes_one_with_their_password_or_on_ones_word(
    settings: Settings, stored: Stored, make_clinic: MakeClinic
) -> None:
    clinic: Clinic = await make_clinic()
    nurse, doctor = clinic.emails["nurse"], clinic.emails["doctor"]
    wrong = run(
        settings, "create_operator", "--email", nurse, "--name", "Nora", "--json", POLYCLINIC_ADMIN_PASSWORD=SECRET
    )
    assert (wrong.returncode, json.loads(wrong.stdout)["error"]["fields"][0]["path"]) == (1, "admin.email")
    assert role_of(stored, nurse) is None
    right = run(settings, "create_operator", "--email", doctor, "--existing", "--role", "support")
    assert right.returncode == 0, right.stderr
    assert role_of(stored, doctor) == "support"


def test_nobody_unknown_is_taken_on_ones_word(settings: Settings, stored: Stored) -> None:
    email = fresh()
    done = run(settings, "create_operator", "--email", email, "--existing")
    assert (done.returncode, "--email: belongs to nobody who can sign in" in done.stderr) == (1, True)
    assert role_of(stored, email) is None


def test_what_is_not_given_is_asked_for_and_the_password_unseen(settings: Settings, stored: Stored) -> None:
    email = fresh()
    command = Terminal(settings, "create_operator", "--role", "readonly")
    command.asked("E-mail: ", email)
    command.asked("Full name: ", "Cy Young")
    command.asked("Password: ", SECRET)
    command.asked("The same again: ", SECRET)
    assert command.end() == 0
    assert SECRET not in command.shown
    assert role_of(stored, email) == "readonly"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--email", "x", "--name", "Bo", "--json"], "admin.email"),
        (["--email", "bo@example.com", "--role", "owner"], "Invalid value"),
        (["--email", "bo@example.com", "--password", SECRET], "No such option"),
    ],
)
def test_wrong_flags_end_with_2(settings: Settings, arguments: list[str], said: str) -> None:
    done = run(settings, "create_operator", *arguments, POLYCLINIC_ADMIN_PASSWORD=SECRET)
    assert done.returncode == 2
    assert said in done.stdout + done.stderr
