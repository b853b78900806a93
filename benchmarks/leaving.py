"""What it takes to write a clinic out, read it back and delete it: time, documents per second, and memory.

`python -m benchmarks.leaving`, with `DOCUMENTS=100000` for another number. The clinic has patients with records (sealed
notes), appointments, entries of the audit and files; it is exported sealed, imported beside itself and then deleted,
all by what the commands call, on one mongod (MONGODB_URI, else a local one that is thrown away). Memory is the most
that this process had during each step, which needs Linux.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, TypeVar

import uvloop
from beanie import PydanticObjectId
from bson import ObjectId
from pydantic import SecretStr
from pymongo import AsyncMongoClient

from app.config import Settings
from app.db.client import make_client
from app.db.documents import init_documents
from app.db.mongod import embedded_mongod
from app.db.schema import apply_schema
from app.integrations.blobs import use_blobs
from app.services.audit_chain import drain, head_of, linked, set_anchors, use_audit_keys
from app.services.clinics import clinic_named
from app.services.deletion import delete_tenant
from app.services.documents import filing
from app.services.documents.limits import limits_of
from app.services.documents.receiving import Incoming
from app.services.moving.folders import Lock, open_export
from app.services.moving.restoring import import_tenant
from app.services.onboarding import onboard, read_form
from app.services.tenant_export import export_tenant
from app.services.tenant_keys import use_tenant_keys
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, current_scope, open_scope
from models import Appointment, AuditEntry, Patient, PatientRecord, Tenant
from models.values import now

T = TypeVar("T")
DOCUMENTS = int(os.environ.get("DOCUMENTS", "100000"))
FILES = 200
FILE = b"%PDF-1.7\n" + b"A page of a letter. " * 5_000
BATCH = 1_000
PASSWORD = "a bench of long standing 42"


async def _filled(settings: Settings) -> Tenant:
    """A clinic of `DOCUMENTS` documents: of each five one patient, one record, two appointments and one entry."""
    admin = {"name": "Ada Admin", "email": "ada@bench.example.com", "password": PASSWORD}
    opened = await onboard(read_form({"name": "Bench", "subdomain": "bench", "admin": admin}))
    async with tenant_scope(opened.tenant):
        for at in range(0, DOCUMENTS // 5, BATCH):
            await _batch(range(at, min(at + BATCH, DOCUMENTS // 5)))
        for number in range(FILES):
            incoming = Incoming(f"{number}.pdf", len(FILE), _once(FILE))
            await filing.file({}, incoming, await limits_of(settings))
    await drain()
    return opened.tenant


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _batch(numbers: range) -> None:
    people = [(number, PydanticObjectId()) for number in numbers]
    doctor, moment = PydanticObjectId(), now()
    await Patient.guarded().insert_many(
        [_row(Patient(given_name="Ana", family_name=f"Bench{n}").keyed(), id) for n, id in people]
    )
    await PatientRecord.guarded().insert_many(
        [
            _row(PatientRecord(patient_id=id, code=f"P-{n}", notes="Came by, and was well. " * 8), ObjectId())
            for n, id in people
        ]
    )
    await Appointment.guarded().insert_many(
        [
            _row(
                Appointment(
                    patient_id=id,
                    doctor_id=doctor,
                    starts_at=moment + timedelta(minutes=n),
                    ends_at=moment + timedelta(minutes=n + 15),
                    claims=[f"doctor:{doctor}:{n}:{turn}"],
                ),
                ObjectId(),
            )
            for n, id in people
            for turn in range(2)
        ]
    )
    head = await head_of()
    who = dict.fromkeys(("user_id", "by_patient", "operator_entry", "subject"))
    what = {"at": moment, "action": "patient", "result": "ok", "request_id": "bench", "address": "", "crossed": False}
    acts = [{"_id": ObjectId(), **who, **what, "patient_ids": [id], "collections": ["patients"]} for _, id in people]
    own = current_scope().tenant_id
    entries = linked(own, acts, head)
    await AuditEntry.guarded().insert_many(entries)
    await set_anchors({own: (entries[-1]["seq"], entries[-1]["mac"])})


def _row(document: Any, id: ObjectId) -> dict[str, Any]:
    values: dict[str, Any] = document.model_dump(exclude={"id", "tenant_id", "revision_id"}, mode="python")
    return {"_id": id, **values}


async def _measured(name: str, documents: int, work: Callable[[], Awaitable[T]]) -> T:
    _forget_peak()
    began, used = time.perf_counter(), time.process_time()
    result = await work()
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    rate = f"{documents / seconds:9,.0f} documents/s"
    print(f"{name:28} {seconds:7.1f} s   {rate}   {cpu:6.1f} s of CPU   {_peak():4.0f} MB at most")
    return result


def _forget_peak() -> None:
    """Has Linux count this process's peak of memory from here on."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


async def _run(settings: Settings, exports: Path) -> None:
    tenant = await _filled(settings)
    print(f"{DOCUMENTS:,} documents and {FILES} files of {len(FILE) // 1024} KB; {_peak():.0f} MB to begin with")
    passphrase = token_urlsafe(24)
    sealed = Lock.fresh(passphrase)
    folder = await _measured("export, sealed", DOCUMENTS, lambda: export_tenant(tenant, exports, lock=sealed))
    await _measured("export, plain", DOCUMENTS, lambda: export_tenant(tenant, exports))
    export = await _measured("verify the sealed export", DOCUMENTS, lambda: open_export(folder, passphrase))

    async def imported() -> None:
        await import_tenant(export, actor="bench", subdomain="copy")
        await drain()

    await _measured("import beside the original", DOCUMENTS, imported)
    going = await clinic_named("bench")

    async def deleted() -> None:
        await delete_tenant(going, actor="bench", exports=None, settle=timedelta(0))

    await _measured("delete, without an export", DOCUMENTS, deleted)


async def main(uri: str, folder: Path) -> None:
    name = f"bench_leaving_{os.getpid()}"
    settings = Settings(
        environment="test",
        mongodb_uri=uri,
        mongodb_database=name,
        session_secret=SecretStr(token_urlsafe(48)),
        audit_secret=SecretStr(token_urlsafe(48)),
        encryption_key=SecretStr(token_urlsafe(48)),
        blob_url=SecretStr(f"file:{folder / 'blobs'}"),
        root_domain="localhost",
        log_level="error",
        outbox_seconds=0,
    )
    async with AsyncExitStack() as stack:
        use_audit_keys(settings)
        use_blobs(settings)
        await stack.enter_async_context(use_tenant_keys(settings))
        client = await stack.enter_async_context(make_client(settings))
        admin = await stack.enter_async_context(AsyncMongoClient[dict[str, Any]](uri))
        await init_documents(client[name])
        await apply_schema(client[name])
        try:
            with open_scope(Scope(request_id="bench")):
                await _run(settings, folder / "exports")
        finally:
            await drain()
            await admin.drop_database(name)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        if given := os.environ.get("MONGODB_URI"):
            uvloop.run(main(given, Path(made)))
        else:
            with embedded_mongod(Path(made) / "db", cache_gb=0.5, keep=False) as started:
                asyncio.run(main(started, Path(made)))
