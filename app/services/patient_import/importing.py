"""Takes a file of patients into the clinic in scope, in parts that fit into memory, each in one transaction.

An import that was killed goes on where it was when the same file is imported again. A line with an external id that the
clinic has already is passed over, so that the same patients may also come in another file.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Any

import pymongo
from beanie import PydanticObjectId
from bson import ObjectId
from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError, DuplicateKeyError

from app.db.transactions import patiently
from app.errors import Conflict, InvalidState, ValidationFailed
from app.services.audit import record
from app.services.changes import build, row_of
from app.services.counters import next_numbers
from app.services.patient_import.duplicates import Seen, Sign, known_signs, signs_of
from app.services.patient_import.reading import WHOLE, Line, Problem, Source, digest_of
from app.services.patients import NUMBERS, RECORD_FIELDS
from app.services.settings import clinic_settings
from app.tenancy.scope import current_scope
from models import Patient, PatientImport, PatientRecord
from models.phones import region_of
from models.values import now

Row = dict[str, Any]

TOGETHER = 500
"""So many lines are looked at together, and stored by one transaction."""
BREATHE = 50
"""After so many lines what waits for the database gets a turn."""
OWN_FIELDS = frozenset({*RECORD_FIELDS, "external_id"})
TWICE = "is on an earlier line of the file too"
NOT_YET = PydanticObjectId()
"""Stands for the patient while a record is checked that has none yet."""


class Duplicates(StrEnum):
    """What becomes of a line that may be of a patient whom the clinic has, or who is on an earlier line."""

    SKIP = "skip"
    IMPORT = "import"
    FAIL = "fail"


@dataclass(slots=True)
class Tally:
    """How many lines were read, and what came of them. `wrong` counts those that were refused, also as duplicates."""

    lines: int = 0
    imported: int = 0
    known: int = 0
    duplicates: int = 0
    refused: int = 0
    resumed_after: int = 0
    """The line up to which an interrupted import of the same file had come."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Whom to tell: of lines that are done, and of each problem or warning (line, column, text)."""

    step: Callable[[int], None] = lambda _: None
    problem: Callable[[int, str, str], None] = lambda *_: None


@dataclass(slots=True)
class _Fit:
    """A line that is right, ready to be stored but for its code."""

    line: int
    patient: Patient
    record: PatientRecord
    signs: list[Sign]

    @property
    def numbers(self) -> dict[str, str]:
        """The numbers of cards that it has."""
        return {name: number for name in NUMBERS if (number := getattr(self.record, name))}


async def check_file(source: Source, duplicates: Duplicates, *, watch: Watch | None = None) -> Tally:
    """What an import would do. Changes nothing. Takes about 250 bytes of memory for each line."""
    checking = _Importing(source, duplicates, watch or Watch(), whole_file=True)
    with pymongo.timeout(None):
        await checking.walk(after=0)
    return checking.tally


async def import_file(
    source: Source, duplicates: Duplicates, *, actor: str, strict: bool = False, watch: Watch | None = None
) -> Tally:
    """Imports every line that is right, or goes on with an import of the same file that was interrupted.

    With `strict` the whole file is checked first. Raises `ValidationFailed` when a line of it is wrong, and
    `InvalidState` for a file that was imported before and whose lines have no external ids to be known by.
    """
    tell = watch or Watch()
    with pymongo.timeout(None):
        digest = await asyncio.to_thread(digest_of, source.path)
        if strict and (found := await check_file(source, duplicates, watch=Watch(problem=tell.problem))).refused:
            raise ValidationFailed.at("file", f"{found.refused} lines are wrong, so nothing was imported")
        run = await _begin(source, digest, actor)
        if not source.has_ids and duplicates is Duplicates.IMPORT:
            await _refuse_a_second_time(run)
        work = _Importing(source, duplicates, tell, run=run)
        work.tally.resumed_after = run["line"]
        await work.walk(after=run["line"])
        await _finish(run["_id"])
    return work.tally


async def _refuse_a_second_time(run: Row) -> None:
    """Looks once the run is begun, so that no other process can have begun and ended one in between."""
    ended = {"digest": run["digest"], "ended_at": {"$ne": None}}
    if await PatientImport.rows(ended, projection={"_id": 1}, limit=1):
        await PatientImport.guarded().delete_one({"_id": run["_id"], "line": 0})
        raise InvalidState("This file was imported before, and its lines have no external ids to be known by.")


async def _begin(source: Source, digest: str, actor: str) -> Row:
    """The import of this file that is under way, or a new one."""
    fresh = PatientImport(file_name=source.path.name[-200:], digest=digest, actor=actor)
    wanted = fresh.model_dump(exclude={"id", "revision_id", "tenant_id", "digest", "ended_at"})
    try:
        row = await PatientImport.guarded().find_one_and_update(
            {"digest": digest, "ended_at": None},
            {"$setOnInsert": wanted},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
    except DuplicateKeyError:
        raise Conflict("Another process has just begun to import the same file.") from None
    assert row is not None  # noqa: S101 - an upsert always answers with a document
    return row


async def _finish(run_id: ObjectId) -> None:
    """Ends the import and tells the audit: one act, whose counts stand in the import itself."""

    async def work(session: AsyncClientSession) -> None:
        done = await PatientImport.guarded().update_one(
            {"_id": run_id, "ended_at": None}, {"$set": {"ended_at": now()}}, session=session
        )
        if done.matched_count:
            run = await PatientImport.find_one({"_id": run_id}, session=session)
            await record("patient.import", subject=run, session=session)

    await patiently(work)


@dataclass(slots=True)
class _Part:
    """Some lines in a row, the last of them at `line`: those that are right, and counts of the others."""

    line: int
    size: int
    fits: list[_Fit] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class _Importing:
    """One walk through a file."""

    def __init__(
        self,
        source: Source,
        duplicates: Duplicates,
        watch: Watch,
        *,
        whole_file: bool = False,
        run: Row | None = None,
    ) -> None:
        """`whole_file`: nothing is stored, so what stands on earlier lines is remembered here."""
        self.source, self.policy, self.watch = source, duplicates, watch
        self.run_id: ObjectId | None = run["_id"] if run is not None else None
        self.at: int = run["line"] if run is not None else 0
        self.since: datetime | None = run["started_at"] if run is not None else None
        self.whole_file = whole_file
        self.seen = Seen()
        self.tally = Tally()
        tenant = current_scope().tenant
        self.region = region_of(tenant.timezone) if tenant else None

    async def walk(self, *, after: int) -> None:
        """Deals with the lines behind `after`. While a part is being stored, the next one is read and checked."""
        storing: asyncio.Task[None] | None = None
        try:
            for lines in self._parts(after):
                part = await self._read(lines)
                if storing is not None:
                    await storing
                await self._look_around(part)
                storing = asyncio.create_task(self._done(part))
        finally:
            if storing is not None:
                await storing

    def _parts(self, after: int) -> Iterator[list[Line]]:
        lines = (line for line in self.source.lines() if line.number > after)
        while part := list(islice(lines, TOGETHER)):
            yield part

    async def _read(self, lines: Sequence[Line]) -> _Part:
        part = _Part(lines[-1].number, len(lines))
        for turn, line in enumerate(lines):
            if (fit := self._fitted(line, part)) is not None:
                part.fits.append(fit)
            if turn % BREATHE == 0:
                await asyncio.sleep(0)
        return part

    async def _look_around(self, part: _Part) -> None:
        """Takes out of a part whom the clinic has, once the part before is stored."""
        if not self.whole_file:
            self.seen = Seen()  # earlier parts are found in the database
        await self._take_known(part)
        await self._take_duplicates(part)

    async def _done(self, part: _Part) -> None:
        if not self.whole_file:
            await self._store_all(part)
        self.tally.lines += part.size
        self.tally.imported += len(part.fits)
        self.tally.known += part.counts["known"]
        self.tally.duplicates += part.counts["duplicates"]
        self.tally.refused += part.counts["refused"]
        self.watch.step(part.size)

    # --- one line -------------------------------------------------------------------------------------------------

    def _fitted(self, line: Line, part: _Part) -> _Fit | None:
        """The line as a patient and their record, or None with all that is wrong told."""
        own = {name: value for name, value in line.values.items() if name in OWN_FIELDS}
        shared = {name: value for name, value in line.values.items() if name not in OWN_FIELDS}
        problems = list(line.problems)
        patient: Patient | None = None if problems else self._built(Patient, shared, problems)
        own |= {"patient_id": NOT_YET, "code": "-"}
        record: PatientRecord | None = None if line.problems else self._built(PatientRecord, own, problems)
        if patient is None or record is None:
            self._refuse(part, line.number, problems)
            return None
        fit = _Fit(line.number, patient.keyed(self.region), record, [])
        fit.signs = signs_of(patient, fit.numbers)
        return fit

    def _built(self, model: type[BaseModel], values: Row, problems: list[Problem]) -> Any:
        """The document, or None and what is wrong added to `problems`."""
        try:
            return build(model, values, at="")
        except ValidationFailed as failed:
            problems += [Problem(self.source.header_at(one.path), one.message) for one in failed.fields]
            return None

    def _refuse(self, part: _Part, number: int, problems: Sequence[Problem]) -> None:
        """Tells what is wrong with a line."""
        part.counts["refused"] += 1
        for one in problems:
            self.watch.problem(number, one.column, one.text)

    # --- lines beside each other ------------------------------------------------------------------------------------

    async def _take_known(self, part: _Part) -> None:
        """Those whose external id the clinic has are passed over; one that is on two lines of the file is refused."""
        ids = [id for fit in part.fits if (id := fit.record.external_id)]
        wanted = {"external_id": 1, "created_at": 1}
        rows = await PatientRecord.rows({"external_id": {"$in": ids}}, projection=wanted) if ids else []
        there = {row["external_id"]: row["created_at"] for row in rows}
        kept: list[_Fit] = []
        for fit in part.fits:
            id = fit.record.external_id
            sign = ("external_id", id or "")
            if id is None:
                kept.append(fit)
            elif self.seen.line_of(sign) is not None or self._is_of_this_import(there.get(id)):
                self._refuse(part, fit.line, [Problem(self.source.header_at("externalId"), TWICE)])
            elif id in there:
                part.counts["known"] += 1
            else:
                self.seen.add([sign], fit.line)
                kept.append(fit)
        part.fits = kept

    def _is_of_this_import(self, created: datetime | None) -> bool:
        return created is not None and self.since is not None and created >= self.since

    async def _take_duplicates(self, part: _Part) -> None:
        known = await known_signs([fit.patient for fit in part.fits], [fit.numbers for fit in part.fits])
        kept: list[_Fit] = []
        for fit in part.fits:
            alike = self._alike(fit, known)
            if alike:
                self._tell_duplicate(part, fit.line, alike)
            if not alike or self.policy is Duplicates.IMPORT:
                kept.append(fit)
                self.seen.add(fit.signs, fit.line)
        part.fits = kept

    def _alike(self, fit: _Fit, known: Mapping[Sign, str]) -> list[Problem]:
        found: list[Problem] = []
        for sign in fit.signs:
            if (line := self.seen.line_of(sign)) is not None:
                found.append(self._same(sign, f"as on line {line}"))
            elif (id := known.get(sign)) is not None:
                found.append(self._same(sign, f"as the clinic's patient {id}"))
        return found

    def _same(self, sign: Sign, whom: str) -> Problem:
        return Problem(self.source.header_at(to_camel(sign[0])), f"may be the same person {whom}")

    def _tell_duplicate(self, part: _Part, number: int, alike: Sequence[Problem]) -> None:
        if self.policy is Duplicates.FAIL:
            self._refuse(part, number, alike)
            return
        part.counts["duplicates"] += 1
        for one in alike:
            self.watch.problem(number, one.column, f"{one.text} ({_DONE[self.policy]})")

    # --- storing --------------------------------------------------------------------------------------------------

    async def _store_all(self, part: _Part) -> None:
        """Stores the patients of a part and how far the import is, all or nothing. When somebody has registered one of
        them meanwhile, that line is refused and the others are stored."""
        try:
            await self._store(part.fits, part.counts, part.line)
            return
        except (BulkWriteError, DuplicateKeyError):
            fits, part.fits = part.fits, []
        for fit in fits:
            try:
                await self._store([fit], Counter(), fit.line)
                part.fits.append(fit)
            except (BulkWriteError, DuplicateKeyError):
                self._refuse(part, fit.line, [Problem(WHOLE, "was registered by somebody else meanwhile")])
        await self._store([], part.counts, part.line)

    async def _store(self, fits: Sequence[_Fit], counts: Mapping[str, int], line: int) -> None:
        """Stores patients and that all is done up to `line`. Raises `Conflict` when another process is at the file."""
        patients, records = await self._rows_of(fits)
        added = {"imported": len(patients), **counts}

        async def work(session: AsyncClientSession) -> None:
            here = {"_id": self.run_id, "ended_at": None, "line": self.at}
            change = {"$inc": added, "$set": {"line": line}}
            if not (await PatientImport.guarded().update_one(here, change, session=session)).matched_count:
                raise Conflict("Another process is importing the same file.")
            if patients:
                await Patient.guarded().insert_many(patients, session=session)
                await PatientRecord.guarded().insert_many(records, session=session)

        await patiently(work)
        self.at = line

    async def _rows_of(self, fits: Sequence[_Fit]) -> tuple[list[Row], list[Row]]:
        """The documents to store, with the clinic's next codes."""
        if not fits:
            return [], []
        prefix = (await clinic_settings()).patient_code_prefix
        numbers = await next_numbers("patient_code", len(fits))
        patients: list[Row] = []
        records: list[Row] = []
        for fit, number in zip(fits, numbers, strict=True):
            fit.patient.id = fit.record.patient_id = PydanticObjectId()
            fit.record.id, fit.record.code = PydanticObjectId(), f"{prefix}-{number:06d}"
            fit.record.created_at = fit.record.updated_at = now()
            patients.append(row_of(fit.patient))
            records.append(row_of(fit.record))
        return patients, records


_DONE: Mapping[Duplicates, str] = {Duplicates.SKIP: "left out", Duplicates.IMPORT: "imported nevertheless"}
