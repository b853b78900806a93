"""Brings the shared database, and the own ones of clinics, to what this version expects.

A run that was interrupted, also by kill -9, is finished by running it again. Exit codes: 0 all up to date, 1 a
database could not be brought there (or, with --dry-run, is not there), 2 the command was called wrongly.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.db.migrations.running import PARALLEL, SHARED, SiteReport, failed_of, migrate
from app.errors import ValidationFailed
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
        reports = _with_progress(ready, only or [], parallel, dry_run=dry_run, quiet=as_json)
    unknown = sorted({*(only or ())} - {one.site for one in reports})
    if unknown:
        wrong = ValidationFailed.at("only", f"no database goes by {', '.join(unknown)}")
        stop(wrong, code=2, as_json=as_json, flags=FLAGS)
    typer.echo(json.dumps([asdict(one) for one in reports]) if as_json else _readable(reports, dry_run=dry_run))
    if failed_of(reports) or (dry_run and any(one.is_behind for one in reports)):
        raise typer.Exit(1)


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
