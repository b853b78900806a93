"""Deleting one of two clinics: all of it goes, nothing of the other changes by a byte, and its name stays taken."""

from __future__ import annotations

import asyncio
import json
import stat
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from beanie import PydanticObjectId

from app.errors import ErrorCode, ValidationFailed
from app.services import deletion
from app.services.audit import record
from app.services.audit_chain import drain
from app.services.audit_remnants import keep_remnants
from app.services.clinics import NoSuchClinic, clinic_named
from app.services.deletion import Stage, TracesLeft, Watch, delete_tenant
from app.services.deletion_plan import plan_deletion
from app.services.moving.folders import MANIFEST
from app.services.onboarding import onboard, read_form
from app.services.tenant_export import DeletionInProgress, sole
from app.services.tenant_traces import find_traces
from app.tenancy.crossing import tenant_scope
from models import (
    Appointment,
    AuditEntry,
    AuditRemnant,
    Patient,
    PlatformAudit,
    RateBucket,
    Session,
    Tenant,
    Tombstone,
    User,
)
from models.tenant import TenantStatus
from models.values import now
from tests.fixtures.clinics import PASSWORD, Client, Clinic, Server
from tests.fixtures.twins import Twins, fingerprints, works_at

AT_ONCE = timedelta(0)


async def eventually_refused(client: Client) -> bool:
    """Whether the clinic is no longer found; the server hears of it through the database."""
    for _ in range(100):
        answer = await client.gql("{ viewer { name } }")
        if answer.status == 404 and answer.codes == [ErrorCode.TENANT_NOT_FOUND]:
            return True
        await asyncio.sleep(0.05)
    return False


def exports_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*-*"))


async def gone(clinic: Clinic, exports: Path | None = None, watch: Watch | None = None) -> Tombstone:
    tenant = await clinic_named(clinic.tenant.subdomain)
    done = await delete_tenant(tenant, actor="tests", exports=exports, settle=AT_ONCE, watch=watch)
    return done.tombstone


async def test_the_plan_counts_everything_and_changes_nothing(twins: Twins) -> None:
    before = await fingerprints(twins.raw, twins.going)

    plan = await plan_deletion(await clinic_named(twins.going.tenant.subdomain))

    assert plan.gone["appointments"] == 5
    assert plan.gone["patients"] == 3
    assert plan.shared_stay == {"patients": 2}
    assert plan.gone["memberships"] == 6
    assert (plan.gone["users"], plan.people_stay) == (5, 1)
    assert await fingerprints(twins.raw, twins.going) == before
    assert (await clinic_named(twins.going.tenant.subdomain)).status is TenantStatus.ACTIVE


async def test_nothing_that_names_the_clinic_is_left(twins: Twins) -> None:
    clinic = twins.going.tenant.key

    await gone(twins.going)

    assert await find_traces(clinic) == {}
    assert await fingerprints(twins.raw, twins.going) == {}
    assert await twins.raw["tenants"].find_one({"_id": clinic}) is None


async def test_the_other_clinics_documents_stay_byte_identical(twins: Twins) -> None:
    before = await fingerprints(twins.raw, twins.staying)
    assert len(before) > 20

    await gone(twins.going)

    assert await fingerprints(twins.raw, twins.staying) == before


async def test_shared_patients_stay_for_their_other_clinic_and_the_rest_go(twins: Twins) -> None:
    await gone(twins.going)

    shared = await twins.raw["patients"].find({"_id": {"$in": twins.shared}}).to_list()
    assert [patient["tenant_ids"] for patient in shared] == [[twins.staying.tenant.id]] * 2
    assert all(patient.get("archived_in", []) == [] for patient in shared)
    assert await twins.raw["patients"].count_documents({"_id": {"$in": twins.only_here}}) == 0


async def test_a_person_goes_with_their_last_clinic_and_not_before(twins: Twins, server: Server) -> None:
    await server.sign_in(twins.going, "doctor")
    nurse = await server.sign_in(twins.going, "nurse")

    await gone(twins.going)

    assert await User.find_one({"email": twins.going.emails["doctor"]}) is None
    kept = await User.find_one({"email": twins.going.emails["nurse"]})
    assert kept is not None
    sessions = await Session.find({"user_id": kept.id}).to_list()
    assert [session.clinic_ids for session in sessions] == [[]]
    assert nurse.token
    assert await Session.find({"clinic_ids": twins.going.tenant.id}).count() == 0


async def test_a_removed_member_of_another_clinic_is_still_a_person_there(twins: Twins) -> None:
    user = await works_at(twins.going, "accountant", twins.staying)
    await twins.raw["memberships"].update_one(
        {"user_id": user.id, "clinic_id": twins.staying.tenant.id}, {"$set": {"status": "removed"}}
    )

    await gone(twins.going)

    assert await User.get(user.key) is not None


async def test_counts_of_tries_at_the_clinic_go_too(twins: Twins) -> None:
    key = f"search:{twins.going.tenant.id}:somebody"
    await RateBucket(id=key, clinic_id=twins.going.tenant.key, tries=1, expires_at=now()).insert()

    await gone(twins.going)

    assert await twins.raw["rate_buckets"].find_one({"_id": key}) is None


async def test_the_clinic_stops_answering_before_anything_is_deleted(
    twins: Twins, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await server.sign_in(twins.going)

    class Stopped(Exception):
        pass

    async def stop(*_: Any) -> None:
        raise Stopped

    monkeypatch.setattr(deletion, "_purge", stop)
    with pytest.raises(Stopped):
        await gone(twins.going)

    assert await eventually_refused(client)
    async with tenant_scope(twins.going.ref):
        assert await Appointment.find({}).count() == 5


async def test_the_name_is_reserved_for_ever(twins: Twins) -> None:
    subdomain = twins.going.tenant.subdomain
    tombstone = await gone(twins.going)

    assert tombstone.counts["appointments"] == 5
    assert tombstone.tenant_id_was == twins.going.tenant.id
    with pytest.raises(NoSuchClinic, match="deleted already"):
        await clinic_named(subdomain)
    admin = {"name": "Again", "email": f"again@{subdomain}.example.com", "password": PASSWORD}
    with pytest.raises(ValidationFailed) as refused:
        await onboard(read_form({"name": "Again", "subdomain": subdomain, "admin": admin}))
    assert [field.path for field in refused.value.fields] == ["subdomain"]


async def test_the_times_of_deleted_appointments_can_be_booked_again(twins: Twins) -> None:
    claims = [
        row["claims"] for row in await twins.raw["appointments"].find({"tenant_id": twins.going.tenant.id}).to_list()
    ]
    await gone(twins.going)

    start = now()
    async with tenant_scope(twins.staying.ref):
        await Appointment(
            patient_id=PydanticObjectId(twins.shared[0]),
            doctor_id=twins.staying.staff["doctor"].key,
            starts_at=start,
            ends_at=start + timedelta(minutes=30),
            claims=[claim for some in claims for claim in some],
        ).insert()


async def test_start_and_end_are_on_record(twins: Twins) -> None:
    await gone(twins.going)

    rows = await PlatformAudit.find({"tenant": twins.going.tenant.id}, sort="_id").to_list()
    assert [(row.actor, row.action) for row in rows] == [
        ("tests", "tenant.delete.start"),
        ("tests", "tenant.delete.end"),
    ]


async def test_a_document_that_no_model_knows_of_stops_the_end_and_is_named(twins: Twins) -> None:
    stray = twins.raw[f"stray_{twins.going.tenant.subdomain}"]
    await stray.insert_one({"deep": [{"owner": twins.going.tenant.id}]})
    try:
        with pytest.raises(TracesLeft, match=f"1 in {stray.name}"):
            await gone(twins.going)
        assert (await clinic_named(twins.going.tenant.subdomain)).status is TenantStatus.SUSPENDED
    finally:
        await stray.drop()

    await gone(twins.going)
    assert await find_traces(twins.going.tenant.key) == {}


async def test_what_a_late_request_adds_goes_with_the_next_pass(twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    purge, passes = deletion._purge, 0

    async def with_a_straggler(*args: Any) -> None:
        nonlocal passes
        passes += 1
        await purge(*args)
        if passes == 1:
            async with tenant_scope(twins.going.ref):
                await Patient(given_name="Late", family_name="Comer").keyed().insert()

    monkeypatch.setattr(deletion, "_purge", with_a_straggler)
    await gone(twins.going)

    assert passes == 2
    assert await find_traces(twins.going.tenant.key) == {}


async def test_progress_adds_up_to_the_plan(twins: Twins) -> None:
    await drain()  # the audit's anchor comes a moment after the entries
    plan = await plan_deletion(await clinic_named(twins.going.tenant.subdomain))
    seen: dict[str, int] = {}
    stages: list[Stage] = []

    def step(name: str, count: int) -> None:
        if stages[-1] is Stage.DELETE:
            seen[name] = seen.get(name, 0) + count

    await gone(twins.going, watch=Watch(stage=stages.append, step=step))

    assert sum(seen.values()) == plan.total
    assert stages == [Stage.DELETE, Stage.VERIFY]


# --- the export ---------------------------------------------------------------------------------------------------


async def test_the_export_holds_all_of_the_clinic_and_nothing_of_the_other(twins: Twins, tmp_path: Path) -> None:
    await gone(twins.going, exports=tmp_path)

    (folder,) = exports_in(tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    manifest = json.loads((folder / MANIFEST).read_text())
    for file in manifest["files"]:
        content = (folder / file["name"]).read_bytes()
        assert sha256(content).hexdigest() == file["sha256"]
        assert len(content) == file["bytes"]
        assert len(content.splitlines()) == file["documents"]
        assert stat.S_IMODE((folder / file["name"]).stat().st_mode) == 0o600
    counts = {file["name"]: file["documents"] for file in manifest["files"]}
    assert counts["patients.ndjson"] == counts["appointments.ndjson"] == 5
    assert counts["users.ndjson"] == counts["memberships.ndjson"] == 6
    everything = b"".join(path.read_bytes() for path in folder.iterdir())
    assert str(twins.staying.tenant.id).encode() not in everything
    assert b"password_hash" not in everything


async def test_an_interrupted_export_is_made_anew_and_a_complete_one_is_kept(
    twins: Twins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / f"{twins.going.tenant.subdomain}-20200101T000000000000Z.partial"
    broken.mkdir()
    (broken / "patients.ndjson").write_text("{}")

    async def stop(*_: Any) -> None:
        raise TracesLeft

    with monkeypatch.context() as patched:
        patched.setattr(deletion, "_purge", stop)
        with pytest.raises(TracesLeft):
            await gone(twins.going, exports=tmp_path)
    exported = exports_in(tmp_path)
    assert broken not in exported

    await gone(twins.going, exports=tmp_path)
    assert exports_in(tmp_path) == exported


async def test_two_runs_at_once_both_end_and_leave_one_tombstone(twins: Twins) -> None:
    results = await asyncio.gather(gone(twins.going), gone(twins.going), return_exceptions=True)

    assert sum(isinstance(one, Tombstone) for one in results) == 1
    assert all(isinstance(one, Tombstone | NoSuchClinic) for one in results)
    assert await Tombstone.find({"tenant_id_was": twins.going.tenant.key}).count() == 1
    assert await Tenant.get(twins.going.tenant.key) is None


def test_a_second_process_is_kept_out_until_the_first_ends(tmp_path: Path) -> None:
    with (
        sole(tmp_path, "clinic"),
        pytest.raises(DeletionInProgress, match="by another process"),
        sole(tmp_path, "clinic"),
    ):
        pass
    with sole(tmp_path, "clinic"), sole(tmp_path, "other"):
        pass


async def test_the_audit_stays_without_its_people(twins: Twins) -> None:
    clinic = twins.going.tenant.key
    async with tenant_scope(twins.going.ref):
        await record("something.done", subject=twins.going.staff["doctor"])
        entries = await AuditEntry.rows({}, sort=[("seq", 1)])

    await gone(twins.going)

    remnants = await AuditRemnant.rows({"clinic_id_was": clinic}, sort=[("first_seq", 1)])
    kept = [tuple(one) for remnant in remnants for one in remnant["entries"]]
    assert kept == [tuple(entry[name] for name in ("seq", "at", "action", "result", "mac")) for entry in entries]
    assert (remnants[0]["first_seq"], remnants[-1]["last_seq"]) == (1, len(entries))


async def test_an_interrupted_deletion_keeps_each_entry_once(twins: Twins) -> None:
    async with tenant_scope(twins.going.ref):
        await record("something.done")
        whole = await AuditEntry.guarded().count_documents({})
        assert await keep_remnants() == whole
        await AuditEntry.guarded().delete_many({"seq": {"$gt": 1}})  # the purge was killed half-way
        assert await keep_remnants() == 0
    await gone(twins.going)
    [remnant] = await AuditRemnant.rows({"clinic_id_was": twins.going.tenant.key})
    assert [one[0] for one in remnant["entries"]] == list(range(1, whole + 1))
