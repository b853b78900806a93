"""Writes everything of one clinic into a folder, while it goes on working.

Exit codes: 0 done, 1 it cannot be done, 2 the command was called wrongly.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn

from app.errors import InvalidState
from app.services.clinics import clinic_named
from app.services.moving.folders import MANIFEST, Lock
from app.services.tenant_export import export_tenant
from scripts.export_locks import PassphraseFile, Plain, lock_for
from scripts.runtime import Backend, backend, explained, settings_or_stop

cli = typer.Typer(add_completion=False)
FLAGS = {"subdomain": "--tenant", "passphrase": "--passphrase-file"}


@cli.command()
def main(
    tenant: Annotated[str, typer.Option(metavar="SUBDOMAIN", help="The clinic.", show_default=False)],
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to make its folder. Default: DATA_DIR/exports.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    plain: Plain = False,
) -> None:
    """Export one clinic: a file per kind of document, one document a line, its files, and a manifest with checksums."""
    settings = settings_or_stop()
    with explained(flags=FLAGS):
        lock = lock_for(settings, passphrase_file, plain=plain)
        with backend(settings, with_schema=False) as ready:
            folder = _export(ready, tenant.strip().lower(), to or settings.data_dir / "exports", lock)
    typer.echo(f"{tenant} was exported to {folder}")
    typer.echo(f"Its fingerprint is {sha256((folder / MANIFEST).read_bytes()).hexdigest()}")
    if lock is None:
        typer.echo("It holds patients' data in plain text, for your user alone: keep it safe, and delete it after use.")


def _export(ready: Backend, subdomain: str, exports: Path, lock: Lock | None) -> Path:
    clinic = ready.run(clinic_named(subdomain))
    if clinic.deletion_started_at is not None:  # what is left of it would pass for the export that deleting keeps
        raise InvalidState(f"{subdomain} is being deleted: scripts.delete_tenant finishes that, and exports it first.")
    console = Console(stderr=True)
    with Progress(TextColumn("{task.description}: {task.completed} documents"), console=console) as progress:
        bar = progress.add_task("Exporting", total=None)
        work = export_tenant(clinic, exports, lock=lock, report=lambda _, count: progress.advance(bar, count))
        return ready.run(work)


if __name__ == "__main__":
    cli()
