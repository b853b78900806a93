"""The room that files take, by what they belong to; and what is cleaned up when files and documents part."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from beanie import PydanticObjectId
from bson import ObjectId

from app.config import Settings
from app.jobs.runs import run_job
from app.services.documents import filing, quota
from app.services.documents.limits import limits_of
from app.services.documents.orphans import SAFE_AGE
from app.services.documents.receiving import Incoming
from app.services.documents.recount import recount
from app.services.tenant_checks import check_columns
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, open_scope
from models import AuditEntry, ClinicDocument, DocumentContent, LabOrder, StorageUsage, Visit
from models.document import StorageKind
from models.lab import LabPanel
from models.values import now
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.http.document_calls import PDF, code_of, fetch, picture, upload, uploaded
from tests.http.test_documents import files, folder
from tests.resolvers.patient_calls import register

USAGE = "{ storageUsage { used limit free underWay kinds { kind bytes files } } }"
CLEAN = """mutation($input: CleanUpStorageInput!) { cleanUpStorage(input: $input) {
    dryRun complete files bytes removed lost dropped documents } }"""
LIST = """query($filter: DocumentFilter) { documents(filter: $filter) {
    edges { node { id visit { id } labOrder { id } } } } }"""


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture
async def admin(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic)


async def kinds(client: Client) -> dict[str, tuple[int, int]]:
    """Bytes and files by kind, of those that have any."""
    usage = (await client.gql(USAGE)).data["storageUsage"]
    told = {one["kind"]: (int(one["bytes"]), one["files"]) for one in usage["kinds"]}
    assert int(usage["used"]) == sum(size for size, _ in told.values())
    assert int(usage["free"]) == int(usage["limit"]) - int(usage["used"])
    return {kind: room for kind, room in told.items() if room != (0, 0)}


async def clean(client: Client, **input: Any) -> dict[str, Any]:
    told: dict[str, Any] = (await client.gql(CLEAN, input=input)).data["cleanUpStorage"]
    return told


async def filed_with(clinic: Clinic, patient: str) -> tuple[str, str]:
    """A visit and a laboratory order of the patient."""
    doctor = clinic.staff["doctor"].key
    async with tenant_scope(clinic.ref):
        visit = await Visit(patient_id=PydanticObjectId(patient), doctor_id=doctor).insert()
        order = await LabOrder(
            number=f"L-{ObjectId()}",
            patient_id=PydanticObjectId(patient),
            doctor_id=doctor,
            panels=[LabPanel(name="Glucose")],
        ).insert()
    return str(visit.id), str(order.id)


def aged(path: Path) -> None:
    """Makes a file look older than what is left alone."""
    past = (now() - SAFE_AGE - timedelta(minutes=1)).timestamp()
    os.utime(path, (past, past))


def stray(settings: Settings, clinic: Clinic, content: bytes = b"nobody's", *, old: bool = True) -> Path:
    """A file that no document knows of."""
    name = ObjectId().binary.hex()
    path = folder(settings, clinic) / name[:2] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if old:
        aged(path)
    return path


# --- what takes the room --------------------------------------------------------------------------------------------


async def test_room_is_told_by_what_files_belong_to(admin: Client, clinic: Clinic) -> None:
    patient = (await register(admin))["id"]
    visit, order = await filed_with(clinic, patient)
    own = await uploaded(admin, PDF)
    await uploaded(admin, PDF + b"newer", documentId=own["id"], version=1)
    await uploaded(admin, picture(), "knee.png", patientId=patient)
    await uploaded(admin, PDF, visitId=visit)
    await uploaded(admin, PDF, labOrderId=order, patientId=patient)

    assert await kinds(admin) == {
        "DOCUMENTS": (2 * len(PDF) + 5, 2),
        "PATIENT_ATTACHMENTS": (len(picture()), 1),
        "VISIT_FILES": (len(PDF), 1),
        "LAB_FILES": (len(PDF), 1),
    }


async def test_what_is_filed_with_a_visit_is_about_its_patient_and_found_there(admin: Client, clinic: Clinic) -> None:
    patient, other = (await register(admin))["id"], (await register(admin))["id"]
    visit, order = await filed_with(clinic, patient)
    told = await uploaded(admin, PDF, visitId=visit)
    lab = await uploaded(admin, PDF, labOrderId=order)

    for filter, id in (({"visitId": visit}, told["id"]), ({"labOrderId": order}, lab["id"])):
        edges = (await admin.gql(LIST, filter=filter)).data["documents"]["edges"]
        assert [edge["node"]["id"] for edge in edges] == [id]
        assert visit in str(edges) or order in str(edges)
    async with tenant_scope(clinic.ref):
        assert [row["patient_id"] for row in await DocumentContent.rows({})] == [ObjectId(patient)] * 2
    wrong = [
        ({"visitId": visit, "patientId": other}, ("VALIDATION_FAILED", ["input.patientId"])),
        ({"visitId": visit, "labOrderId": order}, ("VALIDATION_FAILED", ["input.labOrderId"])),
        ({"visitId": str(ObjectId())}, ("NOT_FOUND", ["input.visitId"])),
        ({"labOrderId": visit}, ("NOT_FOUND", ["input.labOrderId"])),
    ]
    for given, failure in wrong:
        assert code_of(await upload(admin, PDF, **given)) == failure


async def test_the_room_of_another_clinic_is_not_told(admin: Client, stranger: Client) -> None:
    await uploaded(stranger, PDF)
    assert await kinds(admin) == {}


async def test_uploads_and_counting_anew_side_by_side_lose_nothing(admin: Client, clinic: Clinic) -> None:
    async def count() -> None:
        async with tenant_scope(clinic.ref):
            for _ in range(10):
                await recount(repair=True)

    await asyncio.gather(count(), *(uploaded(admin, PDF + bytes([65 + n])) for n in range(10)))
    assert await kinds(admin) == {"DOCUMENTS": (10 * (len(PDF) + 1), 10)}


async def test_a_wrong_count_is_found_by_the_checks_and_put_right_by_the_job(
    admin: Client, clinic: Clinic, server: Server, settings: Settings
) -> None:
    await uploaded(admin, PDF)
    async with tenant_scope(clinic.ref):
        await quota.reserve(500, 10**9)
        wrong = {"$inc": {"used": 77, "kept.lab_files.bytes": 70, "kept.documents.files": -1}}
        await StorageUsage.guarded().update_one({}, wrong)

    def named(found: list[Any]) -> bool:
        return any(one.collection == "storage_usage" and str(clinic.tenant.id) in str(one) for one in found)

    with open_scope(Scope(request_id="test")):
        found = await check_columns(server.app.state.client, settings)
        assert [one.problem for one in found if one.collection == "storage_usage"] == [
            "the room of files is miscounted"
        ]
        assert (await run_job("recount-storage", settings)).by_clinic[clinic.tenant.subdomain] == {"repaired": 1}
        assert not named(await check_columns(server.app.state.client, settings))
        again = await run_job("recount-storage", settings)
    assert clinic.tenant.subdomain not in again.by_clinic
    async with tenant_scope(clinic.ref):
        usage = await quota.usage()
    assert (usage.used, usage.kept.documents.files, usage.kept.lab_files.bytes) == (len(PDF) + 500, 1, 0)


async def test_the_count_of_a_clinic_whose_count_is_gone_is_made_anew(admin: Client, clinic: Clinic) -> None:
    await uploaded(admin, PDF)
    async with tenant_scope(clinic.ref):
        await StorageUsage.guarded().delete_many({})
        assert (await recount(repair=False)).differs
        assert await StorageUsage.guarded().count_documents({}) == 0
        await recount(repair=True)
    assert await kinds(admin) == {"DOCUMENTS": (len(PDF), 1)}


@pytest.mark.parametrize("kind", list(StorageKind))
async def test_each_kind_has_a_room_of_its_own(kind: StorageKind) -> None:
    assert hasattr(StorageUsage().kept, kind.value)


async def test_an_upload_that_is_called_off_gives_its_room_back(clinic: Clinic, settings: Settings) -> None:
    begun = asyncio.Event()

    async def never_ending() -> AsyncIterator[bytes]:
        yield PDF
        begun.set()
        await asyncio.Event().wait()

    async with tenant_scope(clinic.ref):
        incoming = Incoming("long.pdf", 10 * len(PDF), never_ending())
        task = asyncio.ensure_future(filing.file({}, incoming, await limits_of(settings)))
        await begun.wait()
        assert (await quota.usage()).used == 10 * len(PDF)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        usage = await quota.usage()
    assert (usage.used, usage.reserved, usage.doomed) == (0, [], [])
    assert files(settings, clinic) == []


# --- cleaning up ----------------------------------------------------------------------------------------------------


async def test_a_look_removes_nothing_and_names_what_it_found(
    admin: Client, clinic: Clinic, settings: Settings
) -> None:
    told = await uploaded(admin, picture(), "knee.png")
    before = set(files(settings, clinic))
    lost = await uploaded(admin, PDF)
    [gone] = set(files(settings, clinic)) - before
    left = stray(settings, clinic)
    gone.unlink()
    stays = files(settings, clinic)

    found = await clean(admin)

    assert found == {
        "dryRun": True,
        "complete": True,
        "files": 1,
        "bytes": str(len(b"nobody's")),
        "removed": 0,
        "lost": 1,
        "dropped": 0,
        "documents": [lost["id"]],
    }
    assert files(settings, clinic) == stays
    assert left in stays
    assert (await fetch(admin, told["id"], "thumbnail")).status_code == 200


async def test_files_of_nobody_go_and_all_others_stay(admin: Client, clinic: Clinic, settings: Settings) -> None:
    told = await uploaded(admin, picture(), "knee.png")
    for one in files(settings, clinic):
        aged(one)
    old, young = stray(settings, clinic), stray(settings, clinic, old=False)
    async with tenant_scope(clinic.ref):
        taken = await quota.reserve(1_000, 10**9)
    under_way = folder(settings, clinic) / taken.id[:2] / taken.id
    under_way.parent.mkdir(parents=True, exist_ok=True)
    under_way.write_bytes(b"half")
    aged(under_way)

    found = await clean(admin, dryRun=False)

    assert [found[name] for name in ("files", "removed", "lost")] == [1, 1, 0]
    assert not old.exists()
    assert young.exists()
    assert under_way.exists()
    assert (await fetch(admin, told["id"])).content == picture()
    assert (await fetch(admin, told["id"], "thumbnail")).status_code == 200
    async with tenant_scope(clinic.ref):
        assert await AuditEntry.guarded().count_documents({"action": "storage.clean_up"}) == 1


async def test_a_document_whose_newest_file_is_lost_shows_the_one_before(
    admin: Client, clinic: Clinic, settings: Settings
) -> None:
    first = await uploaded(admin, PDF, "one.pdf")
    before = set(files(settings, clinic))
    await uploaded(admin, PDF + b"newer", "two.pdf", documentId=first["id"], version=1)
    (set(files(settings, clinic)) - before).pop().unlink()

    assert (await clean(admin, dryRun=False))["dropped"] == 0
    assert (await clean(admin, dryRun=False, dropLost=True))["dropped"] == 1

    assert (await fetch(admin, first["id"])).content == PDF
    assert await kinds(admin) == {"DOCUMENTS": (len(PDF), 1)}
    async with tenant_scope(clinic.ref):
        document = await ClinicDocument.get(ObjectId(first["id"]))
    assert document is not None
    assert (document.current.number, document.current.file_name, document.archived_at) == (1, "one.pdf", None)


async def test_a_document_whose_only_file_is_lost_is_put_away(
    admin: Client, clinic: Clinic, settings: Settings
) -> None:
    told = await uploaded(admin, PDF)
    files(settings, clinic)[0].unlink()

    assert (await clean(admin, dryRun=False, dropLost=True))["dropped"] == 1

    assert (await fetch(admin, told["id"])).status_code == 404
    assert await kinds(admin) == {}
    async with tenant_scope(clinic.ref):
        document = await ClinicDocument.get(ObjectId(told["id"]))
    assert document is not None
    assert document.archived_at is not None


async def test_uploads_under_way_are_never_taken_for_orphans(
    admin: Client, clinic: Clinic, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However young they are: with no age to protect them, the order of the looks must."""
    monkeypatch.setattr("app.services.documents.orphans.SAFE_AGE", timedelta(seconds=-60))
    tasks = [asyncio.ensure_future(uploaded(admin, PDF + bytes([65 + n]))) for n in range(12)]
    while not all(task.done() for task in tasks):
        assert (await clean(admin, dryRun=False))["removed"] == 0
    for n, task in enumerate(tasks):
        assert (await fetch(admin, task.result()["id"])).content == PDF + bytes([65 + n])


async def test_only_who_manages_settings_cleans_up(server: Server, clinic: Clinic) -> None:
    nurse, desk = await server.sign_in(clinic, "nurse"), await server.sign_in(clinic, "receptionist")
    assert (await nurse.gql(USAGE)).codes == ["FORBIDDEN"]
    assert (await desk.gql(CLEAN, input={"dryRun": True})).codes == ["FORBIDDEN"]
    assert (await desk.gql(USAGE)).data
