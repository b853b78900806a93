"""Takes a file of patients into a clinic: CSV with a header, or NDJSON with one object a line.

Lines that are right are imported, the others are listed with line, column and reason in a report. A run that was
interrupted, also by kill -9, is finished by running it again. Exit codes: 0 every line was imported or known, 1 some
were not (the report says which and why) or it cannot be done, 2 the command was called wrongly.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.errors import InvalidState
from app.services.clinics import clinic_named
from app.services.csv_export import lines
from app.services.patient_import.columns import read_mapping
from app.services.patient_import.importing import Duplicates, Tally, Watch, check_file, import_file
from app.services.patient_import.reading import Source, open_source
from app.tenancy.crossing import tenant_scope
from models import Tenant
from scripts.runtime import backend, explained, settings_or_stop

cli = typer.Typer(add_completion=False)
FLAGS = {"map": "--map", "file": "FILE"}


class Report:
    """The file of problems; made when the first one is told, for its owner alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    def add(self, line: int, column: str, problem: str) -> None:
        if self._file is None:
            self._file = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
            self._file.write(lines([("line", "column", "problem")]))
        self._file.write(lines([(line, column, problem)]))

    def close(self) -> bool:
        """Whether anything was told."""
        if self._file is None:
            return False
        self._file.close()
        return True


@cli.command()
def main(
    clinic: Annotated[str, typer.Argument(metavar="CLINIC", help="The clinic's subdomain.")],
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A .csv or .ndjson file.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check, and tell what would be done.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Import nothing unless every line is right.")] = False,
    duplicates: Annotated[
        Duplicates, typer.Option(help="What to do with lines that may be of somebody whom the clinic has.")
    ] = Duplicates.SKIP,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="HEADER=COLUMN", help="What a header means; `-` ignores its column. Repeatable."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to list problems. Default: beside the file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Import a file of patients into a clinic."""
    settings = settings_or_stop(as_json=as_json)
    problems = Report(report or file.with_name(f"{file.name}.problems.csv"))
    with explained(as_json=as_json, flags=FLAGS), backend(settings) as ready:
        tenant = ready.run(clinic_named(clinic.strip().lower()))
        if tenant.deletion_started_at is not None:
            raise InvalidState(f"{tenant.subdomain} is being deleted.")
        source = open_source(file, dict(read_mapping(mapping or [])))
        with _told(file, problems) as watch:
            tally = ready.run(_work(tenant, source, duplicates, dry_run, strict, watch))
    _show(tally, dry_run, as_json)
    raise typer.Exit(1 if tally.refused else 0)


async def _work(
    tenant: Tenant, source: Source, duplicates: Duplicates, dry_run: bool, strict: bool, watch: Watch
) -> Tally:
    async with tenant_scope(tenant):
        if dry_run:
            return await check_file(source, duplicates, watch=watch)
        actor = f"command:{getpass.getuser()}"
        return await import_file(source, duplicates, actor=actor, strict=strict, watch=watch)


@contextmanager
def _told(file: Path, problems: Report) -> Iterator[Watch]:
    """A bar on stderr, and the report written as problems come."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with file.open("rb") as opened:
        total = sum(part.count(b"\n") for part in iter(lambda: opened.read(1 << 20), b""))
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("Lines", total=total)
            yield Watch(step=lambda count: progress.advance(task, count), problem=problems.add)
    finally:
        if problems.close():
            typer.echo(f"Problems are listed in {problems.path}", err=True)


def _show(tally: Tally, dry_run: bool, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(tally)))
        return
    if tally.resumed_after:
        typer.echo(f"An interrupted import had come to line {tally.resumed_after}; this one went on there.")
    verb = "would be imported" if dry_run else "imported"
    typer.echo(f"{tally.lines} lines: {tally.imported} {verb}, {tally.known} known by their external id,")
    typer.echo(f"{tally.duplicates} possible duplicates, {tally.refused} wrong.")


if __name__ == "__main__":
    cli()
