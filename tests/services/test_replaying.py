"""After a restore: clinics that were deleted and patients who were erased since the backup are gone again."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from beanie import PydanticObjectId
from bson import CodecOptions, ObjectId
from bson.raw_bson import RawBSONDocument

from app.config import Settings
from app.errors import ErrorCode
from app.integrations.blobs import Blobs, BlobsDown, blobs
from app.jobs.runs import run_job
from app.services import erasure, removal_notes
from app.services.audit_chain import drain
from app.services.clinics import clinic_named
from app.services.deletion import delete_tenant
from app.services.moving.folders import open_export
from app.services.moving.replaying import Replay, replay
from app.services.moving.restoring import import_tenant
from app.services.onboarding import subdomain_taken
from app.services.tenant_export import export_tenant
from app.services.tenant_traces import find_traces
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Database, Scope, open_scope
from models import Appointment, Erasure, Patient, PatientRecord
from models.appointment import AppointmentStatus
from models.erasure import ErasureBasis, ErasureStatus
from models.values import now
from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.fixtures.twins import Twins, fill, fingerprints
from tests.resolvers.patient_calls import register
from tests.scripts.commands import run
from tests.services.test_deletion import AT_ONCE

Backup = dict[str, list[RawBSONDocument]]


async def backup_of(raw: Database) -> Backup:
    """All that is stored, as a backup tool would read it."""
    taken: Backup = {}
    for name in await raw.list_collection_names(filter={"type": "collection"}):
        stored = raw.get_collection(name, CodecOptions(document_class=RawBSONDocument))
        taken[name] = cast(list[RawBSONDocument], await stored.find({}).to_list())
    return taken


async def restore(raw: Database, taken: Backup) -> None:
    """Puts everything back as it was then, and takes away what came since."""
    for name in await raw.list_collection_names(filter={"type": "collection"}):
        await raw[name].delete_many({})
        if rows := taken.get(name):
            whole = [RawBSONDocument(bytes(row.raw)) for row in rows]  # also what tests made that no validator lets in
            await raw[name].insert_many(whole, bypass_document_validation=True)


async def replayed(*, execute: bool, kept: Blobs | None = None) -> Replay:
    with open_scope(Scope(request_id="tests")):
        return await replay(execute=execute, actor="tests", kept=kept)


async def deleted(clinic: Clinic) -> None:
    await drain()
    tenant = await clinic_named(clinic.tenant.subdomain)
    await delete_tenant(tenant, actor="tests", exports=None, settle=AT_ONCE)


async def erased(clinic: Clinic, patient_id: ObjectId) -> dict[str, Any]:
    async with tenant_scope(clinic.ref):
        [row] = await PatientRecord.rows({"patient_id": patient_id})
        return await erasure.erase(patient_id, ErasureBasis.OBJECTION, row["code"])


async def test_a_clinic_that_came_back_is_deleted_again(twins: Twins, server: Server) -> None:
    going, staying = twins.going, twins.staying
    await drain()
    taken = await backup_of(twins.raw)
    before = await fingerprints(twins.raw, staying)
    await deleted(going)
    await restore(twins.raw, taken)
    assert (await clinic_named(going.tenant.subdomain)).id == going.tenant.id
    assert await fingerprints(twins.raw, staying) == before

    looked = await replayed(execute=False)
    assert going.tenant.subdomain in looked.clinics
    assert staying.tenant.subdomain not in looked.clinics
    assert (await clinic_named(going.tenant.subdomain)).deletion_started_at is None

    done = await replayed(execute=True)

    assert going.tenant.subdomain in done.clinics
    assert await find_traces(going.tenant.key) == {}
    shared = await twins.raw["patients"].find({"_id": {"$in": twins.shared}}).to_list()
    assert [row["tenant_ids"] for row in shared] == [[staying.tenant.id]] * 2
    assert (await server.client(going.host).gql("{ viewer { name } }")).codes == [ErrorCode.TENANT_NOT_FOUND]
    assert await subdomain_taken(going.tenant.subdomain)
    assert (await server.sign_in(staying)).token
    assert not (await replayed(execute=True)).found


async def test_the_name_of_a_clinic_that_the_backup_never_knew_stays_reserved(
    raw: Database, make_clinic: MakeClinic
) -> None:
    taken = await backup_of(raw)
    clinic = await make_clinic()
    await deleted(clinic)
    await restore(raw, taken)
    assert not await subdomain_taken(clinic.tenant.subdomain)

    assert clinic.tenant.subdomain in (await replayed(execute=True)).names

    assert await subdomain_taken(clinic.tenant.subdomain)


async def test_a_name_that_somebody_has_got_meanwhile_is_theirs(raw: Database, make_clinic: MakeClinic) -> None:
    taken = await backup_of(raw)
    clinic = await make_clinic()
    await deleted(clinic)
    await restore(raw, taken)
    other = await make_clinic()
    await raw["tenants"].update_one({"_id": other.tenant.id}, {"$set": {"subdomain": clinic.tenant.subdomain}})

    done = await replayed(execute=True)

    assert clinic.tenant.subdomain not in (*done.names, *done.clinics)
    assert await raw["tombstones"].find_one({"subdomain": clinic.tenant.subdomain}) is None


async def test_a_dead_clinics_id_is_not_taken_again_where_its_tombstone_is_lost(
    raw: Database, make_clinic: MakeClinic, tmp_path: Path
) -> None:
    """Else what was imported would be deleted by the next replay."""
    clinic = await make_clinic()
    await drain()
    export = await open_export(await export_tenant(clinic.tenant, tmp_path), None)
    await deleted(clinic)
    await raw["tombstones"].delete_one({"subdomain": clinic.tenant.subdomain})

    with open_scope(Scope(request_id="tests")):
        back = (await import_tenant(export, actor="tests")).tenant

    assert (back.subdomain, back.id == clinic.tenant.id) == (clinic.tenant.subdomain, False)
    assert back.subdomain not in (await replayed(execute=True)).clinics


async def test_a_patient_who_came_back_is_erased_again_and_nobody_else(raw: Database, make_clinic: MakeClinic) -> None:
    clinic, other = await make_clinic(), await make_clinic()
    patients = await fill(clinic, 3)
    await fill(other, 1)
    async with tenant_scope(clinic.ref):
        await _no_appointments()
    taken = await backup_of(raw)
    await erased(clinic, patients[0])
    await restore(raw, taken)
    async with tenant_scope(clinic.ref):
        assert await Patient.get(patients[0]) is not None
        assert await Erasure.guarded().count_documents({}) == 0
    theirs = await fingerprints(raw, other)

    assert (await replayed(execute=False)).patients == {clinic.tenant.subdomain: 1}
    assert (await replayed(execute=True)).patients == {clinic.tenant.subdomain: 1}

    async with tenant_scope(clinic.ref):
        assert await Patient.get(patients[0]) is None
        assert await PatientRecord.guarded().count_documents({}) == 2
        [proof] = await Erasure.find({}).to_list()
    assert (proof.status, proof.basis) == (ErasureStatus.COMPLETE, ErasureBasis.OBJECTION)
    assert await fingerprints(raw, other) == theirs
    assert (await replayed(execute=True)).patients == {}


async def _no_appointments() -> None:
    await Appointment.guarded().delete_many({})


async def test_an_erasure_of_which_the_law_holds_a_part_is_repeated_as_far_as_it_went(
    raw: Database, make_clinic: MakeClinic, server: Server
) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    patient = ObjectId((await register(admin))["id"])
    await _treated(clinic, patient)
    taken = await backup_of(raw)
    assert (await erased(clinic, patient))["status"] == ErasureStatus.PARTIAL
    await restore(raw, taken)

    assert (await replayed(execute=True)).patients == {clinic.tenant.subdomain: 1}

    async with tenant_scope(clinic.ref):
        [proof] = await Erasure.find({}).to_list()
        [record] = await PatientRecord.rows({"patient_id": patient})
    assert proof.status is ErasureStatus.PARTIAL
    assert record["status"] == "archived"


async def _treated(clinic: Clinic, patient: ObjectId) -> None:
    async with tenant_scope(clinic.ref):
        start = now() - timedelta(days=3)
        await Appointment(
            patient_id=PydanticObjectId(patient),
            doctor_id=clinic.staff["doctor"].key,
            starts_at=start,
            ends_at=start + timedelta(minutes=30),
            status=AppointmentStatus.FULFILLED,
        ).insert()


async def test_a_note_tells_nobody_who_it_was(make_clinic: MakeClinic, settings: Settings) -> None:
    clinic = await make_clinic()
    [patient] = await fill(clinic, 1)
    async with tenant_scope(clinic.ref):
        await _no_appointments()
    await erased(clinic, patient)
    folder = Path(settings.blob_target.removeprefix("file:")) / "removals" / "patients" / str(clinic.tenant.id)
    [note] = folder.iterdir()
    assert str(patient) not in note.name + note.read_text()
    assert await removal_notes.erased(clinic.tenant.key) == {note.stem}


async def test_an_erasure_that_could_not_be_noted_is_noted_by_the_job(
    make_clinic: MakeClinic, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic = await make_clinic()
    [patient] = await fill(clinic, 1)
    async with tenant_scope(clinic.ref):
        await _no_appointments()

    async def down(*_: Any) -> None:
        raise BlobsDown

    monkeypatch.setattr(blobs(), "put", down)
    await erased(clinic, patient)
    monkeypatch.undo()
    assert await removal_notes.erased(clinic.tenant.key) == set()

    with open_scope(Scope(request_id="tests")):
        report = await run_job("complete-erasures", settings)

    assert report.by_clinic[clinic.tenant.subdomain] == {"noted": 1}
    assert len(await removal_notes.erased(clinic.tenant.key)) == 1


async def test_a_clinic_whose_end_cannot_be_noted_is_not_ended(
    make_clinic: MakeClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic = await make_clinic()

    async def down(*_: Any) -> None:
        raise BlobsDown

    monkeypatch.setattr(blobs(), "put", down)
    with pytest.raises(BlobsDown):
        await deleted(clinic)
    monkeypatch.undo()
    assert (await clinic_named(clinic.tenant.subdomain)).deletion_started_at is not None
    await deleted(clinic)
    assert await subdomain_taken(clinic.tenant.subdomain)


async def test_the_command_tells_first_and_takes_notes_from_a_copy(
    raw: Database, make_clinic: MakeClinic, settings: Settings, tmp_path: Path
) -> None:
    clinic = await make_clinic()
    name = clinic.tenant.subdomain
    await drain()
    taken = await backup_of(raw)
    await deleted(clinic)
    await restore(raw, taken)
    kept = Path(settings.blob_target.removeprefix("file:"))
    (tmp_path / "removals" / "clinics").mkdir(parents=True)
    shutil.copy(kept / "removals" / "clinics" / f"{clinic.tenant.id}.json", tmp_path / "removals" / "clinics")
    elsewhere = {"BLOB_URL": f"file:{tmp_path / 'empty'}"}

    assert f"{name}:" not in run(settings, "replay_tombstones", **elsewhere).stdout
    looked = run(settings, "replay_tombstones", "--notes", str(tmp_path), **elsewhere)
    assert looked.returncode == 1, looked.stderr
    assert f"{name}: was deleted, and is back" in looked.stdout
    assert run(settings, "replay_tombstones", "--notes", str(tmp_path / "nowhere")).returncode == 2

    done = run(settings, "replay_tombstones", "--notes", str(tmp_path), "--execute", **elsewhere)

    assert done.returncode == 0, done.stderr
    assert f"{name}: deleted again" in done.stdout
    assert await find_traces(clinic.tenant.key) == {}
