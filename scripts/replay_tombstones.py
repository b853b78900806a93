"""After a restore: removes again what was removed for good since the backup; without --execute it only tells.

Clinics that were deleted and patients who were erased are noted among the files (`removals/` at BLOB_URL), which a
restored database does not take back. Exit codes: 0 nothing came back, or it is gone again; 1 something came back and
was left, or it cannot be done; 2 the command was called wrongly.
"""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from app.integrations.blobs import Blobs, store_at
from app.services.moving.replaying import Replay, replay
from scripts.runtime import backend, explained, settings_or_stop

cli = typer.Typer(add_completion=False)


@cli.command()
def main(
    execute: Annotated[bool, typer.Option("--execute", help="Remove it. Without it, only tell.")] = False,
    notes: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="A copy of the files in which `removals` lies. Default: BLOB_URL."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look for clinics that were deleted and patients who were erased before the backup was restored."""
    if notes is not None and not (notes / "removals").is_dir():
        raise typer.BadParameter(f"there is no folder `removals` in {notes}", param_hint="--notes")
    settings = settings_or_stop(as_json=as_json)
    with explained(as_json=as_json), backend(settings, with_schema=False) as ready:
        kept = Blobs(store_at(f"file:{notes}")) if notes is not None else None
        done = ready.run(replay(execute=execute, actor=f"command:{getpass.getuser()}", kept=kept))
    typer.echo(json.dumps(asdict(done)) if as_json else _in_words(done))
    if done.failed or (done.found and not execute):
        raise typer.Exit(1)


def _in_words(done: Replay) -> str:
    if not done.found:
        return "Nothing came back that was removed for good."
    gone = "deleted again" if done.executed else "was deleted, and is back"
    lines = [f"{clinic}: {gone}" for clinic in done.clinics if clinic not in done.failed]
    lines += [f"{clinic}: {why}" for clinic, why in sorted(done.failed.items())]
    lines += [f"{name}: the name is {'reserved again' if done.executed else 'free again'}" for name in done.names]
    erased = "erased again" if done.executed else "were erased, and are back"
    lines += [f"{clinic}: {count} patients {erased}" for clinic, count in sorted(done.patients.items())]
    return "\n".join(lines if done.executed else [*lines, "Nothing was changed. Add --execute to remove it."])


if __name__ == "__main__":
    cli()
