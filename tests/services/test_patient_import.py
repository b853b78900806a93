"""Files of patients: what is read of them, whom they are taken for, and what is stored."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from app.errors import Conflict, InvalidState, ValidationFailed
from app.services.patient_import import importing
from app.services.patient_import.columns import read_mapping
from app.services.patient_import.importing import Duplicates, Tally, Watch, check_file, import_file
from app.services.patient_import.reading import open_source
from app.services.patients import possible_duplicates, register
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Database
from app.tenancy.sealing import is_sealed
from models import AuditEntry, Patient, PatientImport, PatientRecord
from tests.fixtures.clinics import Clinic, MakeClinic

Row = dict[str, Any]


@dataclass(slots=True)
class Desk:
    """A clinic to import into. `problems` are those of the latest import: (line, column, text)."""

    clinic: Clinic
    folder: Path
    problems: list[tuple[int, str, str]] = field(default_factory=list)

    def file(self, *lines: str, name: str = "patients.csv") -> Path:
        path = self.folder / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    async def run(
        self,
        path: Path,
        duplicates: Duplicates = Duplicates.SKIP,
        *,
        dry: bool = False,
        strict: bool = False,
        said: Mapping[str, str] | None = None,
    ) -> Tally:
        self.problems = []
        watch = Watch(problem=lambda *problem: self.problems.append(problem))
        async with tenant_scope(self.clinic.ref):
            source = open_source(path, said or {})
            if dry:
                return await check_file(source, duplicates, watch=watch)
            return await import_file(source, duplicates, actor="test", strict=strict, watch=watch)

    async def patients(self) -> dict[str, Row]:
        """The clinic's patients by given name, each with its record."""
        async with tenant_scope(self.clinic.ref):
            records = {row["patient_id"]: row for row in await PatientRecord.rows()}
            return {row["given_name"]: {**row, "record": records.get(row["_id"])} for row in await Patient.rows()}


@pytest_asyncio.fixture
async def desk(make_clinic: MakeClinic, tmp_path: Path) -> Desk:
    return Desk(await make_clinic(), tmp_path)


def counts(tally: Tally) -> tuple[int, int, int, int]:
    return tally.imported, tally.known, tally.duplicates, tally.refused


# --- what is read -----------------------------------------------------------------------------------------------------


async def test_a_line_becomes_a_patient_with_a_record_and_a_code(desk: Desk, raw: Database) -> None:
    path = desk.file(
        "\ufeffExternal ID;First name;Surname;Date of birth;Gender;Phone;E-mail address;ZIP;Contact name;Contact phone;"
        "Allergies;National ID;Notes;Colour",
        'old-1;Ana;Gómez;1980-02-29;f;(212) 555-0115;ANA@Example.com;10003;Bo;212 555 0100;"Nuts; latex";12-345;'
        '"Two\nlines";red',
    )

    tally = await desk.run(path, said=dict(read_mapping(["Colour=-"])))

    assert (counts(tally), desk.problems) == ((1, 0, 0, 0), [])
    ana = (await desk.patients())["Ana"]
    assert (ana["family_name"], ana["birth_date"], ana["sex"]) == ("Gómez", "1980-02-29", "female")
    assert (ana["phone_key"], ana["email"], ana["name_key"]) == ("12125550115", "ana@example.com", "gomez ana")
    assert ana["address"]["zip_code"] == "10003"
    assert ana["contacts"] == [{"name": "Bo", "relationship": None, "phone": "212 555 0100"}]
    assert [one["substance"] for one in ana["allergies"]] == ["Nuts", "latex"]
    record = ana["record"]
    assert (record["code"], record["external_id"], record["national_id"]) == ("P-000001", "old-1", "12-345")
    assert record["notes"] == "Two\nlines"
    stored = await raw["patient_records"].find_one({"_id": record["_id"]})
    assert stored is not None
    assert is_sealed(stored["notes"])
    assert stored["national_id_index"]


async def test_objects_are_read_as_the_api_takes_them(desk: Desk) -> None:
    ana = {"givenName": "Ana", "familyName": "Lee", "externalId": "1", "address": {"zipCode": "1"}, "phone": None}
    path = desk.file(json.dumps(ana), "{", '{"givenName": "Bo", "familyName": "Lee", "shoe": 1}', name="p.ndjson")

    tally = await desk.run(path)

    assert counts(tally) == (1, 0, 0, 2)
    assert desk.problems == [(2, "", "must be one JSON object"), (3, "shoe", "is nothing that patients have")]
    assert (await desk.patients())["Ana"]["address"]["zip_code"] == "1"


async def test_what_is_wrong_is_told_by_line_and_column_and_the_rest_is_imported(desk: Desk) -> None:
    path = desk.file(
        "Given name,Family name,Born,E-mail,Zip",
        "Ana,Lee,1980-01-01,ana@example.com,1",
        '"Bo\nby",,1980-01-01,,',
        "Cy,Lee,31.12.1980,nobody,2",
        "",
        "Di,Lee",
        "Ed,Lee,2999-01-01,,",
        "Flo,Lee,,,",
    )

    tally = await desk.run(path)

    assert counts(tally) == (2, 0, 0, 4)
    assert [(line, column) for line, column, _ in desk.problems] == [
        (3, "Given name"),
        (3, "Family name"),
        (5, "Born"),
        (5, "E-mail"),
        (7, ""),
        (8, "Born"),
    ]
    assert not [text for _, _, text in desk.problems if "31.12" in text or "nobody" in text]
    assert set(await desk.patients()) == {"Ana", "Flo"}


@pytest.mark.parametrize(
    ("header", "paths"),
    [
        ("given_name,family_name,shoe size", ["header.shoe size"]),
        ("given_name,birth_date", ["header.family_name"]),
        ("given_name,family_name,First Name", ["header.First Name"]),
    ],
)
async def test_a_header_that_is_not_understood_imports_nothing(desk: Desk, header: str, paths: list[str]) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await desk.run(desk.file(header, "a,b,c"))
    assert [one.path for one in refused.value.fields] == paths


@pytest.mark.parametrize("content", [b"given_name,family_name\nAna,L\xe9e\n", b'given_name,family_name\nAna,"Lee\n'])
async def test_a_file_that_is_no_csv_is_told_so(desk: Desk, content: bytes) -> None:
    path = desk.folder / "broken.csv"
    path.write_bytes(content)
    with pytest.raises(ValidationFailed) as refused:
        await desk.run(path)
    assert [one.path for one in refused.value.fields] == ["file"]


# --- all or nothing, once ---------------------------------------------------------------------------------------------


async def test_a_dry_run_says_what_an_import_would_do_and_stores_nothing(desk: Desk) -> None:
    path = desk.file(
        "external_id,given_name,family_name,phone",
        "1,Ana,Lee,212 555 0101",
        "1,Bo,Lee,",
        "2,Cy,Lee,12125550101",
        "3,,,",
    )

    told = await desk.run(path, dry=True)

    assert await desk.patients() == {}
    assert counts(told) == (1, 0, 1, 2)
    assert counts(await desk.run(path)) == counts(told)


async def test_strictly_nothing_is_imported_unless_every_line_is_right(desk: Desk) -> None:
    path = desk.file("given_name,family_name", "Ana,Lee", "Bo,")
    with pytest.raises(ValidationFailed):
        await desk.run(path, strict=True)
    assert await desk.patients() == {}
    assert [line for line, _, _ in desk.problems] == [3]

    assert counts(await desk.run(desk.file("given_name,family_name", "Ana,Lee", "Bo,Day"), strict=True)) == (2, 0, 0, 0)


async def test_the_same_patients_are_not_imported_twice(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "TOGETHER", 3)
    lines = [f"old-{number},Given {number},Family,{1950 + number}-01-01" for number in range(8)]
    header = "external_id,given_name,family_name,birth_date"
    assert counts(await desk.run(desk.file(header, *lines))) == (8, 0, 0, 0)

    again = await desk.run(desk.file(header, *lines, "old-9,New,Family,", name="another.csv"))

    assert counts(again) == (1, 8, 0, 0)
    patients = await desk.patients()
    assert len(patients) == 9
    assert len({one["record"]["code"] for one in patients.values()}) == 9


async def test_an_external_id_stands_on_one_line_only(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "TOGETHER", 2)
    path = desk.file("external_id,given_name,family_name", "1,Ana,Lee", "2,Bo,Lee", "1,Cy,Lee", "3,Di,Lee", "3,Ed,Lee")

    assert counts(await desk.run(path)) == (3, 0, 0, 2)

    assert [(line, column) for line, column, _ in desk.problems] == [(4, "external_id"), (6, "external_id")]


async def test_a_file_without_ids_is_not_imported_a_second_time_by_mistake(desk: Desk) -> None:
    path = desk.file("given_name,family_name", "Ana,Lee")
    await desk.run(path, Duplicates.IMPORT)
    with pytest.raises(InvalidState):
        await desk.run(path, Duplicates.IMPORT)
    assert len(await desk.patients()) == 1


async def test_two_who_import_the_same_file_at_once_make_no_doubles(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "TOGETHER", 2)
    path = desk.file("given_name,family_name", *(f"Given {number},Family" for number in range(9)))

    ended = await asyncio.gather(*(desk.run(path, Duplicates.IMPORT) for _ in range(2)), return_exceptions=True)

    assert any(isinstance(one, Tally) for one in ended)
    assert all(isinstance(one, Tally | Conflict | InvalidState) for one in ended), ended
    async with tenant_scope(desk.clinic.ref):
        assert len(await Patient.rows()) == len(await PatientRecord.rows()) == 9


async def test_somebody_registered_meanwhile_is_refused_and_the_others_are_stored(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = desk.file("external_id,given_name,family_name", "1,Ana,Lee", "2,Bo,Lee", "3,Cy,Lee")
    look = importing._Importing._take_duplicates

    async def meanwhile(self: Any, part: Any) -> None:
        await look(self, part)
        row = await register({"given_name": "Boris", "family_name": "Lee"})
        await PatientRecord.guarded().update_one({"patient_id": row["_id"]}, {"$set": {"external_id": "2"}})

    monkeypatch.setattr(importing._Importing, "_take_duplicates", meanwhile)

    assert counts(await desk.run(path)) == (2, 0, 0, 1)

    assert set(await desk.patients()) == {"Ana", "Boris", "Cy"}
    assert desk.problems == [(3, "", "was registered by somebody else meanwhile")]


async def test_an_import_is_one_act_in_the_audit_with_its_counts(desk: Desk) -> None:
    await desk.run(desk.file("given_name,family_name", "Ana,Lee", "Bo,"))

    async with tenant_scope(desk.clinic.ref):
        [run] = await PatientImport.rows()
        entries = await AuditEntry.rows({"action": "patient.import"})
    assert (run["imported"], run["refused"], run["line"], run["actor"]) == (1, 1, 3, "test")
    assert run["ended_at"] is not None
    assert [entry["subject"] for entry in entries] == [f"patient_imports/{run['_id']}"]


# --- duplicates -------------------------------------------------------------------------------------------------------

KNOWN: Row = {
    "given_name": "José",
    "family_name": "García",
    "birth_date": "1970-05-05",
    "phone": "+1 212 555 0115",
    "email": "jose@example.com",
    "national_id": "AB-12 345",
    "insurance_number": "777-777",
}
LIKE: tuple[Row, ...] = (
    {"phone": "(212) 555-0115"},
    {"email": "JOSE@example.com"},
    {"given_name": "jose", "family_name": "GARCIA", "birth_date": "1970-05-05"},
    {"national_id": "ab12345"},
    {"insurance_number": "777777"},
)
UNLIKE: tuple[Row, ...] = (
    {"phone": "212 555 0116"},
    {"birth_date": "1970-05-05"},
    {"given_name": "José", "family_name": "García", "birth_date": "1970-05-06"},
    {"national_id": "777777"},
)


@pytest.mark.parametrize("values", [*LIKE, *UNLIKE], ids=str)
async def test_lines_are_taken_for_those_whom_registering_would_warn_of(desk: Desk, values: Row) -> None:
    described: Row = {"given_name": "Other", "family_name": "Name", **values}
    async with tenant_scope(desk.clinic.ref):
        known = await register(KNOWN)
        warned = await possible_duplicates(described, {"_id": 1})
    assert bool(warned) is (values in LIKE)

    tally = await desk.run(desk.file(",".join(described), ",".join(described.values())), dry=True)

    assert tally.duplicates == len(warned)
    [column] = {*values} - {"given_name", "family_name"}
    said = [(2, column, f"may be the same person as the clinic's patient {known['_id']} (left out)")]
    assert desk.problems == (said if warned else [])


@pytest.mark.parametrize(
    ("policy", "expected", "there"),
    [
        (Duplicates.SKIP, (1, 0, 1, 0), {"Ana"}),
        (Duplicates.IMPORT, (2, 0, 1, 0), {"Ana", "Bo"}),
        (Duplicates.FAIL, (1, 0, 0, 1), {"Ana"}),
    ],
)
@pytest.mark.parametrize("together", [1, 2], ids=["in another part", "in the same part"])
async def test_lines_of_one_file_are_compared_too(
    desk: Desk,
    policy: Duplicates,
    expected: tuple[int, int, int, int],
    there: set[str],
    together: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importing, "TOGETHER", together)
    path = desk.file("given_name,family_name,phone", "Ana,Lee,212 555 0101", "Bo,Lee,+12125550101")

    assert counts(await desk.run(path, policy)) == expected

    assert set(await desk.patients()) == there
    assert [(line, column) for line, column, _ in desk.problems] == [(3, "phone")]


async def test_another_clinics_patients_are_not_compared(desk: Desk, make_clinic: MakeClinic) -> None:
    async with tenant_scope((await make_clinic()).ref):
        await register(KNOWN)
    tally = await desk.run(desk.file("given_name,family_name,phone", "Ana,Lee,+1 212 555 0115"))
    assert counts(tally) == (1, 0, 0, 0)


# --- memory -----------------------------------------------------------------------------------------------------------


async def test_a_file_ten_times_as_long_takes_no_more_memory(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "TOGETHER", 50)

    async def most(name: str, start: int, count: int) -> int:
        lines = [f"old-{number},Given,Family {number}," + "x" * 2_000 for number in range(start, start + count)]
        path = desk.file("external_id,given_name,family_name,notes", *lines, name=name)
        del lines
        tracemalloc.start()
        try:
            assert counts(await desk.run(path)) == (count, 0, 0, 0)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    await most("first.csv", 0, 100)  # what is loaded once is not counted
    little = await most("short.csv", 1_000, 200)
    assert await most("long.csv", 10_000, 2_000) < 2 * little
