"""The data of the comparison is what the models would store, complete after a kill, and answered alike by all."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from beanie import Document
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database

from app.config import PROJECT_ROOT
from app.services.changes import row_of
from benchmarks.data import shapes
from benchmarks.data.building import MARK, documents_of, fingerprint
from benchmarks.data.people import generator, person
from benchmarks.data.sizes import FULL, PER_DAY, SMALL, VISITS, Size, growth_of
from models.appointment import Appointment
from models.patient import Patient
from models.phones import phone_key
from models.values import search_key
from tests.benchmarks.tiny import TINY
from tests.fixtures.clinics import Server

CLINIC = shapes.Clinic(3, ObjectId())


@pytest.mark.parametrize("place", range(8))
def test_a_document_is_stored_exactly_as_its_model_stores_it(server: Server, place: int) -> None:
    model, rows = documents_of(CLINIC, FULL)[place]
    document: type[Document] = model
    for row in islice(rows, 30):
        kept = {name: value for name, value in row.items() if name != "tenant_ids"}
        assert row_of(document.model_validate(row)) == kept
        assert set(row) - {"tenant_ids", "_id"} == set(document.model_fields) - {"id", "revision_id"}


def test_keys_for_search_are_those_that_the_models_derive(server: Server) -> None:
    rng = generator(1)
    for one in (person(rng) for _ in range(200)):
        assert one.phone_key == phone_key(one.phone, "US")
        assert one.name_key == search_key(one.family_name, one.given_name)
        assert one.given_key == search_key(one.given_name, one.family_name)
    for row in islice(shapes.patients(CLINIC, SMALL), 50):
        derived = Patient.model_validate(row).keyed()
        assert (derived.name_key, derived.phone_key) == (row["name_key"], row["phone_key"])


@pytest.mark.parametrize("size", [FULL, SMALL, TINY, *growth_of(SMALL)], ids=str)
def test_nobody_is_booked_twice_and_pages_are_full(size: Size) -> None:
    rows = list(shapes.appointments(CLINIC, size))
    claims = Counter(claim for row in rows for claim in row["claims"] or ())
    per_day = Counter(row["starts_at"].date() for row in rows)
    per_patient = Counter(row["patient_id"] for row in rows)
    assert max(claims.values()) == 1
    assert [per_day[shapes.day(number).date()] for number in range(size.full_days)] == [PER_DAY] * size.full_days
    assert min(per_patient[CLINIC.patient(number)] for number in range(size.regulars)) >= VISITS


def test_the_same_clinic_is_made_alike_every_time() -> None:
    assert list(shapes.patients(CLINIC, TINY)) == list(shapes.patients(CLINIC, TINY))
    assert fingerprint(FULL) == fingerprint(FULL) != fingerprint(SMALL)


def test_the_full_set_is_as_large_as_it_is_called() -> None:
    assert (FULL.clinics, FULL.clinics * FULL.patients, FULL.clinics * FULL.appointments) == (200, 500_000, 1_000_000)


@pytest.fixture
def built(mongodb_uri: str) -> Iterator[Database[dict[str, Any]]]:
    """Where the tiny set is built; dropped before and after."""
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        client.drop_database(TINY.database)
        yield client[TINY.database]
        client.drop_database(TINY.database)


def _run(uri: str, folder: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "tests.benchmarks.tiny", uri, str(folder), *more]
    ended = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    return ended.stdout.splitlines()


@pytest.mark.xdist_group("bench-data")
def test_a_set_is_built_kept_mended_and_answered_alike_by_every_server(
    mongodb_uri: str, built: Database[dict[str, Any]], tmp_path: Path
) -> None:
    assert _run(mongodb_uri, tmp_path)[0] == f"Data: building {TINY}"
    assert built["appointments"].count_documents({}) == TINY.clinics * TINY.appointments
    wanted = {index.document["name"] for index in Appointment.Settings.indexes}
    assert wanted <= set(built["appointments"].index_information())

    built[MARK].delete_many({})  # as a process leaves it that is killed while it builds
    assert _run(mongodb_uri, tmp_path)[0] == f"Data: building {TINY}"
    assert built["appointments"].count_documents({}) == TINY.clinics * TINY.appointments

    told = _run(mongodb_uri, tmp_path, "compare")
    assert told[0] == f"Data: {TINY}, as built before"
    assert told[-4:] == ["q1 True", "q2 True", "q3 True", "m1 True"]
    assert built["appointments"].count_documents({}) == TINY.clinics * TINY.appointments
