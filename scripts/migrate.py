"""Brings the shared database, and the own ones of clinics, to what this version expects.

A run that was interrupted, also by kill -9, is finished by running it again. Exit codes: 0 all up to date, 1 a
database could not be brought there (or, with --dry-run, is not there), 2 the command was called wrongly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.db.migrations.running import PARALLEL, SHARED, SiteReport, failed_of, migrate
from app.errors import FieldError, ValidationFailed
from app.services.clinics import unknown
from models import Tenant
from scripts.runtime import Backend, backend, explained, settings_or_stop, stop

cli = typer.Typer(add_completion=False)
FLAGS = {"only": "--only"}


@cli.command()
def main(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; exit 1 when there is work.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="SUBDOMAIN", help=f"This clinic's own database alone; {SHARED!r} for the shared one."),
    ] = None,
    parallel: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="How many clinics' databases at a time.")
    ] = PARALLEL,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Bring every database up to date: numbered steps, then collections, indexes and validators."""
    settings = settings_or_stop(as_json=as_json)
    with explained(as_json=as_json), backend(settings, with_schema=False) as ready:
        named = [name.strip().lower() for name in only or ()]
        if wrong := ready.run(_without_a_database(named)):
            stop(ValidationFailed(fields=wrong), code=2, as_json=as_json, flags=FLAGS)
        reports = _with_progress(ready, named, parallel, dry_run=dry_run, quiet=as_json)
    typer.echo(json.dumps([asdict(one) for one in reports]) if as_json else _readable(reports, dry_run=dry_run))
    if failed_of(reports) or (dry_run and any(one.is_behind for one in reports)):
        raise typer.Exit(1)


async def _without_a_database(names: list[str]) -> list[FieldError]:
    """What is wrong with names by which no database goes."""
    columns = {"subdomain": 1, "placement.database": 1, "move.target.database": 1}
    rows = {row["subdomain"]: row for row in await Tenant.rows({"subdomain": {"$in": names}}, projection=columns)}
    wrong = []
    for name in (name for name in names if name != SHARED):
        if name not in rows:
            wrong.append(unknown(name).message)
        elif not _has_its_own(rows[name]):
            wrong.append(f"{name} is in the shared database with others, which goes by the name {SHARED}.")
    return [FieldError("only", one) for one in wrong]


def _has_its_own(row: Mapping[str, Any]) -> bool:
    """Whether a clinic has a database of its own, or is on its way into one."""
    places = (row.get("placement"), (row.get("move") or {}).get("target"))
    return any((place or {}).get("database") for place in places)


def _with_progress(ready: Backend, only: list[str], parallel: int, *, dry_run: bool, quiet: bool) -> list[SiteReport]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(highlight=False, stderr=True, quiet=quiet)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("Databases", total=None)
        work = migrate(
            ready.client,
            ready.settings,
            only=only,
            parallel=parallel,
            dry=dry_run,
            begun=lambda total: progress.update(task, total=total),
            done=lambda report: progress.update(task, advance=1, description=report.site),
        )
        return ready.run(work)


def _readable(reports: list[SiteReport], *, dry_run: bool) -> str:
    lines = [line for one in reports if one.is_behind for line in _lines(one, dry_run=dry_run)]
    behind = sum(one.is_behind for one in reports)
    failed = len(failed_of(reports))
    if not behind:
        return f"Up to date: {len(reports)} database{'s' if len(reports) > 1 else ''}."
    told = f"{behind} of {len(reports)} databases {'are behind' if dry_run else 'were behind'}"
    return "\n".join([*lines, f"{told}{f', {failed} failed: run this again' if failed else ''}."])


def _lines(report: SiteReport, *, dry_run: bool) -> list[str]:
    word = "to change" if dry_run else "changed"
    steps = [f"  {name}: {count} {word}" for name, count in report.steps.items()]
    schema = [f"  schema: {one}" for one in report.schema]
    failed = [f"  failed: {report.failed}"] if report.failed else []
    return [f"{report.site} ({report.database})", *steps, *schema, *failed]


if __name__ == "__main__":
    cli()
