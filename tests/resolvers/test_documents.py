"""Documents over GraphQL: lists, changes, what patients see; and what becomes of files with their patient or clinic."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio
from bson import ObjectId

from app.config import Settings
from app.jobs.runs import run_job
from app.services.clinics import clinic_named
from app.services.deletion import delete_tenant
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, open_scope
from models import ClinicDocument, DocumentContent, Erasure, StorageUsage
from models.values import now
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.portal import Visit
from tests.http.document_calls import PDF, fetch, picture, uploaded
from tests.http.test_documents import files
from tests.resolvers.patient_calls import register

FIELDS = """id version title category description sharedAt byPatient archivedAt contentPath thumbnailPath
    patient { id } createdBy { kind } file { number fileName contentType size sha256 }"""
ONE = f"query($id: ID!) {{ document(id: $id) {{ {FIELDS} }} }}"
LIST = """query($filter: DocumentFilter, $sort: DocumentSort! = NEWEST) {
    documents(filter: $filter, sort: $sort) { totalCount edges { node { title } } } }"""
VERSIONS = """query($id: ID!) { document(id: $id) { versions(first: 1) {
    edges { node { number fileName createdBy { kind } } } pageInfo { hasNextPage } } } }"""
CHANGE = f"mutation($input: UpdateDocumentInput!) {{ updateDocument(input: $input) {{ {FIELDS} }} }}"
SHARE = f"mutation($input: ShareDocumentWithPatientInput!) {{ shareDocumentWithPatient(input: $input) {{ {FIELDS} }} }}"
ARCHIVE = "mutation($input: ArchiveInput!) { archiveDocument(input: $input) { version archivedAt } }"
RESTORE = "mutation($input: ArchiveInput!) { restoreDocument(input: $input) { version archivedAt } }"
MINE = "{ patientDocuments { edges { node { title category contentPath byPatient file { fileName } } } } }"
ERASE = "mutation($input: ErasePatientInput!) { erasePatient(input: $input) { status erased { kind count } } }"


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture
async def admin(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic)


async def titles(client: Client, sort: str = "NEWEST", **filter: Any) -> list[str]:
    found = (await client.gql(LIST, filter=filter, sort=sort)).data["documents"]
    shown = [edge["node"]["title"] for edge in found["edges"]]
    assert found["totalCount"] == len(shown)
    return shown


async def test_a_document_tells_what_is_known_of_it(admin: Client) -> None:
    patient = (await register(admin))["id"]
    told = await uploaded(admin, picture(), "scan.png", title="Knee", category="IMAGE", patientId=patient)
    shown = (await admin.gql(ONE, id=told["id"])).data["document"]

    assert (shown["title"], shown["category"], shown["patient"]) == ("Knee", "IMAGE", {"id": patient})
    assert (shown["sharedAt"], shown["byPatient"], shown["createdBy"]) == (None, False, {"kind": "ADMIN"})
    assert shown["file"]["fileName"] == "scan.png"
    assert shown["contentPath"] == f"/api/documents/{told['id']}/content"
    assert shown["thumbnailPath"] == f"/api/documents/{told['id']}/thumbnail"


async def test_documents_are_found_by_title_kind_and_patient(admin: Client) -> None:
    patient = (await register(admin))["id"]
    await uploaded(admin, title="Árbol", category="LETTER")
    await uploaded(admin, title="arbitration", category="INVOICE", patientId=patient)
    await uploaded(admin, title="Bones", category="IMAGE", patientId=patient)

    assert await titles(admin) == ["Bones", "arbitration", "Árbol"]
    assert await titles(admin, "TITLE") == ["arbitration", "Árbol", "Bones"]
    assert await titles(admin, search="ARB") == ["arbitration", "Árbol"]
    assert await titles(admin, patientId=patient) == ["Bones", "arbitration"]
    assert await titles(admin, category="IMAGE", patientId=patient) == ["Bones"]
    assert await titles(admin, archived=True) == []


async def test_contents_are_listed_the_newest_first(admin: Client) -> None:
    told = await uploaded(admin, PDF, "one.pdf")
    await uploaded(admin, PDF, "two.pdf", documentId=told["id"], version=1)
    shown = (await admin.gql(VERSIONS, id=told["id"])).data["document"]["versions"]
    assert shown["edges"] == [{"node": {"number": 2, "fileName": "two.pdf", "createdBy": {"kind": "ADMIN"}}}]
    assert shown["pageInfo"]["hasNextPage"] is True


async def test_a_change_is_based_on_a_version(admin: Client) -> None:
    told = await uploaded(admin, title="Old")
    values = {"id": told["id"], "title": "New", "category": "OTHER", "description": "Read it"}
    changed = (await admin.gql(CHANGE, input={**values, "version": 1})).data["updateDocument"]
    assert (changed["title"], changed["description"], changed["version"]) == ("New", "Read it", 2)
    assert await titles(admin, search="new") == ["New"]
    stale = await admin.gql(CHANGE, input={**values, "version": 1})
    assert (stale.codes, stale.paths) == (["CONFLICT"], ["input.version"])
    wrong = await admin.gql(CHANGE, input={"id": told["id"], "version": 2, "title": ""})
    assert (wrong.codes, wrong.paths) == (["VALIDATION_FAILED"], ["input.title"])


async def test_the_clinics_own_papers_are_shared_with_no_patient(admin: Client) -> None:
    told = await uploaded(admin)
    assert (await admin.gql(SHARE, input={"id": told["id"], "version": 1})).codes == ["INVALID_STATE"]


async def test_a_patient_sees_what_is_shared_and_not_put_away(admin: Client, clinic: Clinic, visit: Visit) -> None:
    vera = await visit(clinic)
    told = await uploaded(admin, PDF, "letter.pdf", title="Letter", patientId=str(vera.patient_id))
    await uploaded(admin, PDF, title="Not theirs yet", patientId=str(vera.patient_id))
    await admin.gql(SHARE, input={"id": told["id"], "version": 1})
    await uploaded(vera.client, PDF, "card.pdf")

    shown = [edge["node"] for edge in (await vera.asks(MINE))["patientDocuments"]["edges"]]
    assert [(one["title"], one["byPatient"]) for one in shown] == [("card", True), ("Letter", False)]

    archived = (await admin.gql(ARCHIVE, input={"id": told["id"], "version": 2})).data["archiveDocument"]
    assert (await fetch(vera.client, told["id"])).status_code == 404
    assert await titles(admin, archived=True) == ["Letter"]
    await admin.gql(RESTORE, input={"id": told["id"], "version": archived["version"]})
    assert (await fetch(vera.client, told["id"])).status_code == 200


# --- what becomes of files --------------------------------------------------------------------------------------------


async def _aged(clinic: Clinic, id: str, years: int) -> None:
    past = now() - timedelta(days=366 * years)
    async with tenant_scope(clinic.ref):
        await ClinicDocument.guarded().update_one({"_id": ObjectId(id)}, {"$set": {"last_uploaded_at": past}})
        await DocumentContent.guarded().update_many({"document_id": ObjectId(id)}, {"$set": {"created_at": past}})


async def test_erasing_a_patient_erases_the_files_that_the_law_does_not_hold(
    admin: Client, clinic: Clinic, settings: Settings
) -> None:
    made = await register(admin)
    old = await uploaded(admin, picture(), "old.png", patientId=made["id"])
    new = await uploaded(admin, PDF, "new.pdf", patientId=made["id"])
    other = await uploaded(admin, PDF, "other.pdf")
    await _aged(clinic, old["id"], 11)

    erase = {"patientId": made["id"], "code": made["record"]["code"], "basis": "NO_LONGER_NEEDED"}
    proof = (await admin.gql(ERASE, input=erase)).data["erasePatient"]
    assert proof["status"] == "PARTIAL"
    assert {"kind": "document_contents", "count": 1} in proof["erased"]
    assert len(files(settings, clinic)) == 2, "neither the old picture nor its thumbnail is there"
    assert (await fetch(admin, old["id"])).status_code == 404
    assert (await fetch(admin, new["id"])).status_code == 200

    await _aged(clinic, new["id"], 11)
    async with tenant_scope(clinic.ref):
        await Erasure.guarded().update_many({}, {"$set": {"retained_until": now() - timedelta(days=1)}})
    with open_scope(Scope(request_id="test")):
        await run_job("complete-erasures", settings)
    assert (await fetch(admin, other["id"])).status_code == 200
    assert len(files(settings, clinic)) == 1
    async with tenant_scope(clinic.ref):
        assert [(one["used"], one["doomed"]) for one in await StorageUsage.rows({})] == [(len(PDF), [])]


async def test_a_clinic_that_goes_takes_its_files_along_and_is_exported_with_them(
    admin: Client, stranger: Client, clinic: Clinic, clinic_b: Clinic, settings: Settings, tmp_path: Path
) -> None:
    told = await uploaded(admin, PDF, "letter.pdf")
    await uploaded(admin, picture(), "scan.png")
    theirs = await uploaded(stranger, PDF)
    async with tenant_scope(clinic.ref):
        [content] = await DocumentContent.rows({"document_id": ObjectId(told["id"])})

    tenant = await clinic_named(clinic.tenant.subdomain)
    with open_scope(Scope(request_id="test")):
        done = await delete_tenant(tenant, actor="tests", exports=tmp_path, settle=timedelta(0))

    assert files(settings, clinic) == []
    assert done.export is not None
    assert (done.export / "files" / str(content["_id"])).read_bytes() == PDF
    manifest = json.loads((done.export / "manifest.json").read_text())
    [listed] = [one for one in manifest["files"] if one["name"] == f"files/{content['_id']}"]
    assert listed["sha256"] == told["sha256"]
    assert "content_key" not in (done.export / "document_contents.ndjson").read_text()
    assert (await fetch(stranger, theirs["id"])).content == PDF
