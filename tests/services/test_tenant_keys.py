"""Each clinic has a key of its own, which only the master key opens, and which goes with the clinic for good."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
import pytest_asyncio
from bson import ObjectId
from pydantic import SecretStr

from app.config import Settings
from app.integrations import kms
from app.integrations.kms import KeyRefused, KeyServiceDown, Masters, masters_of
from app.services import tenant_keys
from app.services.deletion import delete_tenant
from app.services.tenant_export import export_tenant
from app.services.tenant_keys import TenantKeys
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Database
from app.tenancy.sealing import SealBroken, open_rows, open_value, seal_value, set_key_source
from models import PatientRecord, TenantKey
from tests.conftest import TEST_ENCRYPTION_KEY
from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.fixtures.commands import Commands
from tests.fixtures.people import SignedIn
from tests.fixtures.vault import TOKEN, Vault
from tests.resolvers.patient_calls import CREATE, ONE, register

ANOTHER_KEY = "bN4cKt8_JwHy3sDfGp6uTeXa1oRi5Q7mZ2xLr9-V"
pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture
def clinic() -> ObjectId:
    """The id of a clinic that has no key yet."""
    return ObjectId()


@pytest_asyncio.fixture
async def keys(settings: Settings) -> AsyncIterator[TenantKeys]:
    """The keys as another process knows them."""
    async with TenantKeys(masters_of(settings)) as other:
        yield other


def with_vault(settings: Settings, vault: Vault, token: str = TOKEN) -> TenantKeys:
    chosen = {"kms_url": vault.url, "kms_token": SecretStr(token), "encryption_key": None}
    return TenantKeys(masters_of(Settings(**{**settings.model_dump(), **chosen})))


async def stored_keys(clinic: ObjectId) -> list[dict[str, Any]]:
    return await TenantKey.rows({"clinic_id": clinic}, sort=[("version", 1)])


# --- making and keeping -----------------------------------------------------------------------------------------------


async def test_processes_that_seal_at_the_same_moment_get_one_key(settings: Settings, clinic: ObjectId) -> None:
    processes = [TenantKeys(masters_of(settings)) for _ in range(8)]
    rings = await asyncio.gather(*(one.ring(clinic, create=True) for one in processes for _ in range(3)))
    assert len(await stored_keys(clinic)) == 1
    sealed = seal_value(rings[0], clinic, "c.f", clinic, "shared")
    assert {open_value(ring, clinic, "c.f", clinic, sealed) for ring in rings} == {"shared"}
    for one in processes:
        await one.close()


async def test_reading_makes_no_key(keys: TenantKeys, clinic: ObjectId) -> None:
    assert len(await keys.ring(clinic, create=False)) == 0
    assert await stored_keys(clinic) == []
    assert len(await keys.ring(clinic, create=True)) == 1


async def test_a_known_key_is_not_asked_for_again(keys: TenantKeys, clinic: ObjectId, commands: Commands) -> None:
    await keys.ring(clinic, create=True)
    commands.clear()
    for _ in range(5):
        await keys.ring(clinic, create=True, needs=[1])
    assert commands.on("tenant_keys") == []


async def test_a_version_that_another_process_made_is_loaded(
    settings: Settings, keys: TenantKeys, clinic: ObjectId
) -> None:
    await keys.ring(clinic, create=True)
    async with TenantKeys(masters_of(settings)) as other:
        assert await other.add_version(clinic, 2)
        assert not await other.add_version(clinic, 2)
    assert list(await keys.ring(clinic, create=True)) == [1], "for its minute it goes on with what it knows"
    assert list(await keys.ring(clinic, create=False, needs=[2])) == [1, 2]


async def test_a_key_is_forgotten_after_its_time_by_a_process_that_does_nothing(
    keys: TenantKeys, clinic: ObjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_keys, "KEPT_SECONDS", 0.05)
    await keys.ring(clinic, create=True)
    assert clinic in keys._kept
    await asyncio.sleep(1.2)
    assert clinic not in keys._kept


async def test_only_so_many_clinics_keys_are_in_memory(keys: TenantKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_keys, "RINGS_KEPT", 3)
    for _ in range(5):
        await keys.ring(ObjectId(), create=True)
    assert len(keys._kept) == 3
    assert not keys._locks


async def test_a_destroyed_key_is_gone_from_the_process_that_destroyed_it(keys: TenantKeys, clinic: ObjectId) -> None:
    await keys.ring(clinic, create=True)
    await TenantKey.guarded().delete_many({"clinic_id": clinic})
    keys.forget(clinic)
    assert len(await keys.ring(clinic, create=False)) == 0


async def test_no_key_shows_in_what_is_printed_or_exported(
    keys: TenantKeys, clinic: ObjectId, settings: Settings
) -> None:
    ring = await keys.ring(clinic, create=True)
    row = await TenantKey.find_one({"clinic_id": clinic})
    assert row is not None
    assert row.wrapped is not None
    for shown in (repr(row), repr(keys.__dict__), repr(ring), repr(settings), str(vars(keys)["_kept"])):
        for secret in (row.wrapped, ring._keys[1], TEST_ENCRYPTION_KEY.encode()):
            assert str(secret)[2:-1] not in shown
            assert secret.hex() not in shown


# --- the master key ---------------------------------------------------------------------------------------------------


async def test_a_stored_key_is_wrapped_and_bound_to_its_clinic(keys: TenantKeys, clinic: ObjectId) -> None:
    plain = (await keys.ring(clinic, create=True))._keys[1]
    [row] = await stored_keys(clinic)
    assert plain not in bson.encode(row)
    stranger = ObjectId()
    await TenantKey(clinic_id=stranger, version=1, wrapped=row["wrapped"], provider=row["provider"]).insert()
    with pytest.raises(KeyRefused):
        await keys.ring(stranger, create=False)


async def test_another_master_opens_nothing_until_the_former_is_named(
    settings: Settings, keys: TenantKeys, clinic: ObjectId
) -> None:
    await keys.ring(clinic, create=True)
    changed = settings.model_copy(update={"encryption_key": SecretStr(ANOTHER_KEY)})
    async with TenantKeys(masters_of(changed)) as wrong:
        with pytest.raises(KeyRefused, match="ENCRYPTION_KEYS_OLD") as refused:
            await wrong.ring(clinic, create=True)
        assert TEST_ENCRYPTION_KEY not in str(refused.value)
    with_old = changed.model_copy(update={"encryption_keys_old": (SecretStr(TEST_ENCRYPTION_KEY),)})
    async with TenantKeys(masters_of(with_old)) as right:
        assert list(await right.ring(clinic, create=False)) == [1]


# --- a key service ----------------------------------------------------------------------------------------------------


async def test_a_key_service_wraps_instead_of_the_local_key(settings: Settings, clinic: ObjectId, vault: Vault) -> None:
    async with with_vault(settings, vault) as first, with_vault(settings, vault) as second:
        ring = await first.ring(clinic, create=True)
        sealed = seal_value(ring, clinic, "c.f", clinic, "text")
        assert open_value(await second.ring(clinic, create=False), clinic, "c.f", clinic, sealed) == "text"
    [row] = await stored_keys(clinic)
    assert row["provider"] == "vault:transit/clinics"
    assert row["wrapped"].startswith(b"vault:v1:")
    assert ("encrypt", "clinics") in vault.asked
    assert ("decrypt", "clinics") in vault.asked


async def test_the_service_binds_a_key_to_its_clinic(settings: Settings, clinic: ObjectId, vault: Vault) -> None:
    async with with_vault(settings, vault) as keys:
        await keys.ring(clinic, create=True)
        [row] = await stored_keys(clinic)
        stranger = ObjectId()
        await TenantKey(clinic_id=stranger, version=1, wrapped=row["wrapped"], provider=row["provider"]).insert()
        with pytest.raises(KeyRefused):
            await keys.ring(stranger, create=False)


@pytest.mark.parametrize(
    "fault",
    [
        (503, b'{"errors":["Vault is sealed"]}'),
        (429, b"{}"),
        (500, b"oops"),
        (200, b"no json"),
        (200, b"[]"),
        (200, b'{"data": null}'),
    ],
    ids=str,
)
async def test_a_service_that_cannot_answer_makes_it_unavailable(
    fault: tuple[int, bytes], settings: Settings, clinic: ObjectId, vault: Vault
) -> None:
    vault.fault = fault
    async with with_vault(settings, vault) as keys:
        with pytest.raises(KeyServiceDown):
            await keys.ring(clinic, create=True)
    assert await stored_keys(clinic) == []


async def test_a_service_that_hangs_holds_nobody_for_long(
    settings: Settings, clinic: ObjectId, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kms, "TIMEOUT", 0.2)
    vault.delay = 2.0
    async with with_vault(settings, vault) as keys:
        began = time.monotonic()
        with pytest.raises(KeyServiceDown):
            await keys.ring(clinic, create=True)
        assert time.monotonic() - began < 1.5


async def test_a_service_that_is_not_there_makes_it_unavailable(
    settings: Settings, clinic: ObjectId, vault: Vault
) -> None:
    vault.shutdown()
    vault.server_close()
    async with with_vault(settings, vault) as keys:
        with pytest.raises(KeyServiceDown):
            await keys.ring(clinic, create=True)


async def test_a_refused_token_is_told_without_showing_it(settings: Settings, clinic: ObjectId, vault: Vault) -> None:
    async with with_vault(settings, vault, token="hvs.another-token-entirely") as keys:
        with pytest.raises(KeyRefused, match="KMS_TOKEN") as refused:
            await keys.ring(clinic, create=True)
    assert "hvs." not in str(refused.value)


# --- what clients see -------------------------------------------------------------------------------------------------


async def test_a_forged_value_is_an_internal_error_and_never_garbage(
    make_clinic: MakeClinic, server: Server, raw: Database
) -> None:
    admin = await server.sign_in(await make_clinic())
    one, two = await register(admin, notes="of the first"), await register(admin, notes="of the second")
    theirs = await raw["patient_records"].find_one({"patient_id": ObjectId(two["id"])})
    assert theirs is not None
    await raw["patient_records"].update_one({"patient_id": ObjectId(one["id"])}, {"$set": {"notes": theirs["notes"]}})

    answer = await admin.gql(ONE, id=one["id"])

    assert answer.codes == ["INTERNAL"]
    assert "of the" not in answer.response.text
    assert theirs["notes"].hex() not in answer.response.text
    assert answer.errors[0]["message"] == "Internal error."
    assert (await admin.gql(ONE, id=two["id"])).data["patient"]["record"]["notes"] == "of the second"


async def test_without_the_key_service_clients_are_told_to_try_again(
    make_clinic: MakeClinic, server: Server, settings: Settings, vault: Vault
) -> None:
    admin = await server.sign_in(await make_clinic())
    vault.fault = (503, b"{}")
    async with with_vault(settings, vault) as down:
        before = set_key_source(down)
        try:
            answer = await admin.gql(CREATE, input={"givenName": "A", "familyName": "B", "notes": "n"})
        finally:
            set_key_source(before)
    assert answer.codes == ["UNAVAILABLE"]
    assert (await admin.gql("{ patients { totalCount } }")).data["patients"]["totalCount"] == 0


# --- the end of a clinic ----------------------------------------------------------------------------------------------


async def test_a_deleted_clinics_backup_can_be_opened_by_nobody(
    make_clinic: MakeClinic, signed_in: SignedIn, raw: Database, tmp_path: Path, settings: Settings
) -> None:
    going, staying = await make_clinic(), await make_clinic()
    notes = "shredded with the key"
    for clinic in (going, staying):
        await register(await signed_in(clinic), notes=notes, nationalId="AB-123456")
    own = going.tenant.key
    backup = await raw["patient_records"].find({"tenant_id": own}).to_list()
    async with TenantKeys(masters_of(settings)) as keys:
        assert await readable(keys, own, backup) == notes, "before, ENCRYPTION_KEY opens the copy"

    done = await delete_tenant(going.tenant, actor="test", exports=tmp_path, settle=timedelta(0))

    assert done.export is not None
    assert notes in (done.export / "patient_records.ndjson").read_text(), "the export came first, and is readable"
    assert "wrapped" not in (done.export / "tenant_keys.ndjson").read_text()
    assert await stored_keys(own) == []
    async with TenantKeys(masters_of(settings)) as keys:
        with pytest.raises(SealBroken, match="key is gone"):
            await readable(keys, own, backup)
        await keys.ring(own, create=True)
        with pytest.raises(SealBroken):
            await readable(keys, own, backup)
    await TenantKey.guarded().delete_many({"clinic_id": own})
    async with tenant_scope(staying.ref):
        assert [row["notes"] for row in await PatientRecord.rows()] == [notes]


async def readable(keys: TenantKeys, own: ObjectId, rows: list[dict[str, Any]]) -> Any:
    """The notes in a raw copy, opened as a server with these keys would."""
    copies = [dict(row) for row in rows]
    before = set_key_source(keys)
    try:
        await open_rows(own, "patient_records", copies)
    finally:
        set_key_source(before)
    return copies[0]["notes"]


async def test_an_export_is_readable(make_clinic: MakeClinic, signed_in: SignedIn, tmp_path: Path) -> None:
    clinic: Clinic = await make_clinic()
    await register(await signed_in(clinic), notes="for the export", nationalId="AB-123456")
    folder = await export_tenant(clinic.tenant, tmp_path)
    text = (folder / "patient_records.ndjson").read_text()
    assert "for the export" in text
    assert "AB-123456" in text
    assert "national_id_index" not in text


async def test_masters_close_what_they_opened(vault: Vault, settings: Settings) -> None:
    masters: Masters = with_vault(settings, vault).masters
    await masters.close()
    with pytest.raises(RuntimeError):
        await masters.present.wrap(b"k" * 32, b"place")
