"""A clinic on its way out: what can be called off until it is done, and what is done once it is due."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pymongo.errors import OperationFailure

from app.config import Settings
from app.errors import Conflict, ErrorCode
from app.jobs.runs import run_job
from app.permissions import PlatformRole
from app.services import deletion, removal_notes
from app.services.audit_chain import drain
from app.services.clinics import NoSuchClinic, clinic_named
from app.services.cron import INTERRUPTED, JOBS
from app.services.deletion import delete_tenant
from app.services.moving.folders import Lock, open_export
from app.services.offboarding import Done, Exports, run_due
from app.services.tenant_traces import find_traces
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, open_scope
from models import Appointment, AuditEntry, PlatformAudit, Tenant
from models.tenant import TenantStatus
from models.values import now
from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.fixtures.operators import MakeOperator, Running
from tests.fixtures.twins import Twins, fingerprints
from tests.services.test_deletion import eventually_refused

pytestmark = pytest.mark.usefixtures("nothing_left_over")
REASON = "the contract has ended, ticket 4711"
PASSPHRASE = "a passphrase of the tests"
SCHEDULE = """mutation($input: ScheduleTenantDeletionInput!) { scheduleTenantDeletion(input: $input) {
    version status offboarding { reason scheduledAt dueAt exportedAt } } }"""
CANCEL = """mutation($input: CancelTenantDeletionInput!) { cancelTenantDeletion(input: $input) {
    version status offboarding { reason } } }"""
STATUS = "mutation($input: SetTenantStatusInput!) { setTenantStatus(input: $input) { status } }"


async def version_of(clinic: Clinic) -> int:
    return (await clinic_named(clinic.tenant.subdomain)).version


async def aimed(clinic: Clinic, **more: Any) -> dict[str, Any]:
    return {"tenantId": str(clinic.tenant.id), "version": await version_of(clinic), "reason": REASON, **more}


async def due(exports: Path) -> Done:
    await drain()
    with open_scope(Scope(request_id="tests")):
        return await run_due(Exports(exports, lambda: Lock.fresh(PASSPHRASE)), settle=timedelta(0))


def exports_of(clinic: Clinic, exports: Path) -> list[Path]:
    return [*exports.glob(f"{clinic.tenant.subdomain}-*")]


async def acts(clinic: Clinic) -> list[str]:
    rows = await PlatformAudit.find({"tenant": clinic.tenant.id}, sort="_id").to_list()
    return [row.action for row in rows]


@pytest.fixture
async def operator(make_operator: MakeOperator) -> Running:
    return await make_operator()


async def days_later(clinic: Clinic) -> None:
    """Has its grace be over."""
    moved = {"$set": {"offboarding.due_at": now() - timedelta(seconds=1)}}
    await Tenant.guarded().update_one({"_id": clinic.tenant.key}, moved)


async def test_a_clinic_goes_step_by_step_and_each_is_on_record(
    twins: Twins, operator: Running, server: Server, tmp_path: Path
) -> None:
    """Suspended, written out, kept for its days, deleted, verified, remembered by its tombstone."""
    clinic = twins.going
    before = await fingerprints(twins.raw, twins.staying)
    client = await server.sign_in(clinic)

    told = (await operator.client.gql(SCHEDULE, input=await aimed(clinic, days=7))).data["scheduleTenantDeletion"]
    assert told["status"] == "SUSPENDED"
    assert (told["offboarding"]["reason"], told["offboarding"]["exportedAt"]) == (REASON, None)
    assert await eventually_refused(client)

    assert (await due(tmp_path)).exported == [clinic.tenant.subdomain]
    [folder] = exports_of(clinic, tmp_path)
    export = await open_export(folder, PASSPHRASE)
    assert export.files["appointments.ndjson"].documents == 5
    again = await due(tmp_path)
    assert clinic.tenant.subdomain not in (*again.exported, *again.deleted)
    async with tenant_scope(clinic.ref):
        assert await Appointment.guarded().count_documents({}) == 5

    await days_later(clinic)
    assert (await due(tmp_path)).deleted == [clinic.tenant.subdomain]

    assert await find_traces(clinic.tenant.key) == {}
    assert exports_of(clinic, tmp_path) == [folder]
    assert await fingerprints(twins.raw, twins.staying) == before
    with pytest.raises(NoSuchClinic, match="deleted already"):
        await clinic_named(clinic.tenant.subdomain)
    assert await acts(clinic) == [
        "tenant.offboard.schedule",
        "tenant.offboard.export",
        "tenant.delete.start",
        "tenant.delete.end",
    ]
    assert clinic.tenant.id in [note.tenant_id for note in await removal_notes.clinics()]


async def test_until_then_it_can_be_kept(make_clinic: MakeClinic, operator: Running, server: Server) -> None:
    clinic = await make_clinic()
    await operator.client.gql(SCHEDULE, input=await aimed(clinic))

    told = (await operator.client.gql(CANCEL, input=await aimed(clinic))).data["cancelTenantDeletion"]

    assert (told["status"], told["offboarding"]) == ("ACTIVE", None)
    assert (await server.sign_in(clinic)).token
    assert await acts(clinic) == ["tenant.offboard.schedule", "tenant.offboard.cancel"]
    assert (await operator.client.gql(CANCEL, input=await aimed(clinic))).codes == ["INVALID_STATE"]


async def test_a_clinic_that_was_suspended_before_stays_so_when_it_is_kept(
    make_clinic: MakeClinic, operator: Running
) -> None:
    clinic = await make_clinic()
    await operator.client.gql(STATUS, input=await aimed(clinic, status="INACTIVE"))
    await operator.client.gql(SCHEDULE, input=await aimed(clinic))
    told = (await operator.client.gql(CANCEL, input=await aimed(clinic))).data["cancelTenantDeletion"]
    assert told["status"] == "INACTIVE"


async def test_whoever_is_to_go_is_neither_opened_nor_scheduled_twice(
    make_clinic: MakeClinic, operator: Running
) -> None:
    clinic = await make_clinic()
    await operator.client.gql(SCHEDULE, input=await aimed(clinic))
    opened = await operator.client.gql(STATUS, input=await aimed(clinic, status="ACTIVE"))
    twice = await operator.client.gql(SCHEDULE, input=await aimed(clinic))
    assert (opened.codes, twice.codes) == (["INVALID_STATE"], ["INVALID_STATE"])
    await operator.client.gql(CANCEL, input=await aimed(clinic))


@pytest.mark.parametrize(
    ("given", "code", "path"),
    [
        ({"days": -1}, "VALIDATION_FAILED", "input.days"),
        ({"days": 366}, "VALIDATION_FAILED", "input.days"),
        ({"reason": "short"}, "VALIDATION_FAILED", "input.reason"),
        ({"version": 99}, "CONFLICT", "input.version"),
        ({"tenantId": "6b0b89c4e7ba2bb500e388d4"}, "NOT_FOUND", "input.tenantId"),
    ],
)
async def test_a_wrong_input_changes_nothing(
    operator: Running, clinic_a: Clinic, given: dict[str, Any], code: str, path: str
) -> None:
    answer = await operator.client.gql(SCHEDULE, input={**await aimed(clinic_a), **given})
    assert (answer.codes, answer.paths) == ([code], [path])
    assert (await clinic_named(clinic_a.tenant.subdomain)).offboarding is None


@pytest.mark.parametrize("role", [PlatformRole.SUPPORT, PlatformRole.READONLY, None])
async def test_only_who_manages_clinics_may(make_operator: MakeOperator, clinic_a: Clinic, role: Any) -> None:
    client = (await make_operator(role)).client
    for mutation in (SCHEDULE, CANCEL):
        assert (await client.gql(mutation, input=await aimed(clinic_a))).codes == ["FORBIDDEN"]


async def test_of_keeping_and_deleting_at_once_one_happens_whole(
    make_clinic: MakeClinic, operator: Running, tmp_path: Path
) -> None:
    for _ in range(3):
        clinic = await make_clinic()
        await operator.client.gql(SCHEDULE, input=await aimed(clinic, days=0))
        kept, _done = await asyncio.gather(operator.client.gql(CANCEL, input=await aimed(clinic)), due(tmp_path))
        row = await Tenant.get(clinic.tenant.key)
        if kept.errors:
            assert kept.codes[0] in (ErrorCode.INVALID_STATE, ErrorCode.CONFLICT, ErrorCode.NOT_FOUND)
            assert row is None or row.deletion_started_at is not None
        else:
            assert row is not None
            assert (row.status, row.deletion_started_at) == (TenantStatus.ACTIVE, None)


async def test_what_was_called_off_is_not_closed_by_a_run_that_had_read_it_before(
    make_clinic: MakeClinic, operator: Running, tmp_path: Path
) -> None:
    clinic = await make_clinic()
    await operator.client.gql(SCHEDULE, input=await aimed(clinic, days=0))
    stale = await clinic_named(clinic.tenant.subdomain)
    assert stale.offboarding is not None
    await operator.client.gql(CANCEL, input=await aimed(clinic))
    with pytest.raises(Conflict):
        await delete_tenant(
            stale, actor="tests", exports=None, only_if={"offboarding.due_at": stale.offboarding.due_at}
        )
    assert (await clinic_named(clinic.tenant.subdomain)).status is TenantStatus.ACTIVE


async def test_a_database_user_who_may_not_purge_deletes_nothing(
    make_clinic: MakeClinic, operator: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic = await make_clinic()
    await operator.client.gql(SCHEDULE, input=await aimed(clinic, days=0))

    async def refused(*_: Any, **__: Any) -> None:
        raise OperationFailure("not authorized", 13)

    monkeypatch.setattr(AuditEntry.guarded(), "delete_many", refused)
    done = await due(tmp_path)
    monkeypatch.undo()

    assert "may not delete a clinic's log" in done.failed[clinic.tenant.subdomain]
    assert (await clinic_named(clinic.tenant.subdomain)).deletion_started_at is None
    assert (await due(tmp_path)).deleted == [clinic.tenant.subdomain]


async def test_the_job_does_what_is_due_and_never_writes_a_plain_export(
    make_clinic: MakeClinic, operator: Running, settings: Settings, tmp_path: Path
) -> None:
    clinic = await make_clinic()
    await operator.client.gql(SCHEDULE, input=await aimed(clinic, days=0))
    past = {"$set": {"offboarding.scheduled_at": now() - timedelta(minutes=1)}}
    await Tenant.guarded().update_one({"_id": clinic.tenant.key}, past)
    without = settings.model_copy(update={"data_dir": tmp_path})
    with open_scope(Scope(request_id="tests")):
        with pytest.raises(Exception, match="EXPORT_PASSPHRASE"):
            await run_job("offboard-clinics", without)
        assert (await clinic_named(clinic.tenant.subdomain)).deletion_started_at is None
        assert exports_of(clinic, tmp_path / "exports") == []
    assert (await due(tmp_path)).deleted == [clinic.tenant.subdomain]


async def test_a_clinic_that_pays_by_an_agreement_ends_that_first(
    make_clinic: MakeClinic, operator: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is suspended it could not end it any more, and PayPal would go on taking money."""
    clinic = await make_clinic()

    async def running() -> bool:
        return True

    monkeypatch.setattr("app.services.deletion.settling.running", running)
    assert (await operator.client.gql(SCHEDULE, input=await aimed(clinic))).codes == ["CONFLICT"]
    assert (await clinic_named(clinic.tenant.subdomain)).status is TenantStatus.ACTIVE


# --- deletions that a command began -----------------------------------------------------------------------------------


class Killed(Exception):
    pass


async def broken_off(clinic: Clinic, exports: Path | None, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A deletion by the command that ended at that step."""

    async def dies(*_: Any, **__: Any) -> None:
        raise Killed

    tenant = await clinic_named(clinic.tenant.subdomain)
    with monkeypatch.context() as patched, open_scope(Scope(request_id="tests")):
        patched.setattr(deletion, step, dies)
        with pytest.raises(Killed):
            await delete_tenant(tenant, actor="tests", exports=exports, settle=timedelta(0))
    assert (await clinic_named(clinic.tenant.subdomain)).deletion_started_at is not None


async def test_a_deletion_that_was_interrupted_is_finished_by_the_next_run(
    make_clinic: MakeClinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic = await make_clinic()
    await broken_off(clinic, tmp_path / "elsewhere", monkeypatch, "_purge_people")

    assert clinic.tenant.subdomain in (await due(tmp_path)).deleted

    assert await find_traces(clinic.tenant.key) == {}
    assert len(exports_of(clinic, tmp_path / "elsewhere")) == 1
    assert exports_of(clinic, tmp_path) == [], "what is left of it would pass for an export"
    assert await acts(clinic) == ["tenant.delete.start", "tenant.delete.start", "tenant.delete.end"]


async def test_one_that_was_not_written_out_yet_is_written_out_whole(
    twins: Twins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await broken_off(twins.going, tmp_path / "elsewhere", monkeypatch, "export_tenant")

    assert twins.going.tenant.subdomain in (await due(tmp_path)).deleted

    [folder] = exports_of(twins.going, tmp_path)
    assert (await open_export(folder, PASSPHRASE)).files["appointments.ndjson"].documents == 5


async def test_one_that_was_to_leave_no_export_leaves_none(
    make_clinic: MakeClinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic = await make_clinic()
    await broken_off(clinic, None, monkeypatch, "_purge_platform")
    assert clinic.tenant.subdomain in (await due(tmp_path)).deleted
    assert exports_of(clinic, tmp_path) == []


async def test_the_job_leaves_alone_what_may_still_be_at_work_elsewhere(
    make_clinic: MakeClinic, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic = await make_clinic()
    await broken_off(clinic, None, monkeypatch, "_purge_platform")
    mine = settings.model_copy(update={"data_dir": tmp_path, "export_passphrase": SecretStr(PASSPHRASE)})
    with open_scope(Scope(request_id="tests")):
        await JOBS["offboard-clinics"].work(mine)
        tenant = await clinic_named(clinic.tenant.subdomain)
        long_ago = {"$set": {"deletion_started_at": now() - INTERRUPTED}}
        await Tenant.guarded().update_one({"_id": tenant.key}, long_ago)
        await JOBS["offboard-clinics"].work(mine)
    with pytest.raises(NoSuchClinic, match="deleted already"):
        await clinic_named(clinic.tenant.subdomain)
