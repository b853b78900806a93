"""Reads files of patients line by line: never more of one in memory than the line at hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from typing import Any

from pydantic.alias_generators import to_snake

from app.errors import ValidationFailed
from app.services.patient_import.columns import NAMES, Columns, columns_of

Row = dict[str, Any]

NDJSON = (".ndjson", ".jsonl")
SEPARATORS = ",;\t|"
LONGEST_LINE = 1_000_000
NESTED = frozenset({"address", "contacts", "allergies"})
WHOLE = ""
"""Where a problem is of the line as a whole."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a line: in which column, and a sentence that repeats no value."""

    column: str
    text: str


@dataclass(slots=True)
class Line:
    """One patient of the file. `number` is that of the line on which it begins, from 1."""

    number: int
    values: Row = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Source:
    """A file of patients. `columns` is None where each line names its values itself."""

    path: Path
    columns: Columns | None
    separator: str = ","

    def lines(self) -> Iterator[Line]:
        """Its patients, one after the other. Raises VALIDATION_FAILED at `file` for what is no text or no CSV."""
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                yield from _objects(file) if self.columns is None else self._rows(file)
        except UnicodeDecodeError:
            raise ValidationFailed.at("file", "must be UTF-8 text") from None

    def header_at(self, path: str) -> str:
        """How the file calls the value at a complaint's path."""
        return self.columns.header_at(path) if self.columns is not None else path

    @property
    def has_ids(self) -> bool:
        """Whether lines say by which id another system knows the patient."""
        return self.columns is None or "external_id" in self.columns.names

    def _rows(self, file: Iterable[str]) -> Iterator[Line]:
        assert self.columns is not None  # noqa: S101 - asked for by the caller
        reader = csv.reader(file, delimiter=self.separator, strict=True)
        width = len(self.columns.headers)
        before = 0
        try:
            for cells in reader:
                number, before = before + 1, reader.line_num
                if number == 1 or not any(cell.strip() for cell in cells):
                    continue
                if len(cells) == width:
                    yield Line(number, self.columns.values(cells))
                else:
                    yield Line(number, problems=[Problem(WHOLE, f"has {len(cells)} cells instead of {width}")])
        except csv.Error as error:
            raise ValidationFailed.at("file", f"cannot be read behind line {before}: {error}") from None


def open_source(path: Path, said: Mapping[str, str]) -> Source:
    """The file, its header read and understood. Raises VALIDATION_FAILED at `header.…` and `file`."""
    if path.suffix.lower() in NDJSON:
        return Source(path, None)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(LONGEST_LINE)
    except UnicodeDecodeError:
        raise ValidationFailed.at("file", "must be UTF-8 text") from None
    separator = max(SEPARATORS, key=first.count)
    headers = next(csv.reader([first], delimiter=separator), [])
    return Source(path, columns_of([header.strip() for header in headers], said), separator)


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _objects(file: Iterable[str]) -> Iterator[Line]:
    for number, text in enumerate(file, 1):
        if text.strip():
            yield _object(number, text)


def _object(number: int, text: str) -> Line:
    """An object as `createPatient` takes one, with `externalId`; names in camelCase or in snake_case."""
    try:
        given = json.loads(text) if len(text) <= LONGEST_LINE else None
    except (json.JSONDecodeError, RecursionError):
        given = None
    if not isinstance(given, dict):
        return Line(number, problems=[Problem(WHOLE, "must be one JSON object")])
    values = _snaked(given)
    known = {one.partition(".")[0] for one in NAMES.values()}
    problems = [Problem(name, "is nothing that patients have") for name in given if to_snake(name) not in known]
    return Line(number, values, problems)


def _snaked(value: Any) -> Any:
    if isinstance(value, dict):
        return {to_snake(name): _snaked(inner) for name, inner in value.items() if inner is not None}
    return [_snaked(inner) for inner in value] if isinstance(value, list) else value
