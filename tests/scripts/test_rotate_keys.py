"""The command that turns keys while servers work: nothing is lost, nothing stays under the former, at any kill -9."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
from bson import Binary, ObjectId
from pydantic import SecretStr

from app.config import PROJECT_ROOT, Settings
from app.integrations.kms import KeyRefused, masters_of
from app.services import tenant_keys
from app.services.tenant_keys import TenantKeys
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Database
from app.tenancy.sealing import SUBTYPE, blind, is_sealed, key_version, set_key_source
from models import Appointment, PatientRecord, TenantKey
from tests.conftest import TEST_ENCRYPTION_KEY
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.twins import fingerprints
from tests.fixtures.vault import TOKEN, Vault
from tests.resolvers.patient_calls import NOTES, ONE, register
from tests.scripts.commands import environment, run

ANOTHER_KEY = "bN4cKt8_JwHy3sDfGp6uTeXa1oRi5Q7mZ2xLr9-V"
RECORDS = "patient_records"


@dataclass(slots=True)
class House:
    """A clinic with sealed patients' records."""

    clinic: Clinic
    admin: Client
    patients: list[dict[str, Any]]
    raw: Database

    @property
    def name(self) -> str:
        return self.clinic.tenant.subdomain

    async def records(self) -> list[dict[str, Any]]:
        """As they are stored."""
        return await self.raw[RECORDS].find({"tenant_id": self.clinic.tenant.key}).sort("_id").to_list()

    async def versions(self) -> set[int]:
        """The keys under which its values are; 0 stands for plain ones."""
        found = {
            key_version(row[name]) if is_sealed(row[name]) else 0
            for row in await self.records()
            for name in ("notes", "national_id")
            if row.get(name) is not None
        }
        notes = [row["notes"] async for row in self.raw["appointments"].find({"tenant_id": self.clinic.tenant.key})]
        return found | {key_version(one) if is_sealed(one) else 0 for one in notes}

    async def keys(self) -> list[tuple[int, str, bool]]:
        """Version, state, and whether the key is there."""
        rows = await TenantKey.rows({"clinic_id": self.clinic.tenant.key}, sort=[("version", 1)])
        return [(row["version"], row["state"], row["wrapped"] is not None) for row in rows]

    async def read(self) -> list[tuple[Any, ...]]:
        """What the clinic sees."""
        async with tenant_scope(self.clinic.ref):
            rows = await PatientRecord.rows(sort=[("_id", 1)])
            visits = await Appointment.rows(sort=[("_id", 1)])
        shown = [(row["notes"], row["national_id"], row["version"], row["updated_at"]) for row in rows]
        return [*shown, *((row["notes"], row["version"]) for row in visits)]


@pytest_asyncio.fixture
async def house(make_clinic: MakeClinic, server: Server, raw: Database) -> House:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    patients = [await register(admin, notes=f"note {n}", nationalId=f"AB-00{n}") for n in range(5)]
    async with tenant_scope(clinic.ref):
        record = (await PatientRecord.rows(limit=1))[0]
    visit = {"patient_id": record["patient_id"], "notes": "plain from before", "version": 1}
    await raw["appointments"].insert_one({"tenant_id": clinic.tenant.key, **visit})
    await raw[RECORDS].update_one({"_id": record["_id"]}, {"$set": {"notes": "plain as well"}})
    return House(clinic, admin, patients, raw)


@pytest.fixture
def quickly_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of the tests goes on with known keys for a moment only."""
    monkeypatch.setattr(tenant_keys, "KEPT_SECONDS", 0.3)


def forget_keys() -> None:
    """What the minute's wait does to a server."""
    source = set_key_source(None)
    set_key_source(source)
    assert isinstance(source, TenantKeys)
    source.forget()


async def rotate(settings: Settings, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    done = await asyncio.to_thread(run, settings, "rotate_keys", *arguments, COLUMNS="160", **changes)
    forget_keys()
    return done


async def opened_by(settings: Settings, clinic: ObjectId, **changes: Any) -> list[int]:
    """The versions that a server with such settings opens."""
    async with TenantKeys(masters_of(Settings(**{**settings.model_dump(), **changes}))) as keys:
        return list(await keys.ring(clinic, create=False))


# --- data keys --------------------------------------------------------------------------------------------------------


async def test_everything_is_sealed_anew_and_reads_as_before(house: House, settings: Settings, raw: Database) -> None:
    before = await house.read()
    assert await house.versions() == {0, 1}

    done = await rotate(settings, "--data", "--clinic", house.name, "--settle", "0")

    assert done.returncode == 0, done.stderr
    assert "version 1 is destroyed" in done.stdout
    assert await house.versions() == {2}
    assert await house.keys() == [(1, "destroyed", False), (2, "live", True)]
    assert await house.read() == before
    assert not [text for text in ("note 1", "plain as well", "AB-00") if text in str(await house.records())]
    async with tenant_scope(house.clinic.ref):
        assert len(await PatientRecord.rows(await blind(PatientRecord, "national_id", "ab003"))) == 1
    again = await rotate(settings, "--data", "--clinic", house.name, "--settle", "0")
    assert again.returncode == 0
    assert await house.versions() == {3}
    assert await house.read() == before


async def test_another_clinic_is_not_touched(
    house: House, settings: Settings, raw: Database, clinic_b: Clinic, stranger: Client
) -> None:
    await register(stranger, notes="of another clinic")
    before = await fingerprints(raw, clinic_b)
    keys = await TenantKey.rows({"clinic_id": clinic_b.tenant.key})
    await rotate(settings, "--data", "--clinic", house.name, "--settle", "0")
    assert await fingerprints(raw, clinic_b) == before
    assert await TenantKey.rows({"clinic_id": clinic_b.tenant.key}) == keys


async def test_a_dry_run_tells_and_changes_nothing(house: House, settings: Settings, raw: Database) -> None:
    before, keys = await fingerprints(raw, house.clinic), await house.keys()
    done = await rotate(settings, "--data", "--clinic", house.name, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"{house.name}: 6 documents" in done.stdout
    assert "2 hold plain values" in done.stdout
    assert await fingerprints(raw, house.clinic) == before
    assert await house.keys() == keys


async def test_killed_at_any_point_it_is_finished_by_running_it_again(house: House, settings: Settings) -> None:
    before = await house.read()
    kills = 0
    for die_at in count(1):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.standin_rotate", str(die_at)),
            *("--data", "--clinic", house.name, "--settle", "0"),
            cwd=PROJECT_ROOT,
            env=environment(settings),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        _, errors = await process.communicate()
        forget_keys()
        assert await house.read() == before
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors.decode()
        kills += 1
    assert kills >= 4
    assert len(await house.versions()) == 1
    assert [state for _, state, _ in await house.keys()].count("live") == 1


@pytest.mark.usefixtures("quickly_forgotten")
async def test_changes_made_meanwhile_are_kept(house: House, settings: Settings) -> None:
    forget_keys()
    ended = asyncio.Event()
    written: dict[str, str] = {}

    async def write(patient: dict[str, Any]) -> None:
        for number in count(2):
            if ended.is_set():
                return
            text = f"change {number} of {patient['id']}"
            version = (await house.admin.gql(ONE, id=patient["id"])).data["patient"]["record"]["version"]
            answer = await house.admin.gql(NOTES, input={"id": patient["id"], "version": version, "notes": text})
            assert answer.data["updatePatientNotes"]["record"]["notes"] == text
            written[patient["id"]] = text
            await asyncio.sleep(0.01)

    writers = [asyncio.create_task(write(patient)) for patient in house.patients[:3]]
    done = await asyncio.to_thread(run, settings, "rotate_keys", "--data", "--clinic", house.name, "--settle", "2")
    ended.set()
    await asyncio.gather(*writers)

    assert done.returncode == 0, done.stderr
    assert len(written) == 3
    for id, text in written.items():
        assert (await house.admin.gql(ONE, id=id)).data["patient"]["record"]["notes"] == text
    assert await house.versions() == {2}


async def test_a_value_that_does_not_open_keeps_its_key(house: House, settings: Settings, raw: Database) -> None:
    broken = (await house.records())[2]
    forged = Binary(broken["notes"][:-1] + bytes([broken["notes"][-1] ^ 1]), SUBTYPE)
    await raw[RECORDS].update_one({"_id": broken["_id"]}, {"$set": {"notes": forged}})

    done = await rotate(settings, "--data", "--clinic", house.name, "--settle", "0")

    assert done.returncode == 1
    assert f"{RECORDS}.notes of {broken['_id']}" in done.stderr
    assert [state for _, state, _ in await house.keys()] == ["live", "live"]
    await raw[RECORDS].update_one({"_id": broken["_id"]}, {"$set": {"notes": broken["notes"]}})
    assert (await rotate(settings, "--data", "--clinic", house.name, "--settle", "0")).returncode == 0
    assert await house.keys() == [(1, "destroyed", False), (2, "live", True)]


# --- the master key ---------------------------------------------------------------------------------------------------


async def test_the_master_key_is_changed_and_changed_back(house: House, settings: Settings) -> None:
    own, before = house.clinic.tenant.key, await house.read()
    new = {"encryption_key": SecretStr(ANOTHER_KEY)}

    done = await rotate(
        settings,
        "--master",
        "--clinic",
        house.name,
        ENCRYPTION_KEY=ANOTHER_KEY,
        ENCRYPTION_KEYS_OLD=TEST_ENCRYPTION_KEY,
    )

    assert done.returncode == 0, done.stderr
    assert await opened_by(settings, own, **new) == [1]
    with pytest.raises(KeyRefused):
        await opened_by(settings, own)
    back = await rotate(settings, "--master", "--clinic", house.name, ENCRYPTION_KEYS_OLD=ANOTHER_KEY)
    assert back.returncode == 0, back.stderr
    assert await house.read() == before


async def test_keys_move_to_a_key_service(house: House, settings: Settings, vault: Vault) -> None:
    own, before = house.clinic.tenant.key, await house.read()

    done = await rotate(settings, "--master", "--clinic", house.name, KMS_URL=vault.url, KMS_TOKEN=TOKEN)

    assert done.returncode == 0, done.stderr
    with pytest.raises(KeyRefused, match="KMS_URL"):
        await opened_by(settings, own)
    served = {"kms_url": vault.url, "kms_token": SecretStr(TOKEN)}
    assert await opened_by(settings, own, **served, encryption_key=None) == [1]
    async with TenantKeys(masters_of(Settings(**{**settings.model_dump(), **served}))) as keys:
        source = set_key_source(keys)
        try:
            assert await house.read() == before
        finally:
            set_key_source(source)
    await TenantKey.guarded().delete_many({"clinic_id": own})


async def test_without_the_former_master_it_says_so_and_changes_nothing(house: House, settings: Settings) -> None:
    rows = await TenantKey.rows({"clinic_id": house.clinic.tenant.key})
    for what in ("--master", "--data"):
        done = await rotate(settings, what, "--clinic", house.name, "--settle", "0", ENCRYPTION_KEY=ANOTHER_KEY)
        assert done.returncode == 1
        assert "ENCRYPTION_KEYS_OLD" in done.stderr
        assert "Traceback" not in done.stderr
    assert await TenantKey.rows({"clinic_id": house.clinic.tenant.key}) == rows
    assert await house.versions() <= {0, 1}


async def test_a_dry_run_of_the_master_counts(house: House, settings: Settings) -> None:
    done = await rotate(
        settings,
        *("--master", "--clinic", house.name, "--dry-run"),
        ENCRYPTION_KEY=ANOTHER_KEY,
        ENCRYPTION_KEYS_OLD=TEST_ENCRYPTION_KEY,
    )
    assert done.stdout.startswith("1 data keys, 1 of them")
    assert await opened_by(settings, house.clinic.tenant.key) == [1]


# --- how it is called -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [(), ("--master",), ("--data",), ("--master", "--data", "--all"), ("--data", "--all", "--clinic", "x")],
    ids=str,
)
@pytest.mark.usefixtures("server")
async def test_a_wrong_call_is_told(arguments: tuple[str, ...], settings: Settings) -> None:
    assert (await rotate(settings, *arguments)).returncode == 2


@pytest.mark.usefixtures("server")
async def test_an_unknown_clinic_is_one_sentence(settings: Settings) -> None:
    done = await rotate(settings, "--data", "--clinic", "no-such-clinic")
    assert (done.returncode, done.stderr) == (1, "There is no clinic no-such-clinic.\n")


async def test_all_clinics_are_one_run(house: House, settings: Settings, clinic_b: Clinic, stranger: Client) -> None:
    await register(stranger, notes="of another clinic")
    done = await rotate(settings, "--data", "--all", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"{house.name}: 6 documents" in done.stdout
    assert f"{clinic_b.tenant.subdomain}: " in done.stdout
