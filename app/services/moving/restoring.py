"""Reads an export back: as a new clinic, which nobody sees before the last of it is there.

Every step can be repeated: an import that was interrupted is finished by starting it again, and called off by deleting
the clinic as others are. What is never exported is made anew: secrets, keys, places of files. People are known by their
e-mail addresses; whoever is known keeps their own password, and whoever is not has none until they ask for a new one.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pymongo
from bson import ObjectId, json_util
from pydantic import ValidationError
from pymongo.errors import BulkWriteError, DuplicateKeyError

from app.auth.passwords import hash_password
from app.errors import Conflict, FieldError, InvalidState, ValidationFailed
from app.services.audit import record
from app.services.audit_chain import head_of, linked, set_anchors
from app.services.changes import build, complaints
from app.services.documents.places import path_of
from app.services.documents.receiving import keep_file, keep_thumbnail
from app.services.documents.recount import count_alone
from app.services.documents.sealed_files import KEY_BYTES
from app.services.documents.thumbnails import MOST_BYTES
from app.services.erasure import digest_of
from app.services.moving.folders import FILES, ExportBroken, Reader
from app.services.moving.translating import SHIFT_BYTES, Translation
from app.services.onboarding import subdomain_taken
from app.services.removal_notes import is_noted
from app.tenancy.crossing import system_scope, tenant_scope
from app.tenancy.operations import DUPLICATE_KEY, failures_of
from app.tenancy.scope import current_scope, scope_or_none
from models import (
    SHARED_DOCUMENTS,
    TENANT_DOCUMENTS,
    AuditEntry,
    DocumentContent,
    Erasure,
    Membership,
    Patient,
    PatientRecord,
    PlatformAudit,
    Tenant,
    Tombstone,
    User,
)
from models.base import GuardedDocument
from models.patient import RecordStatus
from models.tenant import Importing, TenantStatus
from models.values import Subdomain, Value

Row = dict[str, Any]
Report = Callable[[str, int], None]

BATCH = 500
NOT_CARRIED = frozenset(
    {
        "audit_pending",
        "external_identities",
        "paypal_orders",
        "portal_codes",
        "portal_sessions",
        "portal_tickets",
        "push_subscriptions",
        "storage_usage",
        "subscription_payments",
    }
)
"""What stands in an export and is not read back: how somebody signs in or is reached by a device, which rests on
secrets that are never exported; entries on their way into the audit, which are read with it; a count; and what the
clinic agreed on with the installation that it comes from."""
_APART = frozenset({AuditEntry.guarded_name(), DocumentContent.guarded_name()}) | NOT_CARRIED
_TENANT = ("name", "display_name", "email", "phone", "address", "settings", "security")
"""What the clinic's own row brings along. Its plan does not travel: it starts on trial, as every new clinic."""
CARRIED: tuple[type[GuardedDocument], ...] = (
    *SHARED_DOCUMENTS,
    *(model for model in TENANT_DOCUMENTS if model.guarded_name() not in NOT_CARRIED),
)
_STORED: tuple[type[GuardedDocument], ...] = (Membership, *CARRIED)
MADE_ANEW: Mapping[str, Mapping[str, Callable[[], Any]]] = {
    "invitations": {"token_hash": lambda: sha256(secrets.token_bytes(32)).hexdigest()},
    "lab_connections": {"secret": lambda: secrets.token_urlsafe(32)},
    "break_glass": {"event": lambda: secrets.token_urlsafe(24)},
    "received_shares": {"route": lambda: secrets.token_urlsafe(24)},
    "audit_entries": {"mac": lambda: bytes(32)},
    "document_contents": {"blob": lambda: "", "content_key": lambda: bytes(KEY_BYTES)},
}
"""Secrets without which a document cannot be, by collection and field. Links and codes that rested on the former ones
are no longer good: invitations are sent again, laboratories get the new secret."""


class _Name(Value):
    subdomain: Subdomain


@dataclass(slots=True)
class Imported:
    """A finished import: documents by collection, and files. `overlapping` are appointments whose people were booked
    elsewhere in this installation at that time: they stand, and keep the time no longer."""

    tenant: Tenant
    documents: dict[str, int] = field(default_factory=dict)
    files: int = 0
    lost: int = 0
    new_people: int = 0
    known_people: int = 0
    ids_kept: bool = True
    overlapping: int = 0


async def import_tenant(
    export: Reader,
    *,
    actor: str,
    subdomain: str | None = None,
    active: bool = True,
    report: Report = lambda *_: None,
) -> Imported:
    """Takes an export in as a new clinic, under its own subdomain unless given another one.

    `active` says whether the clinic answers at the end; else it is suspended. Raises `ExportBroken` for documents that
    are none and VALIDATION_FAILED at `subdomain` before anything is written; INVALID_STATE when that subdomain is being
    imported from another export.
    """
    with pymongo.timeout(None):
        makers = await _checked(export)
        tenant = await _begun(export, subdomain, actor)
        state = tenant.importing
        assert state is not None  # noqa: S101 - it was begun, or found begun
        done = Imported(tenant, ids_kept=not any(state.shift))
        people = await _people(export, Translation(makers, state.shift, {}), done)
        told = {**people, ObjectId(export.manifest["tenant"]["id"]): tenant.key}
        work = _Work(export, Translation(makers, state.shift, told), state, done, report)
        await work.memberships(tenant)
        async with tenant_scope(tenant):
            await work.all()
            await count_alone()
            await record("clinic.import", subject=tenant)
        await work.people()
        done.tenant = await _finished(tenant, active, actor)
    return done


# --- before anything is written -----------------------------------------------------------------------------------


async def _checked(export: Reader) -> frozenset[bytes]:
    """Holds every document against its model; gives who made the ids. Raises `ExportBroken` with file and line."""
    makers: set[bytes] = set()
    everything: tuple[type[GuardedDocument], ...] = (User, *_STORED)
    for model in everything:
        name = f"{model.guarded_name()}.ndjson"
        number = 0
        async for line in export.lines(name):
            number += 1
            try:
                row = _parsed(line)
                model.model_validate(_whole(model, row))
            except ValidationError as error:
                raise _not_fit(name, number, complaints(error, "")) from None
            except (ValueError, TypeError, KeyError):
                raise _not_fit(name, number, [FieldError("", "is no document")]) from None
            if isinstance(row["_id"], ObjectId):
                makers.add(row["_id"].binary[4:9])
    async for line in export.lines("tenants.ndjson"):
        build(Tenant, {**_tenant_values(_parsed(line)), "subdomain": "checked"}, at="tenants.ndjson")
    return frozenset(makers)


def _parsed(line: bytes) -> Row:
    row = json_util.loads(line.decode(), json_options=_OPTIONS)
    if not isinstance(row, dict) or "_id" not in row:
        raise ValueError
    return row


_OPTIONS = json_util.JSONOptions(json_mode=json_util.JSONMode.CANONICAL, tz_aware=True)


def _whole(model: type[GuardedDocument], row: Row) -> Row:
    """The row with what is never exported, so that its model's rules can be asked; without its clinic."""
    made = {name: maker() for name, maker in MADE_ANEW.get(model.guarded_name(), {}).items()}
    if model is User:
        made = {"password_hash": ""}
    return {**{name: value for name, value in row.items() if name != "tenant_id"}, **made}


def _not_fit(name: str, line: int, wrong: Sequence[FieldError]) -> ExportBroken:
    fields = [FieldError(f"{name}:{line}" + (f".{one.path}" if one.path else ""), one.message) for one in wrong]
    return ExportBroken("The export holds something that does not fit.", fields)


# --- the clinic, which nobody sees --------------------------------------------------------------------------------


async def _begun(export: Reader, subdomain: str | None, actor: str) -> Tenant:
    wanted = build(_Name, {"subdomain": subdomain or export.manifest["tenant"]["subdomain"]}, at="").subdomain
    if (found := await Tenant.find_one({"subdomain": wanted, "importing": {"$ne": None}})) is not None:
        if found.importing is None or found.importing.export != export.fingerprint:
            raise InvalidState(f"{wanted} is being imported from another export.")
        if found.deletion_started_at is not None:
            raise InvalidState(f"The import of {wanted} was called off.")
        return found
    tenant = await _made(export, wanted)
    tenant.importing = Importing(
        export=export.fingerprint,
        shift=await _shift(export),
        naming=secrets.token_bytes(32),
    )

    if await subdomain_taken(wanted):
        raise _taken()
    await _note(tenant, actor, "tenant.import.start", f"importing {wanted}")
    try:
        await tenant.insert()
    except DuplicateKeyError:
        raise _taken() from None
    if await Tombstone.guarded().find_one({"subdomain": wanted}, {"_id": 1}) is not None:  # it died at this very moment
        await Tenant.guarded().delete_one({"_id": tenant.key})
        raise _taken()
    return tenant


def _taken() -> ValidationFailed:
    return ValidationFailed.at("subdomain", "is already taken")


async def _made(export: Reader, subdomain: str) -> Tenant:
    """The clinic's row, suspended and under its former id where that was never given to another or to a dead one."""
    rows = [_parsed(line) async for line in export.lines("tenants.ndjson")]
    if len(rows) != 1:
        raise ExportBroken("The export holds no clinic.")
    former = ObjectId(export.manifest["tenant"]["id"])
    taken = await Tenant.guarded().find_one({"_id": former}, {"_id": 1})
    buried = await Tombstone.guarded().find_one({"tenant_id_was": former}, {"_id": 1})
    made: Tenant = build(Tenant, {**_tenant_values(rows[0]), "subdomain": subdomain}, at="tenants.ndjson")
    made.id = ObjectId() if taken or buried or await is_noted(former) else former  # type: ignore[assignment]
    made.status = TenantStatus.SUSPENDED
    return made


def _tenant_values(row: Row) -> Row:
    return {name: row[name] for name in _TENANT if name in row}


async def _shift(export: Reader) -> bytes:
    """Zeros where every id of the export is free here, else random bytes."""
    async with system_scope("see whether the ids of an export are free") as system:
        for model in _STORED:
            stored = system.raw(model)
            async for rows in _batches(export, model.guarded_name()):
                ids = [row["_id"] for row in rows]
                if await stored.find_one({"_id": {"$in": ids}}, {"_id": 1}) is not None:
                    return secrets.token_bytes(SHIFT_BYTES)
    return bytes(SHIFT_BYTES)


async def _batches(export: Reader, collection: str) -> AsyncIterator[list[Row]]:
    batch: list[Row] = []
    async for line in export.lines(f"{collection}.ndjson"):
        batch.append(_parsed(line))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def _finished(tenant: Tenant, active: bool, actor: str) -> Tenant:
    """The last act: from here on the clinic is there. Raises CONFLICT when it was called off meanwhile."""
    status = TenantStatus.ACTIVE if active else TenantStatus.SUSPENDED
    await _note(tenant, actor, "tenant.import.end", f"imported {tenant.subdomain}, {status.value}")
    there = {"importing": {"$ne": None}, "deletion_started_at": None}
    return await Tenant.change(tenant.key, None, {"status": status.value, "importing": None}, filter=there)


async def _note(tenant: Tenant, actor: str, action: str, reason: str) -> None:
    scope = scope_or_none()
    await PlatformAudit(
        actor=actor,
        action=action,
        reason=reason,
        tenant=tenant.key,
        request_id=scope.request_id if scope else "command",
        address=scope.address if scope else "",
    ).insert()


# --- people -------------------------------------------------------------------------------------------------------


async def _people(export: Reader, ids: Translation, done: Imported) -> dict[ObjectId, ObjectId]:
    """Who the people of the export are here, by their ids there. New ones are stored with a password nobody knows."""
    found: dict[ObjectId, ObjectId] = {}
    async for batch in _batches(export, User.guarded_name()):
        for row in batch:
            known = await User.find_one({"email": row["email"]})
            user = known or await _new_person(row, ids)
            found[row["_id"]] = user.key
            done.known_people += known is not None
            done.new_people += known is None
    return found


async def _new_person(row: Row, ids: Translation) -> User:
    wanted = ids.id(row["_id"])
    taken = await User.guarded().find_one({"_id": wanted}, {"_id": 1})
    try:
        return await _person(row, ObjectId() if taken else wanted)
    except DuplicateKeyError:  # the person became known at this very moment
        known = await User.find_one({"email": row["email"]})
        if known is None:
            raise
        return known


async def _person(row: Row, id: ObjectId) -> User:
    """Stores a person under a password that nobody knows."""
    told: Row = {name: row[name] for name in ("email", "name", "status") if name in row}
    hashed = await hash_password(secrets.token_urlsafe(32))
    user: User = build(User, {**told, "id": id, "password_hash": hashed}, at="users")
    await user.insert()
    return user


@dataclass(slots=True)
class _Work:
    """The documents of one import, collection by collection."""

    export: Reader
    ids: Translation
    state: Importing
    done: Imported
    report: Report

    async def memberships(self, tenant: Tenant) -> None:
        """Binds the people to the clinic, which holds them from here on."""
        async for batch in _batches(self.export, Membership.guarded_name()):
            for row in batch:
                with suppress(DuplicateKeyError):  # an earlier run of this import came as far as this
                    await Membership.guarded().insert_one({**self.ids.value(row), "clinic_id": tenant.key})

    async def people(self) -> None:
        """Stores again whoever went with their last other clinic before they were bound to this one."""
        async for batch in _batches(self.export, User.guarded_name()):
            for row in batch:
                here = self.ids.id(row["_id"])
                if await User.guarded().find_one({"_id": here}, {"_id": 1}) is None:
                    await _person(row, here)

    async def all(self) -> None:
        """Everything of the clinic in scope."""
        for model in CARRIED:
            if model.guarded_name() not in _APART:
                await self._collection(model)
        await self._archived()
        await self._contents()
        await self._audit()

    async def _collection(self, model: type[GuardedDocument]) -> None:
        name = model.guarded_name()
        async for batch in _batches(self.export, name):
            rows = [self._row(model, row) for row in batch]
            await self._store(model, rows)
            self._told(name, len(rows))

    def _told(self, name: str, count: int) -> None:
        self.done.documents[name] = self.done.documents.get(name, 0) + count
        self.report(name, count)

    def _row(self, model: type[GuardedDocument], row: Row) -> Row:
        made: Row = self.ids.value(_whole(model, row))
        if model is Erasure and made.get("patient_id") is not None:
            made["digest"] = digest_of(made["patient_id"])
        return made

    async def _store(self, model: type[GuardedDocument], rows: Sequence[Row]) -> None:
        """Stores what is not stored yet. Raises CONFLICT for a document that the database refuses."""
        try:
            await model.get_pymongo_collection().insert_many(rows, ordered=False)
        except BulkWriteError as error:
            for at, failure in failures_of(error).items():
                await self._settle(model, rows[at], failure)

    async def _settle(self, model: type[GuardedDocument], row: Row, failure: Any) -> None:
        pattern = (failure.details or {}).get("keyPattern", {})
        stored = {"_id": row["_id"]}
        if pattern == {"_id": 1} and await model.rows(stored, projection={"_id": 1}, limit=1):
            return  # an earlier run of this import came as far as this
        if failure.code == DUPLICATE_KEY and pattern == {"claims": 1} and row.get("claims"):
            self.done.overlapping += 1
            await self._store(model, [{**row, "claims": None}])
            return
        raise Conflict(f"{model.guarded_name()}/{row['_id']} cannot be stored: {', '.join(pattern) or failure.code}.")

    async def _archived(self) -> None:
        """Which patients the clinic has put away stands beside their shared demographics, which do not tell it."""
        after: Row = {}
        away = {"status": RecordStatus.ARCHIVED.value}
        while rows := await PatientRecord.rows(
            {**away, **after}, projection=["patient_id"], sort=[("_id", 1)], limit=BATCH
        ):
            for row in rows:
                await Patient.guarded().archive(row["patient_id"])
            after = {"_id": {"$gt": rows[-1]["_id"]}}

    # --- files ----------------------------------------------------------------------------------------------------

    async def _contents(self) -> None:
        name = DocumentContent.guarded_name()
        async for batch in _batches(self.export, name):
            rows = {str(row["_id"]): self._row(DocumentContent, row) for row in batch}
            there = await DocumentContent.rows(
                {"_id": {"$in": [row["_id"] for row in rows.values()]}}, projection={"_id": 1}
            )
            known = {row["_id"] for row in there}
            for former, row in rows.items():
                if row["_id"] not in known:
                    await self._content(former, row)
            self._told(name, len(rows))

    async def _content(self, former: str, row: Row) -> None:
        """Keeps the file first, under a name that the next run of this import would give it too, then its row."""
        random = sha256(self.state.naming + row["_id"].binary).hexdigest()
        row["blob"] = path_of(current_scope().tenant_id, random)
        row["content_key"] = secrets.token_bytes(KEY_BYTES)
        file = f"{FILES}/{former}"
        if file in self.export.files:
            await keep_file(self.export.parts(file), row["content_key"], row["blob"])
            row["has_thumbnail"] = row.get("has_thumbnail", False) and await self._thumbnail(file, row)
            self.done.files += 1
            self.report(FILES, 1)
        else:
            self.done.lost += 1
        await DocumentContent.guarded().insert_one(row)

    async def _thumbnail(self, file: str, row: Row) -> bool:
        if row["size"] > MOST_BYTES:
            return False
        picture = b"".join([part async for part in self.export.parts(file)])
        return await keep_thumbnail(picture, row["content_key"], row["blob"])

    # --- the audit ------------------------------------------------------------------------------------------------

    async def _audit(self) -> None:
        """Links the entries into a chain of this installation, in their order: the history that the export told."""
        head = await head_of()
        skip = head[0]
        own = current_scope().tenant_id
        async for batch in self._entries():
            rows = batch[min(skip, len(batch)) :]
            skip -= min(skip, len(batch))
            if rows:
                entries = linked(own, [self.ids.value(row) for row in rows], head)
                await AuditEntry.guarded().insert_many(entries, ordered=True)
                head = entries[-1]["seq"], entries[-1]["mac"]
            self._told(AuditEntry.guarded_name(), len(batch))
        await set_anchors({own: head})

    async def _entries(self) -> AsyncIterator[list[Row]]:
        """The entries in their order, then those that were on their way into the chain."""
        async for batch in _batches(self.export, AuditEntry.guarded_name()):
            yield [{name: value for name, value in row.items() if name not in _OF_THE_CHAIN} for row in batch]
        async for batch in _batches(self.export, "audit_pending"):
            yield [{"_id": row["_id"], **row["entry"]} for row in batch]


_OF_THE_CHAIN = frozenset({"tenant_id", "seq", "key_id", "mac"})
