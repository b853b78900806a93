"""Takes an export in as a new clinic. Nobody sees the clinic before the last of it is there.

A run that was interrupted, also by kill -9, is finished by running it again, and called off by
`python -m scripts.delete_tenant`. Exit codes: 0 done (or checked), 1 it cannot be done, 2 called wrongly.
"""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn

from app.services.moving.folders import Reader, open_export
from app.services.moving.restoring import Imported, import_tenant
from app.services.tenant_export import sole
from models.tenant import PlacementKind
from scripts.export_locks import given_passphrase
from scripts.runtime import Backend, backend, clinic_url, explained, settings_or_stop

cli = typer.Typer(add_completion=False)
FLAGS = {"subdomain": "--as", "passphrase": "--passphrase-file"}


@cli.command()
def main(
    folder: Annotated[Path, typer.Argument(help="The folder that the export made.", show_default=False)],
    subdomain: Annotated[
        str | None,
        typer.Option("--as", metavar="SUBDOMAIN", help="The clinic's new subdomain. Default: its former one."),
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The passphrase of a sealed export. Default: EXPORT_PASSPHRASE.")
    ] = None,
    fingerprint: Annotated[
        str | None, typer.Option(metavar="HEX", help="Refuse any other export than the one with this fingerprint.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only see whether the export is whole and unchanged.")] = False,
    placement: Annotated[
        PlacementKind | None,
        typer.Option(help="Where its data is to be: the shared database, or one of its own.", show_default="shared"),
    ] = None,
    suspended: Annotated[bool, typer.Option("--suspended", help="Leave the clinic suspended at the end.")] = False,
) -> None:
    """Import one clinic from an export."""
    settings = settings_or_stop()
    with explained(flags=FLAGS):
        passphrase = given_passphrase(settings, passphrase_file)
        with backend(settings) as ready:
            export = ready.run(open_export(folder, passphrase, fingerprint=fingerprint))
            if check:
                typer.echo(f"The export of {export.manifest['tenant']['subdomain']} is whole: {export.fingerprint}")
                return
            with sole(settings.data_dir / "imports", export.fingerprint):
                done = _import(ready, export, subdomain, placement, active=not suspended)
    _tell(done, clinic_url(settings, done.tenant.subdomain))


def _import(
    ready: Backend, export: Reader, subdomain: str | None, placement: PlacementKind | None, *, active: bool
) -> Imported:
    console = Console(stderr=True)
    with Progress(TextColumn("{task.description}: {task.completed} documents"), console=console) as progress:
        bar = progress.add_task("Importing", total=None)
        work = import_tenant(
            export,
            actor=f"command:{getpass.getuser()}",
            subdomain=subdomain.strip().lower() if subdomain else None,
            placement=placement,
            active=active,
            report=lambda _, count: progress.advance(bar, count),
        )
        return ready.run(work)


def _tell(done: Imported, url: str) -> None:
    typer.echo(f"{done.tenant.name} is there: {sum(done.documents.values())} documents, {done.files} files. {url}")
    typer.echo(f"Its status is {done.tenant.status.value}. People: {done.known_people} known, {done.new_people} new.")
    if done.tenant.placement.database is not None:
        typer.echo(f"Its data is in a database of its own, {done.tenant.placement.database}.")
    if done.new_people:
        typer.echo("New people have no password: each asks for one on the sign-in page (requestPasswordReset).")
    if not done.ids_kept:
        typer.echo("Some of its ids were taken here, so all of them are new.")
    if done.overlapping:
        typer.echo(f"{done.overlapping} appointments overlap with others of the same people and keep no time free.")
    if done.lost:
        typer.echo(f"{done.lost} files were missing in the export.")


if __name__ == "__main__":
    cli()
