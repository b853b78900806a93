"""Deletes a clinic for good; without --execute it only tells what that would do.

A run that was interrupted, also by kill -9, is finished by running it again. Exit codes: 0 done (or told), 1 it
cannot be done or something is left, 2 the command was called wrongly.
"""

from __future__ import annotations

import getpass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from app.config import Settings
from app.services.clinics import clinic_named
from app.services.deletion import SETTLE, Deleted, Stage, Watch, delete_tenant
from app.services.deletion_plan import Plan, plan_deletion
from app.services.moving.folders import Lock
from app.services.tenant_export import sole
from models import Tenant
from scripts.export_locks import PassphraseFile, Plain, lock_for
from scripts.runtime import Backend, backend, explained, settings_or_stop

cli = typer.Typer(add_completion=False)
console = Console(highlight=False)


@cli.command()
def main(
    subdomain: Annotated[str, typer.Argument(help="The clinic's subdomain.")],
    execute: Annotated[bool, typer.Option("--execute", help="Delete. Without it, only tell what would go.")] = False,
    confirm: Annotated[
        str | None, typer.Option(metavar="SUBDOMAIN", help="The subdomain once more, instead of typing it when asked.")
    ] = None,
    no_export: Annotated[bool, typer.Option("--no-export", help="Do not export the clinic's data first.")] = False,
    passphrase_file: PassphraseFile = None,
    plain: Plain = False,
    settle: Annotated[
        int, typer.Option(min=0, metavar="SECONDS", help="How long to let requests under way end before deleting.")
    ] = int(SETTLE.total_seconds()),
) -> None:
    """Delete a clinic with all its data; patients whom it shares stay for their other clinics."""
    settings = settings_or_stop()
    with explained(), backend(settings, with_schema=False) as ready:
        plan = ready.run(_plan(subdomain))
        _show(plan)
        if not execute:
            console.print("Nothing was changed. Add --execute to delete.")
            return
        lock = None if no_export else lock_for(settings, passphrase_file, plain=plain)
        _confirm(plan.tenant, confirm)
        with sole(_exports(settings), subdomain):
            _delete(ready, plan, None if no_export else _exports(settings), lock, timedelta(seconds=settle))


def _exports(settings: Settings) -> Path:
    return settings.data_dir / "exports"


async def _plan(subdomain: str) -> Plan:
    return await plan_deletion(await clinic_named(subdomain))


def _show(plan: Plan) -> None:
    tenant = plan.tenant
    table = Table(title=f"{tenant.name} ({tenant.subdomain})", title_justify="left", show_footer=True)
    table.add_column("Collection", footer="All")
    table.add_column("Goes", justify="right", footer=str(sum(plan.gone.values()) + 1))
    table.add_column("Stays for others", justify="right", footer=str(sum(plan.shared_stay.values()) + plan.people_stay))
    stays = {**plan.shared_stay, "users": plan.people_stay}
    rows = sorted({**plan.gone, "tenants": 1}.items())
    there = [(name, count) for name, count in rows if count or stays.get(name)]
    for name, count in there:
        table.add_row(name, str(count), str(stays.get(name, "")))
    console.print(table)
    if empty := len(rows) - len(there):
        console.print(f"{empty} other collections hold nothing of it.")
    if tenant.deletion_started_at is not None:
        console.print(f"Its deletion began on {tenant.deletion_started_at:%Y-%m-%d %H:%M} UTC and has not ended.")


def _confirm(tenant: Tenant, given: str | None) -> None:
    """Ends the command (exit code 1) unless the subdomain was given again."""
    if given is None:
        console.print("This cannot be undone. The clinic stops answering at once.")
        given = typer.prompt("Type the clinic's subdomain to delete it").strip()
    if given != tenant.subdomain:
        typer.echo("That is another name. Nothing was deleted.", err=True)
        raise typer.Exit(1)


def _delete(ready: Backend, plan: Plan, exports: Path | None, lock: Lock | None, settle: timedelta) -> None:
    done = _with_progress(ready, plan, exports, lock, settle)
    tombstone = done.tombstone
    count = sum(tombstone.counts.values())
    console.print(f"{tombstone.name} is deleted ({count} documents). Every collection was read: nothing of it is left.")
    console.print(f"The subdomain {tombstone.subdomain} stays reserved.")
    if done.export is not None:
        console.print(f"Its data was exported to {done.export}", soft_wrap=True)


def _with_progress(ready: Backend, plan: Plan, exports: Path | None, lock: Lock | None, settle: timedelta) -> Deleted:
    """Shows the stage and a bar for it; how much there is to verify is not known before."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        progress.add_task("Closing the clinic", total=None)

        def begin(stage: Stage) -> None:
            counted = stage in (Stage.EXPORT, Stage.DELETE)
            progress.remove_task(progress.task_ids[-1])
            progress.add_task(stage, total=plan.total if counted else None)

        def step(_: str, count: int) -> None:
            progress.advance(progress.task_ids[-1], count)

        work = delete_tenant(
            plan.tenant,
            actor=f"command:{getpass.getuser()}",
            exports=exports,
            lock=lambda: lock,
            settle=settle,
            watch=Watch(stage=begin, step=step),
        )
        return ready.run(work)


if __name__ == "__main__":
    cli()
