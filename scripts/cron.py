"""Runs a job by hand, as a scheduler would, lists the jobs with their latest runs, or the clinics at which they fail.

Exit codes: 0 done, or under way elsewhere; 1 it cannot be done, or failed at some clinics; 2 called wrongly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from app.config import Settings
from app.jobs.history import failures, latest_runs
from app.jobs.runs import Order, Report, run_job
from app.services.cron import JOBS
from scripts.runtime import backend, explained, settings_or_stop

cli = typer.Typer(add_completion=False)


@cli.command()
def main(
    job: Annotated[str | None, typer.Argument(help="Which job.", show_default=False)] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show the jobs and their latest runs.")] = False,
    failing: Annotated[bool, typer.Option("--failures", help="Show the clinics at which jobs fail.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Run it for the clinics at which it fails, alone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run one job now, unless a run of it is under way."""
    if [job is not None, listed, failing].count(True) != 1 or (retry and job is None):
        raise typer.BadParameter("name one job, or say --list or --failures")
    if job is not None and job not in JOBS:
        raise typer.BadParameter(f"{job} is not a job; there are: {', '.join(sorted(JOBS))}")
    settings = settings_or_stop(as_json=as_json)
    with explained(as_json=as_json), backend(settings) as ready:
        if job is not None:
            report = ready.run(_run(job, settings, retry=retry))
        elif listed:
            _show_list(ready.run(latest_runs()), as_json=as_json)
            return
        else:
            _show_failures(ready.run(failures()), as_json=as_json)
            return
    _show(report, as_json=as_json)
    if report.failed:
        raise typer.Exit(1)


async def _run(job: str, settings: Settings, *, retry: bool) -> Report:
    clinics = [row["clinic_id"] for row in await failures(job)] if retry else None
    return await run_job(job, settings, Order(clinics))


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.told()))
    elif report.running:
        typer.echo(f"{report.job} is running already; nothing was done")
    else:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(report.counts.items())) or "nothing to do"
        typer.echo(f"{report.job}: {counts} ({report.clinics} clinics, {report.seconds:.1f} s)")
        for clinic, error in sorted(report.failed.items()):
            typer.echo(f"  failed at {clinic}: {error}", err=True)


def _show_list(runs: Mapping[str, dict[str, Any] | None], *, as_json: bool) -> None:
    shown = [_shown(name, row) for name, row in runs.items()]
    if as_json:
        typer.echo(json.dumps({"jobs": shown}))
        return
    for one in shown:
        typer.echo("  ".join(str(one[name] if one[name] is not None else "-") for name in one))


def _shown(name: str, row: Mapping[str, Any] | None) -> dict[str, Any]:
    started, ended = (row.get("started_at"), row.get("ended_at")) if row else (None, None)
    return {
        "job": name,
        "started": started.isoformat(timespec="seconds") if started else None,
        "seconds": round((ended - started).total_seconds(), 1) if started and ended else None,
        "result": row["result"] if row else None,
        "error": row.get("error") if row else None,
        "description": JOBS[name].description,
    }


def _show_failures(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    shown = [
        {
            "job": row["job"],
            "clinic": str(row["clinic_id"]),
            "tries": row["tries"],
            "error": row["error"],
            "failed": row["failed_at"].isoformat(timespec="seconds"),
            "next": row["next_at"].isoformat(timespec="seconds") if row["next_at"] else "given up",
        }
        for row in rows
    ]
    if as_json:
        typer.echo(json.dumps({"failures": shown}))
        return
    for one in shown:
        typer.echo("  ".join(f"{name}={value}" for name, value in one.items()))
    typer.echo(f"{len(shown)} failing")


if __name__ == "__main__":
    cli()
