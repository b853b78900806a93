"""`python -m scripts.migrate_legacy` on a database of two clinics among whose documents are some from before."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database

from app.config import Settings
from app.tenancy.sealing import is_sealed
from tests.scripts.commands import ROOT, environment, run

Row = dict[str, Any]
Stored = Database[Row]

BECAUSE = ("--reason", "the clinics move into one system")
NOTES = "Prefers mornings; afraid of needles"
CHAINED = "the audit takes no entry that was not linked into a clinic's chain when it was made"
SEVERAL = "is tied to documents of several clinics"


@dataclass(slots=True)
class Old:
    """The database: clinics `a` and `b` by id, and the documents from before by name."""

    settings: Settings
    stored: Stored
    a: ObjectId
    b: ObjectId
    ids: dict[str, ObjectId] = field(default_factory=dict)

    def put(self, name: str, collection: str, /, **values: Any) -> ObjectId:
        """Stores a document past every validator."""
        id = self.ids[name] = ObjectId()
        self.stored[collection].insert_one({"_id": id, **values}, bypass_document_validation=True)
        return id

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(self.settings, "migrate_legacy", *arguments)

    def told(self, *arguments: str) -> Row:
        """The answer of a run that must succeed."""
        ended = self.run(*arguments, "--json")
        assert ended.returncode == 0, ended.stderr + ended.stdout
        told: Row = json.loads(ended.stdout)
        return told

    def killed_at(self, write: int, *arguments: str) -> int:
        """The exit code of a run that is killed before that write."""
        return subprocess.run(
            [sys.executable, "-m", "tests.standin_killed", "scripts.migrate_legacy", str(write), *arguments],
            cwd=ROOT,
            env=environment(self.settings),
            capture_output=True,
            timeout=60,
            check=False,
        ).returncode

    def owner(self, name: str, collection: str) -> Any:
        """The clinic of a document in its collection, "nobody" without one, None when it is not there."""
        row = self.stored[collection].find_one({"_id": self.ids[name]})
        if row is None:
            return None
        owner = row.get("tenant_ids", row.get("tenant_id"))
        return (owner[0] if isinstance(owner, list) and len(owner) == 1 else owner) or "nobody"

    def reasons(self) -> dict[str, str]:
        """Why each document is in quarantine, by its name."""
        names = {id: name for name, id in self.ids.items()}
        rows = self.stored["legacy_quarantine"].find()
        return {names[bson.decode(row["content"])["_id"]]: row["reason"] for row in rows}

    def digest(self) -> Row:
        """A hash of all that is stored, but for the platform's audit, which tells of looks too."""
        names = sorted(set(self.stored.list_collection_names()) - {"platform_audit"})
        hashes: Row = self.stored.command("dbHash", collections=names)["collections"]
        return hashes


@dataclass(frozen=True, slots=True)
class Opened:
    """A database of two clinics, and what is in it before a test adds to it."""

    settings: Settings
    stored: Stored
    content: dict[str, list[Row]]

    def as_it_was(self) -> None:
        for name in self.stored.list_collection_names():
            self.stored[name].delete_many({})
            if rows := self.content.get(name):
                self.stored[name].insert_many(rows)


@pytest.fixture(scope="module")
def opened(settings: Settings) -> Iterator[Opened]:
    own = settings.model_copy(update={"mongodb_database": f"{settings.mongodb_database}_legacy"})
    for name in ("alpha", "beta"):
        who = ("--name", f"Clinic {name}", "--subdomain", name, "--timezone", "America/New_York")
        admin = ("--admin-name", "Ada Admin", "--admin-email", f"ada@{name}.example.com")
        ended = run(own, "onboard_tenant", *who, *admin, "--json", POLYCLINIC_ADMIN_PASSWORD="wide meadow 71")
        assert ended.returncode == 0, ended.stderr
    with MongoClient[Row](own.mongodb_uri, tz_aware=True) as client:
        stored = client[own.mongodb_database]
        yield Opened(own, stored, {name: list(stored[name].find()) for name in stored.list_collection_names()})


@pytest.fixture
def old(opened: Opened) -> Old:
    opened.as_it_was()
    clinics = {row["subdomain"]: row["_id"] for row in opened.stored["tenants"].find()}
    old = Old(opened.settings, opened.stored, clinics["alpha"], clinics["beta"])
    fill(old)
    return old


def fill(old: Old) -> None:
    doctor: Row = {"kind": "doctor", "name": "Doc Tor", "name_key": "doc tor"}
    doctors = {clinic: old.put(f"doctor {clinic}", "staff", tenant_id=clinic, **doctor) for clinic in (old.a, old.b)}
    bo: Row = {"given_name": "Bo", "family_name": "Bee", "name_key": "bee bo"}
    theirs = old.put("patient of b", "patients", tenant_ids=[old.b], **bo)
    old.put("their record", "patient_records", tenant_id=old.b, patient_id=theirs, code="OLD-9")
    old.put("twin of a", "rooms", tenant_id=old.a, name="Twin", name_key="twin", archived_at=None)

    when: Row = {"starts_at": datetime(2020, 1, 6, 12, tzinfo=UTC), "ends_at": datetime(2020, 1, 6, 13, tzinfo=UTC)}
    ana = old.put(
        "ana", "patients", given_name="Ana", family_name="Gómez", phone="(212) 555-0115", email="ANA@example.com"
    )
    old.put("ana's record", "patient_records", patient_id=ana, code="P-000041", notes=NOTES, national_id="12-345")
    old.put("ana's visit", "appointments", tenant_id=None, patient_id=ana, doctor_id=doctors[old.a], **when)
    bob = old.put("bob", "patients", tenant_id="beta", given_name="Bob", family_name="Stone", nickname="Bobby")
    old.put("bob's visit", "appointments", patient_id=bob, doctor_id=doctors[old.b], history=[], **when)
    old.put("torn", "appointments", patient_id=theirs, doctor_id=doctors[old.a], **when)
    old.put("dangling", "appointments", patient_id=ObjectId(), doctor_id=doctors[old.a], **when)
    old.put("lonely", "rooms", tenant_id="", name="Lonely")
    old.put("unfit", "patients", tenant_id="alpha", given_name="", family_name="Nameless")
    old.put("unfit's record", "patient_records", patient_id=old.ids["unfit"], code="P-7")
    old.put("twin", "rooms", tenant_id=str(old.a), name="Twin")
    old.put("entry", "audit_entries", tenant_id="alpha", action="patient.read")


ASSIGNED = {
    ("ana", "patients"): "a",
    ("ana's record", "patient_records"): "a",
    ("ana's visit", "appointments"): "a",
    ("bob", "patients"): "b",
    ("bob's visit", "appointments"): "b",
}
REASONS = {
    "torn": SEVERAL,
    "dangling": "patient_id points to nothing",
    "lonely": "nothing shows whose it is",
    "unfit": "givenName must have at least 1 character",
    "unfit's record": "patient_id leads to one of patients that cannot be assigned",
    "twin": "another document has the same name_key",
    "entry": CHAINED,
}


def assert_migrated(old: Old) -> None:
    clinics = {"a": old.a, "b": old.b}
    assert {place: old.owner(*place) for place in ASSIGNED} == {place: clinics[one] for place, one in ASSIGNED.items()}
    assert old.reasons() == REASONS
    for collection in ("patients", "patient_records", "appointments", "rooms", "audit_entries"):
        owner = "tenant_ids" if collection == "patients" else "tenant_id"
        assert old.stored[collection].count_documents({owner: {"$not": {"$type": "objectId"}}}) == 0


# --- looking ----------------------------------------------------------------------------------------------------------


def test_without_apply_it_tells_what_it_would_do_and_changes_nothing(old: Old) -> None:
    before = old.digest()

    told = old.told()

    assert old.digest() == before
    fates = told["collections"]
    assert fates["patients"]["assigned"] == {"alpha": {"references": 1}, "beta": {"named": 1}}
    assert fates["appointments"]["assigned"] == {"alpha": {"references": 1}, "beta": {"references": 1}}
    assert fates["appointments"]["quarantined"][SEVERAL] == {"count": 1, "examples": [str(old.ids["torn"])]}
    assert fates["rooms"]["quarantined"]["nothing shows whose it is"]["examples"] == [str(old.ids["lonely"])]
    assert fates["rooms"]["quarantined"][REASONS["twin"]]["count"] == 1
    assert fates["audit_entries"]["quarantined"][CHAINED]["count"] == 1
    assert told["run"] is None
    shown = old.run().stdout
    assert "Nothing was changed." in shown
    for secret in ("Ana", "Gómez", NOTES, "12-345"):
        assert secret not in shown + json.dumps(told)


# --- applying ---------------------------------------------------------------------------------------------------------


def test_documents_come_to_their_clinics_whole_and_sealed_and_the_rest_is_kept_apart(old: Old, tmp_path: Path) -> None:
    twin = old.stored["rooms"].find_one({"_id": old.ids["twin"]})

    told = old.told("--apply", *BECAUSE)

    assert_migrated(old)
    assert sum(told["run"]["assigned"].values()) == len(ASSIGNED)
    assert sum(told["run"]["taken"].values()) == len(ASSIGNED) + len(REASONS)
    [kept] = [row for row in old.stored["legacy_quarantine"].find() if row["reason"] == REASONS["twin"]]
    assert bson.decode(kept["content"]) == twin
    assert kept["clinic_id"] == old.a
    record = old.stored["patient_records"].find_one({"_id": old.ids["ana's record"]})
    assert record is not None
    assert is_sealed(record["notes"])
    assert is_sealed(record["national_id"])
    assert record["national_id_index"]
    ana = old.stored["patients"].find_one({"_id": old.ids["ana"]})
    assert ana is not None
    assert (ana["name_key"], ana["phone_key"], ana["email"]) == ("gomez ana", "12125550115", "ana@example.com")
    assert (ana["version"], ana["created_at"]) == (1, old.ids["ana"].generation_time)
    bob = old.stored["patients"].find_one({"_id": old.ids["bob"]})
    assert bob is not None
    assert bob["nickname"] == "Bobby"
    assert_a_clinic_has(old, tmp_path, "alpha", has=NOTES, has_not="Bobby")
    assert_a_clinic_has(old, tmp_path, "beta", has="Bobby", has_not=NOTES)


def assert_a_clinic_has(old: Old, folder: Path, subdomain: str, *, has: str, has_not: str) -> None:
    """What the clinic itself reads, through the guard."""
    ended = run(old.settings, "export_tenant", "--plain", "--tenant", subdomain, "--to", str(folder))
    assert ended.returncode == 0, ended.stderr
    [made] = folder.glob(f"{subdomain}-*")
    content = "".join(path.read_text() for path in made.glob("*.ndjson"))
    assert has in content
    assert has_not not in content


def test_patients_get_a_record_and_new_codes_go_on_behind_the_old_ones(old: Old) -> None:
    old.told("--apply", *BECAUSE)

    [bobs] = old.stored["patient_records"].find({"patient_id": old.ids["bob"]})
    assert (bobs["tenant_id"], bobs["code"]) == (old.b, "P-000010")
    counter = old.stored["counters"].find_one({"tenant_id": old.a, "name": "patient_code"})
    assert counter is not None
    assert counter["value"] == 41


def test_a_second_run_does_nothing(old: Old) -> None:
    old.told("--apply", *BECAUSE)
    old.stored["rooms"].delete_one({"_id": old.ids["twin of a"]})
    old.told("--apply", *BECAUSE)
    assert old.owner("twin", "rooms") == old.a, "what was in the way has gone, so it is no longer kept"
    before = old.digest()

    told = old.told("--apply", *BECAUSE)

    assert told["run"] is None
    assert old.digest() == before


def test_it_is_told_to_the_audits_of_platform_and_clinics(old: Old) -> None:
    told = old.told("--apply", *BECAUSE)

    begun = old.stored["platform_audit"].find_one({"action": "legacy.begin"})
    assert begun is not None
    assert begun["actor"].startswith("command:")
    assert begun["reason"] == BECAUSE[1]
    ended = old.stored["platform_audit"].find_one({"action": "legacy.end"})
    assert ended is not None
    assert ended["subject"] == f"legacy_runs/{told['run']['id']}"
    entries = list(old.stored["audit_entries"].find({"action": "legacy.assign"}))
    assert {entry["tenant_id"] for entry in entries} == {old.a, old.b}
    assert run(old.settings, "verify_audit").returncode == 0


def test_killed_at_any_write_it_is_finished_by_running_it_again(old: Old) -> None:
    kills = 0
    for write in count(3, step=9):
        code = old.killed_at(write, "--apply", *BECAUSE)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1

    assert kills >= 3
    assert_migrated(old)
    [done] = old.stored["legacy_runs"].find({"assigned": {"$ne": {}}})
    assert sum(done["taken"].values()) == len(ASSIGNED) + len(REASONS)
    assert sum(done["assigned"].values()) == len(ASSIGNED)
    assert old.stored["legacy_runs"].count_documents({"ended_at": None}) == 0


# --- what people say --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_map_takes_documents_out_of_quarantine(old: Old, tmp_path: Path, form: str) -> None:
    old.told("--apply", *BECAUSE)
    wanted = [
        {"collection": "rooms", "id": str(old.ids["lonely"]), "subdomain": "Beta"},
        {"collection": "rooms", "id": "nowhere", "subdomain": "beta"},
    ]
    path = tmp_path / f"map.{form}"
    lines = ["collection,id,subdomain", *(",".join(row.values()) for row in wanted)]
    path.write_text(json.dumps(wanted) if form == "json" else "\n".join(lines))

    told = old.told("--map", str(path), "--apply", *BECAUSE)

    assert told["unmatched"] == ["rooms nowhere"]
    assert told["run"]["assigned"] == {"rooms": 1}
    assert old.owner("lonely", "rooms") == old.b
    row = old.stored["rooms"].find_one({"_id": old.ids["lonely"]})
    assert row is not None
    assert row["name_key"] == "lonely"


def test_a_patient_of_two_clinics_is_shared_when_a_map_names_both(old: Old, tmp_path: Path) -> None:
    pia = old.put("pia", "patients", given_name="Pia", family_name="Both")
    for code, clinic in (("X-1", old.a), ("X-2", old.b)):
        old.put(code, "patient_records", tenant_id=clinic, patient_id=pia, code=code)
    path = tmp_path / "map.csv"
    path.write_text(f"collection,id,subdomain\npatients,{pia},alpha\npatients,{pia},beta\n")

    told = old.told("--map", str(path), "--apply", *BECAUSE)

    assert told["collections"]["patients"]["assigned"]["alpha+beta"] == {"map": 1}
    assert set(old.owner("pia", "patients")) == {old.a, old.b}


def test_everything_else_may_go_to_one_clinic_but_for_what_another_clinic_has_part_in(old: Old) -> None:
    told = old.told("--assign-all-to", "alpha", "--apply", *BECAUSE)

    assert told["collections"]["rooms"]["assigned"]["alpha"] == {"all": 1}
    assert old.owner("lonely", "rooms") == old.a
    assert old.owner("dangling", "appointments") == old.a
    assert old.owner("bob", "patients") == old.b, "it names its clinic itself"
    assert old.reasons()["bob's visit"] == "doctor_id points to another clinic's document"
    assert old.reasons()["torn"] == "patient_id points to another clinic's document"


def test_quarantined_documents_can_be_put_back_byte_for_byte_to_be_mended(old: Old) -> None:
    unfit = old.stored["patients"].find_one({"_id": old.ids["unfit"]})
    old.told("--apply", *BECAUSE)

    told = old.told("--restore", "--apply", *BECAUSE)

    assert sum(told["run"]["restored"].values()) == len(REASONS)
    assert old.reasons() == {}
    assert old.stored["patients"].find_one({"_id": old.ids["unfit"]}) == unfit
    old.stored.command(
        {
            "update": "patients",
            "updates": [{"q": {"_id": old.ids["unfit"]}, "u": {"$set": {"given_name": "Una"}}}],
            "bypassDocumentValidation": True,
        }
    )
    old.told("--apply", *BECAUSE)
    assert old.owner("unfit", "patients") == old.a
    assert old.owner("unfit's record", "patient_records") == old.a


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--apply",), 1, "--reason: must have at least 10 characters"),
        (("--assign-all-to", "gamma"), 1, "There is no clinic gamma."),
        (("--restore", "--assign-all-to", "alpha"), 2, "--restore assigns nothing"),
    ],
)
def test_a_wrong_call_is_told_and_changes_nothing(
    own_settings: Settings, arguments: tuple[str, ...], code: int, text: str
) -> None:
    ended = run(own_settings, "migrate_legacy", *arguments)
    assert ended.returncode == code
    assert text in ended.stderr


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("map.csv", "collection,id\nrooms,1\n", "has no column subdomain"),
        ("map.csv", "collection,id,subdomain\nrooms,1,\n", "line 2 must have a text for each of"),
        ("map.csv", "collection,id,subdomain\nrooms,1,a\nrooms,1,b\n", "a second clinic"),
        ("map.json", "{", "cannot be read"),
        ("map.json", "{}", "must be a list of objects"),
    ],
)
def test_a_map_that_says_something_else_is_refused(
    own_settings: Settings, tmp_path: Path, name: str, content: str, text: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    ended = run(own_settings, "migrate_legacy", "--map", str(path))
    assert ended.returncode == 2
    assert text in " ".join(ended.stderr.replace("│", " ").split())


# --- the schema -------------------------------------------------------------------------------------------------------


def test_a_database_without_the_schema_is_migrated_and_gets_it(old: Old) -> None:
    """Two old records of one code would keep a unique index off the database."""
    old.stored["patient_records"].drop_indexes()
    old.stored["schema_state"].delete_many({})
    for name in ("one", "other"):
        old.put(name, "patient_records", patient_id=ObjectId(), code="SAME")
    refused = run(old.settings, "apply_schema")
    assert refused.returncode == 1
    assert "scripts.migrate_legacy" in refused.stderr

    old.told("--apply", *BECAUSE)

    assert run(old.settings, "apply_schema", "--check").returncode == 0
    assert old.owner("ana's record", "patient_records") == old.a
