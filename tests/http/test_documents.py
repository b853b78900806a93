"""Files by HTTP: what is taken and what is refused, who may have it again, and how much room there is."""

from __future__ import annotations

import asyncio
import io
import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from bson import ObjectId
from PIL import Image

from app.config import Settings
from app.jobs.runs import run_job
from app.services.documents import giving, quota
from app.services.documents.sealed_files import FileBroken
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Database, Scope, open_scope
from models import AuditEntry, ClinicDocument, DocumentContent, StorageUsage
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.portal import Visit
from tests.http.document_calls import PATH, PDF, code_of, fetch, form, headers, picture, upload, uploaded
from tests.resolvers.patient_calls import register

SHARE = "mutation($input: ShareDocumentWithPatientInput!) { shareDocumentWithPatient(input: $input) { version } }"


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture
async def admin(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic)


def folder(settings: Settings, clinic: Clinic) -> Path:
    return Path(settings.blob_target.removeprefix("file:")) / "clinics" / str(clinic.tenant.id)


def files(settings: Settings, clinic: Clinic) -> list[Path]:
    return [one for one in folder(settings, clinic).rglob("*") if one.is_file()]


async def used(clinic: Clinic) -> tuple[int, int]:
    """The bytes that count for the clinic, and how many uploads are under way."""
    async with tenant_scope(clinic.ref):
        rows = await StorageUsage.rows({})
        return (rows[0]["used"], len(rows[0]["reserved"])) if rows else (0, 0)


# --- in and out -----------------------------------------------------------------------------------------------------


async def test_a_file_comes_back_byte_for_byte_as_an_attachment(admin: Client) -> None:
    content = PDF * 100
    told = await uploaded(admin, content, "Befund Ä.pdf", category="REPORT")

    assert told["contentType"] == "application/pdf"
    assert (told["size"], told["title"], told["category"], told["number"]) == (len(content), "Befund Ä", "REPORT", 1)
    answer = await fetch(admin, told["id"])
    assert answer.content == content
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"].startswith('attachment; filename="Befund _.pdf"')
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-length"] == str(len(content))


async def test_a_head_tells_without_the_file(admin: Client) -> None:
    told = await uploaded(admin)
    admin.http.cookies.clear()
    answer = await admin.http.head(f"{PATH}/{told['id']}/content", headers=headers(admin))
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(PDF))


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        (picture(), "holiday.exe", "image/png"),
        (b"Just words, in UTF-8: \xc3\xa4.", "page.html", "text/plain"),
        (b"<html><script>alert(1)</script></html>", "innocent.png", "text/plain"),
    ],
)
async def test_a_file_is_what_it_holds_and_not_what_it_is_called(
    admin: Client, content: bytes, name: str, kind: str
) -> None:
    assert (await uploaded(admin, content, name))["contentType"] == kind


@pytest.mark.parametrize("content", [b"", b"MZ\x90\x00\x03" + b"\0" * 500, b"\x7fELF" + b"\x01" * 200], ids=len)
async def test_what_is_empty_or_of_no_kind_is_refused_and_leaves_nothing(
    admin: Client, clinic: Clinic, settings: Settings, content: bytes
) -> None:
    answer = await upload(admin, content)
    assert code_of(answer) == ("VALIDATION_FAILED", ["file"])
    assert files(settings, clinic) == []
    assert await used(clinic) == (0, 0)


async def test_nothing_of_a_file_or_its_name_is_plain_where_it_is_kept(
    admin: Client, clinic: Clinic, settings: Settings, raw: Database
) -> None:
    told = await uploaded(admin, PDF, "secret-name.pdf", title="Letter", description="What it says")
    [kept] = files(settings, clinic)
    assert b"A letter." not in kept.read_bytes()
    assert "secret-name" not in str(kept)
    assert told["id"] not in str(kept)
    for collection in ("documents", "document_contents"):
        [row] = await raw[collection].find({"tenant_id": clinic.tenant.id}).to_list()
        assert "secret-name" not in str(row)
        assert "What it says" not in str(row)


async def test_a_changed_file_is_never_given_out(admin: Client, clinic: Clinic, settings: Settings) -> None:
    told = await uploaded(admin, PDF)
    [kept] = files(settings, clinic)
    changed = bytearray(kept.read_bytes())
    changed[100] ^= 1
    kept.write_bytes(bytes(changed))
    async with tenant_scope(clinic.ref):
        given = await giving.content(ObjectId(told["id"]), None)
        with pytest.raises(FileBroken):
            await anext(given.parts)


async def test_a_newer_content_leaves_the_former_one_as_it_was(admin: Client) -> None:
    first = await uploaded(admin, PDF, "one.pdf", title="Plan")
    second = await uploaded(admin, picture(), "two.png", documentId=first["id"], version=first["version"])

    assert (second["id"], second["number"], second["version"], second["title"]) == (first["id"], 2, 2, "Plan")
    assert (await fetch(admin, first["id"])).content == picture()
    assert (await fetch(admin, first["id"], version="1")).content == PDF
    assert (await fetch(admin, first["id"], version="3")).status_code == 404
    assert (await fetch(admin, first["id"], version="x")).status_code == 400
    stale = await upload(admin, PDF, documentId=first["id"], version=first["version"])
    assert code_of(stale) == ("CONFLICT", ["input.version"])


async def test_of_many_who_replace_one_version_one_does(admin: Client, clinic: Clinic, settings: Settings) -> None:
    first = await uploaded(admin, PDF)
    answers = await asyncio.gather(
        *(upload(admin, PDF + bytes(str(n), "ascii"), documentId=first["id"], version=1) for n in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert len(files(settings, clinic)) == 2
    async with tenant_scope(clinic.ref):
        assert await DocumentContent.guarded().count_documents({}) == 2


# --- thumbnails -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
async def test_a_picture_gets_a_small_one_of_its_own(admin: Client, kind: str) -> None:
    told = await uploaded(admin, picture(900, 300, kind), "photo")
    assert told["hasThumbnail"] is True
    answer = await fetch(admin, told["id"], "thumbnail")
    assert answer.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(answer.content)) as small:
        assert small.size == (320, 107)


async def test_what_is_no_picture_has_no_thumbnail(admin: Client) -> None:
    told = await uploaded(admin, PDF)
    assert told["hasThumbnail"] is False
    assert (await fetch(admin, told["id"], "thumbnail")).status_code == 404


async def test_a_broken_picture_is_kept_without_one(admin: Client) -> None:
    told = await uploaded(admin, picture()[:400], "broken.png")
    assert told["hasThumbnail"] is False


def bomb() -> bytes:
    """Some kilobytes that say they are a picture of 2.5 thousand million pixels."""

    def part(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    head = (50_000).to_bytes(4, "big") * 2 + b"\x01\x00\x00\x00\x00"
    rows = zlib.compress(b"\0" * 6_251 * 500, 9)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")


async def test_a_picture_that_would_unfold_into_too_much_is_refused(
    admin: Client, clinic: Clinic, settings: Settings
) -> None:
    assert code_of(await upload(admin, bomb(), "bomb.png")) == ("VALIDATION_FAILED", ["file"])
    assert files(settings, clinic) == []
    assert await used(clinic) == (0, 0)


# --- forms ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"title": "x" * 300}, "input.title"),
        ({"category": "NOTHING"}, "input.category"),
        ({"unknown": 1}, "input.unknown"),
        ({"documentId": "x"}, "input"),
    ],
)
async def test_a_wrong_input_is_told_at_its_path(admin: Client, given: dict[str, Any], path: str) -> None:
    assert code_of(await upload(admin, PDF, **given)) == ("VALIDATION_FAILED", [path])


@pytest.mark.parametrize("id", ["patientId", "documentId"])
async def test_what_is_nowhere_or_elsewhere_is_not_found(
    admin: Client, stranger: Client, clinic: Clinic, settings: Settings, id: str
) -> None:
    elsewhere = (await register(stranger))["id"] if id == "patientId" else (await uploaded(stranger))["id"]
    more: dict[str, Any] = {"version": 1} if id == "documentId" else {}
    answers = [await upload(admin, PDF, **{id: one, **more}) for one in (str(ObjectId()), elsewhere, "x")]
    assert [code_of(answer) for answer in answers] == [("NOT_FOUND", [f"input.{id}"])] * 3
    assert files(settings, clinic) == []


@pytest.mark.parametrize(
    "parts",
    [
        [("file", ("a.pdf", PDF)), ("input", (None, "{}"))],
        [("input", (None, "{}"))],
        [("input", (None, "[]")), ("file", ("a.pdf", PDF))],
        [("other", (None, "{}")), ("file", ("a.pdf", PDF))],
        [("file", (None, "no file"))],
        [("input", (None, json.dumps({"title": "x" * 20_000}))), ("file", ("a.pdf", PDF))],
    ],
    ids=["file first", "no file", "no object", "another part", "no name", "long input"],
)
async def test_another_form_is_refused(admin: Client, clinic: Clinic, settings: Settings, parts: list[Any]) -> None:
    admin.http.cookies.clear()
    answer = await admin.http.post(PATH, headers=headers(admin), files=parts)
    assert answer.status_code == 400, answer.text
    assert files(settings, clinic) == []
    assert await used(clinic) == (0, 0)


@pytest.mark.parametrize(
    ("kind", "status"),
    [("application/json", 400), ("text/plain", 415), ("multipart/form-data", 415)],
)
async def test_another_content_type_is_refused(admin: Client, kind: str, status: int) -> None:
    admin.http.cookies.clear()
    answer = await admin.http.post(PATH, headers={**headers(admin), "content-type": kind}, content=b"{}")
    assert answer.status_code == status


# --- sizes and room -------------------------------------------------------------------------------------------------


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 10_000):
        yield body[at : at + 10_000]


def body_of(content: bytes, **given: Any) -> tuple[bytes, str]:
    """A form as bytes, and its content type."""
    request = httpx.Request("POST", "http://x", **form(content, **given))
    return request.read(), request.headers["content-type"]


async def streamed(client: Client, content: bytes, *, cut: int = 0) -> httpx.Response:
    """Sends a form in pieces and without its length, up to its last `cut` bytes."""
    client.http.cookies.clear()
    body, kind = body_of(content)
    sent = {**headers(client), "content-type": kind}
    return await client.http.post(PATH, headers=sent, content=in_pieces(body[: len(body) - cut]))


async def test_a_file_is_cut_at_the_limit_while_it_streams(server: Server, clinic: Clinic, settings: Settings) -> None:
    small = server.variant(max_upload_bytes=50_000)
    client = small.client(clinic.host, (await server.sign_in(clinic)).token)
    for answer in (await upload(client, PDF * 20), await streamed(client, PDF * 20)):
        assert code_of(answer) == ("VALIDATION_FAILED", ["file"])
    assert (await upload(client, PDF * 40)).status_code == 413
    assert files(settings, clinic) == []
    assert await used(clinic) == (0, 0)


async def test_a_file_without_a_length_counts_exactly(admin: Client, clinic: Clinic) -> None:
    assert (await streamed(admin, PDF * 20)).status_code == 201
    assert await used(clinic) == (len(PDF * 20), 0)


async def test_an_upload_that_breaks_off_leaves_nothing_and_gives_its_room_back(
    admin: Client, clinic: Clinic, settings: Settings
) -> None:
    assert (await streamed(admin, PDF * 20, cut=30)).status_code == 400
    assert files(settings, clinic) == []
    assert await used(clinic) == (0, 0)


async def test_twenty_at_once_near_the_limit_fill_it_exactly(
    server: Server, clinic: Clinic, settings: Settings
) -> None:
    content = PDF + b"x" * 37
    full = server.variant(storage_per_clinic=7 * len(content))
    client = full.client(clinic.host, (await server.sign_in(clinic)).token)
    answers = await asyncio.gather(*(upload(client, content) for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [201] * 7 + [409] * 13
    assert {code_of(answer)[0] for answer in answers if answer.status_code == 409} == {"QUOTA_EXCEEDED"}
    assert await used(clinic) == (7 * len(content), 0)
    assert len(files(settings, clinic)) == 7
    assert code_of(await upload(client, b"one more"))[0] == "QUOTA_EXCEEDED"


async def test_what_a_killed_process_left_behind_is_swept(
    admin: Client, clinic: Clinic, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await uploaded(admin, PDF)
    async with tenant_scope(clinic.ref):
        taken = await quota.reserve(5_000, 10**9)
        [usage] = await StorageUsage.rows({})
        late = {"$set": {"reserved.0.until": usage["reserved"][0]["until"] - 2 * quota.LASTS}}
        await StorageUsage.guarded().update_one({}, late)
    left = folder(settings, clinic) / taken.id[:2] / taken.id
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"half of a file")

    with open_scope(Scope(request_id="test")):
        report = await run_job("sweep-files", settings)

    assert report.by_clinic[clinic.tenant.subdomain] == {"uploads": 1, "files": 2}
    assert not left.exists()
    assert await used(clinic) == (len(PDF), 0)


# --- who -------------------------------------------------------------------------------------------------------------


async def test_another_clinics_document_is_nowhere(admin: Client, stranger: Client) -> None:
    told = await uploaded(admin)
    for answer in (await fetch(stranger, told["id"]), await fetch(admin, str(ObjectId())), await fetch(admin, "x")):
        assert code_of(answer) == ("NOT_FOUND", ["id"])


async def test_a_role_without_the_right_gets_and_gives_nothing(server: Server, admin: Client, clinic: Clinic) -> None:
    told = await uploaded(admin)
    accountant = await server.sign_in(clinic, "accountant")
    assert (await fetch(accountant, told["id"])).status_code == 403
    assert (await upload(accountant)).status_code == 403
    nobody = server.client(clinic.host)
    assert (await fetch(nobody, told["id"])).status_code == 401
    assert (await upload(nobody)).status_code == 401


async def test_a_patient_has_what_is_shared_with_them_and_nothing_else(
    server: Server, admin: Client, clinic: Clinic, visit: Visit
) -> None:
    vera, other = await visit(clinic), await visit(clinic)
    told = await uploaded(admin, picture(), "scan.png", patientId=str(vera.patient_id))
    assert (await fetch(vera.client, told["id"])).status_code == 404

    await admin.gql(SHARE, input={"id": told["id"], "version": 1})
    assert (await fetch(vera.client, told["id"])).content == picture()
    assert (await fetch(vera.client, told["id"], "thumbnail")).status_code == 200
    assert code_of(await fetch(other.client, told["id"])) == ("NOT_FOUND", ["id"])

    await admin.gql(SHARE, input={"id": told["id"], "version": 2, "shared": False})
    assert (await fetch(vera.client, told["id"])).status_code == 404


async def test_a_patient_sends_files_about_themselves_alone(admin: Client, clinic: Clinic, visit: Visit) -> None:
    vera, other = await visit(clinic), await visit(clinic)
    told = await uploaded(vera.client, PDF, "card.pdf", category="INSURANCE")
    assert (await fetch(vera.client, told["id"])).content == PDF
    async with tenant_scope(clinic.ref):
        [row] = await ClinicDocument.rows({"_id": ObjectId(told["id"])})
    assert (row["patient_id"], row["by_patient"]) == (vera.patient_id, True)
    for more in ({"patientId": str(other.patient_id)}, {"documentId": told["id"], "version": 1}):
        assert code_of(await upload(vera.client, PDF, **more)) == ("VALIDATION_FAILED", ["input"])


async def test_each_look_at_a_patients_file_is_told(admin: Client, clinic: Clinic, visit: Visit) -> None:
    vera = await visit(clinic)
    told = await uploaded(admin, PDF, patientId=str(vera.patient_id))
    await fetch(admin, told["id"])
    await admin.gql(SHARE, input={"id": told["id"], "version": 1})
    await fetch(vera.client, told["id"])
    async with tenant_scope(clinic.ref):
        entries = await AuditEntry.rows({"patient_ids": vera.patient_id}, sort=[("seq", 1)])
    looks = [one for one in entries if one["action"] == "/api/documents/{id}/content"]
    assert [one.get("by_patient") for one in looks] == [None, vera.patient_id]
    assert all("document_contents" in one["collections"] for one in looks)
    assert any(one["action"] == "/api/documents" for one in entries)
