"""Takes clinics out of the system: schedules and calls off deletions, and does what is due.

A run that was interrupted, also by kill -9, is finished by the next one. Exit codes: 0 done (or told), 1 it cannot be
done or failed at some clinics, 2 the command was called wrongly.
"""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Annotated, Any

import typer

from app.services import offboarding
from app.services.clinics import clinic_named
from app.services.deletion import SETTLE
from app.services.offboarding import USUAL_DAYS, Done, Exports
from models import Tenant
from scripts.export_locks import PassphraseFile, Plain, lock_for
from scripts.runtime import backend, explained, settings_or_stop

cli = typer.Typer(add_completion=False, no_args_is_help=True)
FLAGS = {"input.reason": "--reason", "input.days": "--days", "passphrase": "--passphrase-file"}
Subdomain = Annotated[str, typer.Argument(help="The clinic's subdomain.", show_default=False)]
Reason = Annotated[str, typer.Option(help="Why: 10 to 500 characters, for the platform's audit.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SECONDS = int(SETTLE.total_seconds())
Settle = Annotated[
    int,
    typer.Option(min=0, metavar="SECONDS", help="How long to let requests under way end before exporting."),
]


@cli.command()
def schedule(
    subdomain: Subdomain,
    reason: Reason,
    days: Annotated[int, typer.Option(help="In how many days it is deleted.")] = USUAL_DAYS,
) -> None:
    """Suspend a clinic at once, and have it deleted in some days."""
    settings = settings_or_stop()
    with explained(flags=FLAGS), backend(settings, with_schema=False) as ready:
        tenant = ready.run(clinic_named(subdomain))
        done = ready.run(offboarding.schedule(tenant.key, tenant.version, reason, days))
    assert done.offboarding is not None  # noqa: S101 - it was just scheduled
    typer.echo(
        f"{subdomain} does not answer any more and is deleted from {done.offboarding.due_at:%Y-%m-%d %H:%M} UTC on."
    )
    typer.echo("`run-due` or the job offboard-clinics writes its data out; `cancel` keeps it.")


@cli.command()
def cancel(subdomain: Subdomain, reason: Reason) -> None:
    """Keep a clinic that was to be deleted."""
    settings = settings_or_stop()
    with explained(flags=FLAGS), backend(settings, with_schema=False) as ready:
        tenant = ready.run(clinic_named(subdomain))
        done = ready.run(offboarding.cancel(tenant.key, tenant.version, reason))
    typer.echo(f"{subdomain} is kept; its status is {done.status.value}.")


@cli.command()
def status(as_json: AsJson = False) -> None:
    """List the clinics that are on their way out."""
    settings = settings_or_stop(as_json=as_json)
    with explained(as_json=as_json), backend(settings, with_schema=False) as ready:
        told = [_told(tenant) for tenant in ready.run(offboarding.leaving())]
    if as_json:
        typer.echo(json.dumps({"clinics": told}))
    elif not told:
        typer.echo("No clinic is on its way out.")
    else:
        for one in told:
            typer.echo("  ".join(str(value if value is not None else "-") for value in one.values()))


def _told(tenant: Tenant) -> dict[str, Any]:
    plan = tenant.offboarding
    began = tenant.deletion_started_at
    return {
        "clinic": tenant.subdomain,
        "step": "deleting" if began else "exported" if plan and plan.exported_at else "scheduled",
        "due": plan.due_at.isoformat(timespec="seconds") if plan else None,
        "exported": plan.exported_at.isoformat(timespec="seconds") if plan and plan.exported_at else None,
        "deletion_started": began.isoformat(timespec="seconds") if began else None,
        "reason": plan.reason if plan else None,
    }


@cli.command()
def run_due(
    passphrase_file: PassphraseFile = None,
    plain: Plain = False,
    settle: Settle = SECONDS,
    as_json: AsJson = False,
) -> None:
    """Write out the clinics that wait for it, delete those whose days are over, and finish deletions that broke off."""
    settings = settings_or_stop(as_json=as_json)
    with explained(as_json=as_json, flags=FLAGS):
        lock_for(settings, passphrase_file, plain=plain)
        with backend(settings, with_schema=False) as ready:
            exports = Exports(settings.data_dir / "exports", lambda: lock_for(settings, passphrase_file, plain=plain))
            began = time.monotonic()
            done = ready.run(offboarding.run_due(exports, settle=timedelta(seconds=settle)))
    _tell(done, time.monotonic() - began, as_json=as_json)
    if done.failed:
        raise typer.Exit(1)


def _tell(done: Done, seconds: float, *, as_json: bool) -> None:
    if as_json:
        told = {"exported": done.exported, "deleted": done.deleted, "failed": done.failed, "seconds": round(seconds, 3)}
        typer.echo(json.dumps(told))
        return
    for subdomain in done.exported:
        typer.echo(f"{subdomain} was written out.")
    for subdomain in done.deleted:
        typer.echo(f"{subdomain} is deleted. Every collection was read: nothing of it is left.")
    for subdomain, why in sorted(done.failed.items()):
        typer.echo(f"{subdomain}: {why}", err=True)
    if not (done.exported or done.deleted or done.failed):
        typer.echo("Nothing is due.")


if __name__ == "__main__":
    cli()
