"""A clinic out of one installation and into another: all that it is comes along, and nobody else is touched."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from beanie import PydanticObjectId
from bson import ObjectId, json_util
from hypothesis import given
from hypothesis import strategies as st

from app.config import Settings
from app.errors import AppError, ErrorCode, InvalidState, Unavailable, ValidationFailed
from app.jobs import runs
from app.jobs.runs import Order
from app.services import tenants_admin
from app.services.audit import record
from app.services.audit_chain import drain
from app.services.audit_verification import verify
from app.services.clinics import clinic_named
from app.services.cron import JOBS
from app.services.deletion import delete_tenant
from app.services.documents import quota
from app.services.erasure import digest_of
from app.services.moving import restoring
from app.services.moving.carried import CARRIED, MADE_ANEW
from app.services.moving.folders import MANIFEST, ExportBroken, Lock, Reader, open_export
from app.services.moving.restoring import Imported, import_tenant
from app.services.moving.storing import Storing
from app.services.moving.translating import Translation
from app.services.placement import provisioning
from app.services.placement.provisioning import id_for, own_placement
from app.services.tenant_checks import check_columns
from app.services.tenant_export import export_tenant
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Database, Scope, open_scope
from models import (
    Appointment,
    AuditEntry,
    AuditPending,
    DocumentContent,
    Erasure,
    LabConnection,
    Membership,
    Patient,
    PatientRecord,
    PlatformAudit,
    Staff,
    Tenant,
    User,
)
from models.base import GuardedDocument
from models.tenant import PlacementKind, TenantStatus
from tests.fixtures.clinics import PASSWORD, ROLE_NAMES, Clinic, MakeClinic, Server
from tests.fixtures.mirror import Side, side_of
from tests.fixtures.twins import Twins, fingerprints
from tests.http.document_calls import PDF, fetch, picture, uploaded
from tests.resolvers.patient_calls import register

OWN = PlacementKind.OWN_DATABASE
PASSPHRASE = "a long passphrase for tests"
Row = dict[str, Any]


@pytest_asyncio.fixture
async def side(server: Server, make_clinic: MakeClinic) -> Side:
    """A clinic with documents of every model, files, and people."""
    side = await side_of(server, await make_clinic(), "m")
    for _ in range(2):
        await side.grow()
    async with tenant_scope(side.clinic.ref):  # made-up entries are no chain, made-up counts are no counts
        await AuditEntry.guarded().delete_many({"seq": {"$gte": 1_000_000}})
        await AuditPending.guarded().delete_many({})
    await uploaded(side.admin, PDF, "letter.pdf", title="Letter")
    await uploaded(side.admin, picture(), "knee.png", patientId=(await register(side.admin))["id"])
    await drain()
    return side


async def exported(clinic: Clinic | Tenant, to: Path, passphrase: str | None = PASSPHRASE) -> Reader:
    tenant = clinic.tenant if isinstance(clinic, Clinic) else clinic
    await drain()
    folder = await export_tenant(tenant, to, lock=Lock.fresh(passphrase) if passphrase else None)
    return await open_export(folder, passphrase)


async def imported(export: Reader, **options: Any) -> Imported:
    with open_scope(Scope(request_id="tests")):
        done = await import_tenant(export, actor="tests", **options)
    await drain()
    return done


async def wiped(clinic: Clinic) -> None:
    await drain()
    tenant = await clinic_named(clinic.tenant.subdomain)
    await delete_tenant(tenant, actor="tests", exports=None, settle=deletion_at_once())


def deletion_at_once() -> timedelta:
    return timedelta(0)


async def content(export: Reader, translation: Callable[[Any], Any]) -> dict[str, list[str]]:
    """Every document that is carried, collection by collection, as text that is equal for equal documents."""
    found: dict[str, list[str]] = {}
    carried: tuple[type[GuardedDocument], ...] = (Membership, *CARRIED)
    for model in carried:
        name = model.guarded_name()
        rows = [_comparable(name, translation(json_util.loads(line))) async for line in export.lines(f"{name}.ndjson")]
        found[name] = sorted(json_util.dumps(row, sort_keys=True) for row in rows)
    return found


def _comparable(name: str, row: Row) -> Row:
    if name == "audit_entries":  # linked anew, under the keys of whoever took them in
        return {key: value for key, value in row.items() if key not in ("seq", "key_id")}
    return row


async def files_of(export: Reader) -> dict[str, bytes]:
    return {name: b"".join([part async for part in export.parts(name)]) for name in export.files if "/" in name}


def mapped(makers: frozenset[bytes], shift: bytes, told: Mapping[ObjectId, ObjectId]) -> Callable[[Any], Any]:
    return Translation(makers, shift, told).value


# --- there and back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", [PlacementKind.SHARED, PlacementKind.OWN_DATABASE])
async def test_what_is_exported_wiped_and_imported_is_what_it_was(
    side: Side, server: Server, settings: Settings, tmp_path: Path, placement: PlacementKind
) -> None:
    former = side.clinic.tenant
    before = await exported(side.clinic, tmp_path)
    await wiped(side.clinic)

    done = await imported(before, subdomain=f"{former.subdomain}-2", placement=placement)

    assert done.tenant.placement.kind is placement
    assert done.ids_kept
    assert done.tenant.key != former.key  # a dead clinic's id is given to nobody
    assert (done.tenant.name, done.tenant.status) == (former.name, TenantStatus.ACTIVE)
    after = await exported(done.tenant, tmp_path)
    told: dict[ObjectId, ObjectId] = {former.key: done.tenant.key}
    was, is_now = await content(before, mapped(frozenset(), bytes(5), told)), await content(after, lambda row: row)
    history = is_now["audit_entries"]
    is_now["audit_entries"] = [one for one in history if '"clinic.import"' not in one]
    assert len(history) == len(is_now["audit_entries"]) + 1
    erased = {row["digest"] for row in map(json.loads, is_now.pop("erasures"))}
    assert len(erased) == len(was.pop("erasures"))
    for name, rows in was.items():
        assert is_now[name] == rows, name
    assert await files_of(after) == await files_of(before)
    assert (await verify(done.tenant)).broken is None
    with open_scope(Scope(request_id="tests")):
        faults = await check_columns(server.app.state.client, settings)
    assert not [one for one in faults if one.collection == "storage_usage" and str(done.tenant.id) in str(one)]


async def test_the_people_of_a_clinic_sign_in_to_it_again(
    server: Server, make_clinic: MakeClinic, tmp_path: Path
) -> None:
    """Whoever is known keeps their password; whoever is not has none until they ask for one."""
    clinic, other = await make_clinic(), await make_clinic()
    nurse = await User.find_one({"email": clinic.emails["nurse"]})
    assert nurse is not None
    [role] = [one async for one in Membership.find({"clinic_id": other.tenant.key, "role": "nurse"})]
    await Membership(user_id=nurse.key, clinic_id=other.tenant.key, role_id=role.role_id, role="nurse").insert()
    export = await exported(clinic, tmp_path)
    await wiped(clinic)

    done = await imported(export, subdomain=f"{clinic.tenant.subdomain}-2")

    assert (done.known_people, done.new_people) == (1, len(ROLE_NAMES) - 1)
    there = Clinic(done.tenant, clinic.emails)
    assert (await server.sign_in(there, "nurse")).token
    answer = await server.client(there.host).gql(
        "mutation($input: LoginInput!) { login(input: $input) { token } }",
        input={"email": clinic.emails["admin"], "password": PASSWORD},
    )
    assert answer.codes == [ErrorCode.UNAUTHENTICATED]
    kept = await User.get(nurse.key)
    assert kept is not None
    assert kept.password_hash == nurse.password_hash


@pytest.mark.parametrize("placement", [PlacementKind.SHARED, PlacementKind.OWN_DATABASE])
async def test_a_copy_beside_the_original_has_ids_of_its_own_and_changes_nothing_there(
    side: Side, raw: Database, tmp_path: Path, placement: PlacementKind
) -> None:
    export = await exported(side.clinic, tmp_path)
    before = await fingerprints(raw, side.clinic)

    done = await imported(export, subdomain=f"{side.clinic.tenant.subdomain}-copy", placement=placement)

    assert not done.ids_kept
    assert await fingerprints(raw, side.clinic) == before
    copy = await exported(done.tenant, tmp_path)
    former = {str(json_util.loads(line)["_id"]) for model in CARRIED async for line in _lines(export, model)}
    allowed = {str(one) for one in await _people_of(export)}
    for model in CARRIED:
        async for line in _lines(copy, model):
            for id in former - allowed:
                assert id.encode() not in line, f"{model.guarded_name()} still names {id}"
    was, is_now = await content(export, lambda row: row), await content(copy, lambda row: row)
    for name, rows in was.items():
        more = 1 if name == "audit_entries" else 0
        assert len(is_now[name]) == len(rows) + more, name
    assert sorted((await files_of(copy)).values()) == sorted((await files_of(export)).values())
    if placement is PlacementKind.SHARED:
        assert done.overlapping > 0  # the made-up claims stand at the original
    async with tenant_scope(done.tenant):
        for row in await PatientRecord.rows({}):
            assert await Patient.rows({"_id": row["patient_id"]}, limit=1), "a record whose patient did not come along"


def _all_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _lines(export: Reader, model: Any) -> Any:
    return export.lines(f"{model.guarded_name()}.ndjson")


async def _people_of(export: Reader) -> list[ObjectId]:
    return [json_util.loads(line)["_id"] async for line in export.lines("users.ndjson")]


async def test_files_are_served_by_the_clinic_that_took_them_in(
    side: Side, server: Server, make_clinic: MakeClinic, tmp_path: Path
) -> None:
    export = await exported(side.clinic, tmp_path)
    done = await imported(export, subdomain=f"{side.clinic.tenant.subdomain}-f")
    there = Clinic(done.tenant, side.clinic.emails)
    admin = await server.sign_in(there)

    listed = await admin.gql('{ documents(filter: {search: "knee"}) { edges { node { id } } } }')
    [edge] = listed.data["documents"]["edges"]
    assert (await fetch(admin, edge["node"]["id"])).content == picture()
    assert (await fetch(admin, edge["node"]["id"], "thumbnail")).status_code == 200
    async with tenant_scope(done.tenant):
        usage = await quota.usage()
    assert usage.kept.patient_attachments.files >= 1
    assert usage.used >= len(PDF) + len(picture())


async def test_shared_patients_come_as_copies_and_archived_ones_stay_archived(twins: Twins, tmp_path: Path) -> None:
    async with tenant_scope(twins.going.ref):
        await PatientRecord.guarded().update_one({"patient_id": twins.shared[0]}, {"$set": {"status": "archived"}})
    export = await exported(twins.going, tmp_path)
    theirs = await fingerprints(twins.raw, twins.staying)
    await wiped(twins.going)

    done = await imported(export, subdomain=f"{twins.going.tenant.subdomain}-2")

    assert not done.ids_kept  # two of its patients are still here, as another clinic's
    assert await fingerprints(twins.raw, twins.staying) == theirs
    mine = await twins.raw["patients"].find({"tenant_ids": done.tenant.id}).to_list()
    assert len(mine) == 5
    assert all(row["tenant_ids"] == [done.tenant.id] for row in mine)
    assert sum(done.tenant.id in row.get("archived_in", []) for row in mine) == 1


async def test_secrets_are_made_anew_and_none_is_in_the_export(side: Side, tmp_path: Path) -> None:
    async with tenant_scope(side.clinic.ref):
        for number, row in enumerate(await LabConnection.rows({})):
            fresh = {"$set": {"secret": f"quite-a-secret-{number}"}}
            await LabConnection.guarded().update_one({"_id": row["_id"]}, fresh)
        before = {row["secret"] for row in await LabConnection.rows({})}
        keys = {row["content_key"] for row in await DocumentContent.rows({})}
    export = await exported(side.clinic, tmp_path, None)
    text = b"".join(map(Path.read_bytes, _all_in(tmp_path)))
    assert not [one for one in before if one.encode() in text]

    done = await imported(export, subdomain=f"{side.clinic.tenant.subdomain}-s")

    async with tenant_scope(done.tenant):
        after = {row["secret"] for row in await LabConnection.rows({})}
        assert keys.isdisjoint({row["content_key"] for row in await DocumentContent.rows({})})
    assert len(after) == len(before)
    assert before.isdisjoint(after)


def test_every_secret_that_a_document_needs_can_be_made_anew() -> None:
    for model in CARRIED:
        needed = {name for name, field in model.model_fields.items() if not field.repr and field.is_required()}
        assert needed == MADE_ANEW.get(model.guarded_name(), {}).keys(), (
            f"{model.__name__}: say in MADE_ANEW how an import makes {needed} anew"
        )


# --- refused before anything is written ---------------------------------------------------------------------------


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _forge(folder: Path) -> None:
    """Changes a file, and the manifest to fit it."""
    [path] = folder.glob("patients.ndjson*")
    _flip(path)
    manifest = json.loads((folder / MANIFEST).read_text())
    for file in manifest["files"]:
        if file["name"] == path.name:
            file["sha256"] = sha256(path.read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))


def _swap(folder: Path) -> None:
    one, other = [path for path in folder.glob("*.ndjson*") if path.stat().st_size > 200][:2]
    a, b = one.read_bytes(), other.read_bytes()
    one.write_bytes(b)
    other.write_bytes(a)


def _cut(folder: Path) -> None:
    [path] = folder.glob("staff.ndjson*")
    path.write_bytes(path.read_bytes()[:-20])


def _manifest(content: Callable[[str], str]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / MANIFEST).write_text(content((folder / MANIFEST).read_text()))

    return change


def _one_more(folder: Path) -> None:
    (folder / "more.ndjson").write_text("{}\n")


def _emptied(folder: Path) -> None:
    next(folder.glob("roles.ndjson*")).write_bytes(b"")


TAMPERINGS: dict[str, Callable[[Path], None]] = {
    "a bit": lambda folder: _flip(next(folder.glob("staff.ndjson*"))),
    "a file's bit": lambda folder: _flip(next((folder / "files").iterdir())),
    "cut": _cut,
    "emptied": _emptied,
    "missing": lambda folder: next(folder.glob("roles.ndjson*")).unlink(),
    "more": _one_more,
    "swapped": _swap,
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "half a manifest": _manifest(lambda text: text[:300]),
    "an old format": _manifest(lambda _: '{"format": 2}'),
    "a way out": lambda folder: _renamed(folder, "../../etc/passwd"),
}


def _renamed(folder: Path, name: str) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][0]["name"] = name
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["plain", "sealed"])
@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_whatever_is_done_to_an_export_is_seen(
    tampering: str, passphrase: str | None, small: Clinic, tmp_path: Path
) -> None:
    folder = (await exported(small, tmp_path, passphrase))._folder
    TAMPERINGS[tampering](folder)
    with pytest.raises(ValidationFailed):
        await open_export(folder, passphrase)


@pytest_asyncio.fixture
async def small(server: Server, make_clinic: MakeClinic) -> Clinic:
    """A clinic with a file."""
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    await uploaded(admin, PDF, patientId=(await register(admin))["id"])
    return clinic


async def test_a_forged_export_is_seen_by_its_passphrase_or_its_fingerprint(small: Clinic, tmp_path: Path) -> None:
    sealed = await exported(small, tmp_path / "a")
    _forge(sealed._folder)
    with pytest.raises(ValidationFailed, match="not valid"):
        await open_export(sealed._folder, PASSPHRASE)
    plain = await exported(small, tmp_path / "b", None)
    _forge(plain._folder)
    with pytest.raises(ExportBroken):
        await open_export(plain._folder, None, fingerprint=plain.fingerprint)


async def test_a_sealed_export_tells_nothing_and_opens_by_its_passphrase_alone(small: Clinic, tmp_path: Path) -> None:
    export = await exported(small, tmp_path)
    sealed = [path for path in _all_in(export._folder) if path.name != MANIFEST]
    assert len(sealed) > 60
    for path in sealed:
        assert small.emails["doctor"].encode() not in path.read_bytes()
        assert b"A letter." not in path.read_bytes()
    for passphrase in (None, "", "another long passphrase"):
        with pytest.raises(ValidationFailed) as refused:
            await open_export(export._folder, passphrase)
        assert [one.path for one in refused.value.fields] == ["passphrase"]
    with pytest.raises(ValidationFailed):
        Lock.fresh("too short")


async def test_a_document_that_does_not_fit_is_named_by_file_and_line_and_nothing_is_written(
    small: Clinic, tmp_path: Path
) -> None:
    export = await exported(small, tmp_path, None)
    staff = export._folder / "staff.ndjson"
    lines = staff.read_text().splitlines()
    lines[1] = lines[1].replace('"kind": "', '"kind": "chief ')
    staff.write_text("\n".join(lines) + "\n")
    _resigned(export._folder, staff)
    again = await open_export(export._folder, None)
    name = f"{small.tenant.subdomain}-x"

    with pytest.raises(ExportBroken) as refused:
        await imported(again, subdomain=name)

    assert [one.path for one in refused.value.fields] == ["staff.ndjson:2.kind"]
    assert await Tenant.find_one({"subdomain": name}) is None


def _resigned(folder: Path, path: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    for file in manifest["files"]:
        if file["name"] == path.name:
            file |= {"sha256": sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["", "www", "no way"])
async def test_a_subdomain_that_cannot_be_is_refused(small: Clinic, tmp_path: Path, name: str) -> None:
    export = await exported(small, tmp_path)
    with pytest.raises(ValidationFailed) as refused:
        await imported(export, subdomain=name or small.tenant.subdomain)
    assert [one.path for one in refused.value.fields] == ["subdomain"]


async def test_the_subdomain_of_a_dead_clinic_is_given_to_nobody(make_clinic: MakeClinic, tmp_path: Path) -> None:
    clinic = await make_clinic()
    export = await exported(clinic, tmp_path)
    await wiped(clinic)
    with pytest.raises(ValidationFailed):
        await imported(export)


# --- interrupted --------------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


async def test_an_interrupted_import_is_seen_by_nobody_and_finished_by_the_next_run(
    server: Server, small: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = await exported(small, tmp_path)
    name = f"{small.tenant.subdomain}-k"
    store = Storing._collection
    for stop in ("staff", "appointments", "settings"):

        async def dying(work: Any, model: Any, stop: str = stop) -> None:
            if model.guarded_name() == stop:
                raise Killed
            await store(work, model)

        monkeypatch.setattr(Storing, "_collection", dying)
        with pytest.raises(Killed):
            await imported(export, subdomain=name)
        row = await Tenant.find_one({"subdomain": name})
        assert row is not None
        assert row.status is TenantStatus.SUSPENDED
        host = f"{name}.polyclinic.test"
        assert (await server.client(host).gql("{ viewer { name } }")).codes == [ErrorCode.TENANT_NOT_FOUND]
        assert row.key not in [key async for some in runs._clinics(JOBS["chain-audit"], Order()) for key in some]
        with open_scope(Scope(request_id="tests")), pytest.raises(InvalidState):
            await tenants_admin.set_status(row.key, row.version, TenantStatus.ACTIVE, "because I want to see it")
    monkeypatch.undo()

    done = await imported(export, subdomain=name)

    assert done.tenant.status is TenantStatus.ACTIVE
    assert done.tenant.importing is None
    was, is_now = (
        await content(export, lambda row: row),
        await content(await exported(done.tenant, tmp_path), lambda row: row),
    )
    for collection, rows in was.items():
        assert len(is_now[collection]) - len(rows) == (1 if collection == "audit_entries" else 0), collection
    assert (await verify(done.tenant)).broken is None
    acts = await PlatformAudit.find({"tenant": done.tenant.key}, sort="_id").to_list()
    assert [act.action for act in acts] == ["tenant.import.start", "tenant.import.end"]
    with pytest.raises(ValidationFailed):
        await imported(export, subdomain=name)


async def test_an_import_that_was_begun_is_called_off_by_deleting_the_clinic(
    small: Clinic, raw: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = await exported(small, tmp_path)
    name = f"{small.tenant.subdomain}-off"
    people = await User.find({"email": {"$in": list(small.emails.values())}}).count()

    async def dying(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(Storing, "_contents", dying)
    with pytest.raises(Killed):
        await imported(export, subdomain=name)
    tenant = await clinic_named(name)
    await delete_tenant(tenant, actor="tests", exports=None, settle=deletion_at_once())

    assert await raw["tenants"].find_one({"_id": tenant.key}) is None
    assert await User.find({"email": {"$in": list(small.emails.values())}}).count() == people
    with pytest.raises(AppError):
        await imported(export, subdomain=name)


async def test_another_export_does_not_go_on_with_an_import(
    small: Clinic, make_clinic: MakeClinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export, other = await exported(small, tmp_path / "a"), await exported(await make_clinic(), tmp_path / "b")
    name = f"{small.tenant.subdomain}-o"

    async def dying(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(Storing, "all", dying)
    with pytest.raises(Killed):
        await imported(export, subdomain=name)
    with pytest.raises(InvalidState, match="another export"):
        await imported(other, subdomain=name)


# --- into a database of its own -----------------------------------------------------------------------------------


async def test_all_of_it_is_in_its_own_database_and_it_works_there(
    twins: Twins, server: Server, settings: Settings, tmp_path: Path
) -> None:
    export = await exported(twins.going, tmp_path)
    original = await fingerprints(twins.raw, twins.going)

    done = await imported(export, subdomain=f"{twins.going.tenant.subdomain}-own", placement=OWN)

    own = twins.raw.client[str(done.tenant.placement.database)]
    assert own.name == f"{twins.raw.name}_{done.tenant.id}"
    assert await own["patients"].count_documents({"tenant_ids": [done.tenant.id]}) == 5
    there = await fingerprints(twins.raw, Clinic(done.tenant, {}))
    assert {name.partition("/")[0] for name in there} <= {"job_parts", "outbox", "tenant_keys"}
    assert await fingerprints(twins.raw, twins.going) == original
    admin = await server.sign_in(Clinic(done.tenant, twins.going.emails))
    assert (await admin.gql("{ patients { totalCount } }")).data["patients"]["totalCount"] == 5
    with open_scope(Scope(request_id="tests")):
        assert not [one for one in await check_columns(server.app.state.client, settings) if own.name in str(one)]


async def test_people_who_are_booked_elsewhere_are_not_taken_twice_and_the_rest_keeps_its_time(
    twins: Twins, tmp_path: Path
) -> None:
    doctor = await User.find_one({"email": twins.going.emails["doctor"]})
    assert doctor is not None
    held = [f"doctor:{doctor.id}:20300101T0{hour}00" for hour in range(5)]
    async with tenant_scope(twins.going.ref):
        rows = await Appointment.rows({}, projection={"_id": 1}, sort=[("_id", 1)])
        for row, claim in zip(rows, held, strict=True):
            await Appointment.guarded().update_one({"_id": row["_id"]}, {"$set": {"claims": [claim]}})
    export = await exported(twins.going, tmp_path)
    async with tenant_scope(twins.going.ref):
        for row in rows[2:]:
            await Appointment.guarded().update_one({"_id": row["_id"]}, {"$set": {"claims": []}})

    done = await imported(export, subdomain=f"{twins.going.tenant.subdomain}-own", placement=OWN)

    assert done.overlapping == 2
    async with tenant_scope(done.tenant):
        claims = [claim for row in await Appointment.rows({}) for claim in row.get("claims") or ()]
    assert sorted(claims) == held[2:]
    shadows = await twins.raw["appointments"].find({"tenant_id": done.tenant.id}).to_list()
    assert sorted(claim for row in shadows for claim in row["claims"]) == held[2:]


async def test_a_database_that_cannot_be_made_ready_leaves_nothing(
    small: Clinic, raw: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = await exported(small, tmp_path)
    name = f"{small.tenant.subdomain}-n"
    left = own_placement(id_for(name)).database
    assert left is not None

    async def breaks(*_: Any, **__: Any) -> None:
        raise Unavailable

    for module, step in ((provisioning, "provision"), (restoring, "note_work")):
        with monkeypatch.context() as patched:
            patched.setattr(module, step, breaks)
            with pytest.raises(Unavailable):
                await imported(export, subdomain=name, placement=OWN)

    assert await Tenant.find_one({"subdomain": name}) is None
    assert left not in await raw.client.list_database_names()
    assert (await imported(export, subdomain=name, placement=OWN)).tenant.placement.database == left


async def test_an_interrupted_one_goes_on_where_it_was_begun_and_is_called_off_with_its_database(
    small: Clinic, raw: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = await exported(small, tmp_path)
    name = f"{small.tenant.subdomain}-i"

    async def dying(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Storing, "_contents", dying)
        with pytest.raises(Killed):
            await imported(export, subdomain=name, placement=OWN)
    with pytest.raises(InvalidState, match="another place: own_database"):
        await imported(export, subdomain=name, placement=PlacementKind.SHARED)
    done = await imported(export, subdomain=name)
    assert done.tenant.placement.kind is OWN
    assert (await verify(done.tenant)).broken is None

    other = f"{small.tenant.subdomain}-j"
    with monkeypatch.context() as patched:
        patched.setattr(Storing, "_contents", dying)
        with pytest.raises(Killed):
            await imported(export, subdomain=other, placement=OWN)
    tenant = await clinic_named(other)
    await delete_tenant(tenant, actor="tests", exports=None, settle=deletion_at_once())
    assert tenant.placement.database not in await raw.client.list_database_names()


async def test_a_strange_database_under_its_former_id_is_left_alone(
    small: Clinic, raw: Database, tmp_path: Path
) -> None:
    """As where the shared database was lost, and clinics' own ones were not."""
    export = await exported(small, tmp_path)
    strange = raw.client[f"{raw.name}_{small.tenant.id}"]
    await strange["rooms"].insert_one({"tenant_id": small.tenant.id, "name": "Kept"})
    await raw["tenants"].delete_one({"_id": small.tenant.id})
    try:
        done = await imported(export, subdomain=f"{small.tenant.subdomain}-l", placement=OWN)
        assert done.tenant.key != small.tenant.key
        assert await strange["rooms"].count_documents({}) == 1
    finally:
        await raw.client.drop_database(strange.name)


# --- ids ----------------------------------------------------------------------------------------------------------

some_ids = st.binary(min_size=12, max_size=12).map(ObjectId)


@given(st.lists(some_ids, min_size=2, max_size=20, unique=True), st.binary(min_size=5, max_size=5))
def test_different_ids_stay_different_and_in_order_of_time(ids: list[ObjectId], shift: bytes) -> None:
    makers = frozenset(one.binary[4:9] for one in ids)
    moved = [Translation(makers, shift, {}).id(one) for one in ids]
    assert len(set(moved)) == len(ids)
    assert [one.generation_time for one in moved] == [one.generation_time for one in ids]
    assert [Translation(frozenset(one.binary[4:9] for one in moved), shift, {}).id(one) for one in moved] == ids


@given(some_ids, some_ids, st.text(max_size=30))
def test_an_id_is_found_wherever_it_is_mentioned(own: ObjectId, strange: ObjectId, text: str) -> None:
    told = {own: ObjectId()}
    ids = Translation(frozenset(), bytes(5), told)
    value = {"a": [own, {"b": strange}], str(own): f"doctor:{own}:1", "c": text, "d": f"x{own}", "e": 5, "f": None}
    moved = ids.value(value)
    new = told[own]
    kept = strange if strange != own else new
    assert moved == {
        "a": [new, {"b": kept}],
        str(new): f"doctor:{new}:1",
        "c": text,
        "d": f"x{own}",
        "e": 5,
        "f": None,
    }


async def test_proofs_of_erasure_name_the_patient_who_is_still_held(side: Side, tmp_path: Path) -> None:
    export = await exported(side.clinic, tmp_path)
    done = await imported(export, subdomain=f"{side.clinic.tenant.subdomain}-e")
    async with tenant_scope(done.tenant):
        rows = await Erasure.rows({"patient_id": {"$ne": None}})
        assert rows
        assert all(row["digest"] == digest_of(row["patient_id"]) for row in rows)


async def test_an_entry_of_the_audit_keeps_what_it_said(small: Clinic, tmp_path: Path) -> None:
    async with tenant_scope(small.ref):
        await record("something.done", subject=small.staff["doctor"])
    export = await exported(small, tmp_path)
    done = await imported(export, subdomain=f"{small.tenant.subdomain}-a")
    async with tenant_scope(done.tenant):
        [entry] = await AuditEntry.rows({"action": "something.done"})
        staff = entry["subject"].removeprefix("staff/")
        assert staff != str(small.staff["doctor"].id)
        assert await Staff.get(PydanticObjectId(staff)) is not None
