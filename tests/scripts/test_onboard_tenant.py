"""`python -m scripts.onboard_tenant`: the wizard at a terminal, and flags for automation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from argon2 import PasswordHasher
from pymongo.database import Database
from typer.testing import CliRunner

from app.config import Settings
from scripts.onboard_tenant import FLAGS, cli
from scripts.onboarding_wizard import suggested_subdomain
from tests.fixtures.clinics import PASSWORD, MakeClinic
from tests.scripts.commands import Terminal, run

Stored = Database[dict[str, Any]]
SECRET = "wide meadow 71"
ALL_GIVEN = [
    *("--name", "Hill Clinic", "--subdomain", "Hill", "--timezone", "Asia/Manila", "--currency", "PHP"),
    *("--city", "Baguio", "--zip-code", "2600", "--admin-name", "Alma Cruz", "--admin-email", "alma@hill.example.com"),
]


def fresh_name() -> str:
    return f"w{uuid4().hex[:10]}"


def is_password_of(stored: Stored, email: str, password: str) -> bool:
    user = stored["users"].find_one({"email": email})
    assert user is not None
    return PasswordHasher().verify(user["password_hash"], password)


# --- automation -----------------------------------------------------------------------------------------------------


def test_flags_open_a_clinic_on_an_empty_database_and_answer_in_json(
    own_settings: Settings, own_stored: Stored, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text(f"{SECRET}\n")
    done = run(own_settings, "onboard_tenant", *ALL_GIVEN, "--password-file", str(secret), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert answer["seedData"] == {"roles": 6, "permissions": 108, "settings": True}
    assert (answer["subdomain"], answer["url"]) == ("hill", "http://hill.polyclinic.test:8000")
    tenant = own_stored["tenants"].find_one({"subdomain": "hill"})
    assert tenant is not None
    assert (tenant["settings"]["timezone"], tenant["address"]["zip_code"]) == ("Asia/Manila", "2600")
    assert is_password_of(own_stored, "alma@hill.example.com", SECRET)

    again = run(own_settings, "onboard_tenant", *ALL_GIVEN, "--json", POLYCLINIC_ADMIN_PASSWORD=SECRET)
    assert again.returncode == 1
    assert json.loads(again.stdout)["error"]["fields"] == [{"path": "subdomain", "message": "is already taken"}]
    told = run(own_settings, "onboard_tenant", *ALL_GIVEN, "--yes", POLYCLINIC_ADMIN_PASSWORD=SECRET)
    assert (told.returncode, told.stdout) == (1, "")
    assert "--subdomain: is already taken" in told.stderr
    assert own_stored["tenants"].count_documents({}) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--yes"], [flag for path, flag in FLAGS.items() if path in ("name", "subdomain", "admin.email")]),
        ([*ALL_GIVEN, "--yes"], ["POLYCLINIC_ADMIN_PASSWORD"]),
        (["--subdomain", "www"], ["--subdomain: is reserved"]),
        (["--currency", "gold"], ["--currency: is not an ISO 4217 currency code"]),
        (["--password", SECRET], ["No such option"]),
        (["--password-file", "/does/not/exist"], ["No such file"]),
        (["--password-file", "/"], ["Is a directory"]),
    ],
)
def test_wrong_flags_are_named_and_end_with_2(arguments: list[str], said: list[str]) -> None:
    done = CliRunner().invoke(cli, arguments, env={"COLUMNS": "200", "POLYCLINIC_ADMIN_PASSWORD": ""})
    assert done.exit_code == 2
    for text in said:
        assert text in done.output


def test_weak_passwords_are_refused_without_being_repeated(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("sekret")
    done = CliRunner().invoke(cli, [*ALL_GIVEN, "--yes", "--password-file", str(secret)])
    assert done.exit_code == 2
    assert "must have at least 8 characters" in done.output
    assert "sekret" not in done.output


def test_without_a_database_one_sentence_says_what_to_do(own_settings: Settings) -> None:
    nobody = {"MONGODB_URI": "mongodb://127.0.0.1:9/"}
    done = run(own_settings, "onboard_tenant", *ALL_GIVEN, "--yes", POLYCLINIC_ADMIN_PASSWORD=SECRET, **nobody)
    assert (done.returncode, done.stdout) == (1, "")
    assert "MONGODB_URI does not answer" in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_settings_one_message_names_them(own_settings: Settings) -> None:
    done = run(
        own_settings, "onboard_tenant", *ALL_GIVEN, "--yes", POLYCLINIC_ADMIN_PASSWORD=SECRET, SESSION_SECRET="x"
    )
    assert done.returncode == 1
    assert "SESSION_SECRET is too short" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_tells_of_every_flag() -> None:
    done = CliRunner().invoke(cli, ["--help"], env={"COLUMNS": "120"})
    assert done.exit_code == 0
    for path, flag in FLAGS.items():
        assert flag.split()[0] in done.output, path


# --- the wizard -----------------------------------------------------------------------------------------------------


def test_the_wizard_asks_again_for_each_wrong_answer(settings: Settings, stored: Stored) -> None:
    name = fresh_name()
    stored["tombstones"].insert_one({"subdomain": f"{name}-gone"})
    wizard = Terminal(settings, "onboard_tenant")
    wizard.asked("Name of the clinic: ", "X")
    wizard.asked("Name of the clinic: ", f"Dr. Müller & {name}")
    wizard.asked(f"Subdomain [dr-muller-{name}]: ", f"{name}-gone")
    wizard.asked(f"is already taken\nSubdomain [dr-muller-{name}]: ", "bad_name")
    wizard.asked("Subdomain [dr-", "")
    wizard.asked("Contact e-mail", "nobody")
    wizard.asked("is not a valid e-mail address\nContact e-mail", "")
    wizard.asked("Contact phone", "call me")
    wizard.asked("is not a valid phone number\nContact phone", "+49 30 23125 100")
    wizard.asked("Time zone [UTC]: ", "Berlin")
    wizard.asked("perhaps Europe/Berlin", "Europe/Berlin")
    wizard.asked("Currency [USD]: ", "euro")
    wizard.asked("is not an ISO 4217 currency code\nCurrency [USD]: ", "EUR")
    wizard.asked("Date format [MM/DD/YYYY]: ", "soon")
    wizard.asked("must be one of", "DD.MM.YYYY")
    wizard.asked("Name of the first admin: ", "Zoe Müller")
    wizard.asked("E-mail of the first admin: ", "zoe")
    wizard.asked("E-mail of the first admin: ", f"Zoe@{name}.example.com")
    wizard.asked("Password: ", "short")
    wizard.asked("must have at least 8 characters", SECRET)
    wizard.asked("The same again: ", "something else 3")
    wizard.asked("The two differ", SECRET)
    wizard.asked("The same again: ", SECRET)
    wizard.asked("A database of its own? It then shares no patients [y/N]: ", "y")
    if stored["clusters"].count_documents({}):  # other tests know some
        wizard.asked("On which cluster (", "")
    wizard.asked("Open this clinic? [Y/n]: ", "y")
    assert wizard.end() == 0
    assert f"http://dr-muller-{name}.polyclinic.test:8000" in wizard.shown
    assert SECRET not in wizard.shown
    tenant = stored["tenants"].find_one({"subdomain": f"dr-muller-{name}"})
    assert tenant is not None
    assert (tenant["name"], tenant["email"], tenant["phone"]) == (f"Dr. Müller & {name}", None, "+49 30 23125 100")
    assert tenant["settings"]["date_format"] == "DD.MM.YYYY"
    own = f"{stored.name}_{tenant['_id']}"
    assert tenant["placement"] == {"kind": "own_database", "database": own, "cluster": None}
    assert stored.client[own]["settings"].count_documents({}) == 1
    assert own in wizard.shown
    assert is_password_of(stored, f"zoe@{name}.example.com", SECRET)


async def test_a_known_person_proves_who_they_are_and_keeps_their_password(
    settings: Settings, stored: Stored, make_clinic: MakeClinic
) -> None:
    email, second = (await make_clinic()).emails["nurse"], fresh_name()
    wizard = Terminal(
        settings, "onboard_tenant", *("--name", "Second", "--subdomain", second, "--timezone", "UTC"),
        *("--currency", "USD", "--date-format", "YYYY-MM-DD", "--email", "hi@second.example.com"),
        *("--phone", "555 0100", "--admin-name", "Another Name", "--admin-email", email),
    )  # fmt: skip
    wizard.asked("Their present password: ", "not hers at all")
    wizard.asked("is not their password", PASSWORD)
    wizard.asked("A database of its own?", "")
    wizard.asked("Open this clinic? [Y/n]: ", "")
    assert wizard.end() == 0
    people = list(stored["users"].find({"email": email}))
    assert [person["name"] for person in people] == ["Nurse Person"]
    bound = stored["memberships"].find({"user_id": people[0]["_id"]})
    assert sorted(one["role"] for one in bound) == ["admin", "nurse"]


def test_a_no_at_the_end_or_a_closed_pipe_writes_nothing(settings: Settings, stored: Stored) -> None:
    name = fresh_name()
    answers = f"{name}\n\n\n\n\n\n\nAda Admin\nada@{name}.example.com\n\nn\n"
    done = run(settings, "onboard_tenant", answers=answers, POLYCLINIC_ADMIN_PASSWORD=SECRET)
    assert (done.returncode, "Nothing was written." in done.stderr) == (1, True)
    cut = run(settings, "onboard_tenant", answers=f"{name}\n", POLYCLINIC_ADMIN_PASSWORD=SECRET)
    assert (cut.returncode, "Traceback" in cut.stderr) == (1, False)
    assert stored["tenants"].count_documents({"name": name}) == 0
    assert stored["users"].count_documents({"email": f"ada@{name}.example.com"}) == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Sunshine Clinic", "sunshine-clinic"),
        ("Clínica  San José!", "clinica-san-jose"),
        ("Demo", None),
        ("中文", None),
        ("A" * 90, "a" * 40),
    ],
)
def test_a_subdomain_is_suggested_only_if_it_would_do(name: str, expected: str | None) -> None:
    assert suggested_subdomain(name) == expected
