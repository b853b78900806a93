"""Registers a front end's documents, so that clients run them by id: all of them, or none if one is wrong.

Takes .graphql and .gql files, whose operations may use fragments of any of the given files, and the manifests (.json)
of Apollo and Relay. Exit codes: 0 registered, 1 it cannot be done, 2 a file or a document is wrong.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from app.errors import ValidationFailed
from app.graphql.operations import Operations
from app.services.persisted_documents import Outcome, Registered, register
from resolvers.base import Resolver
from resolvers.schema import build_schema, core_schema
from scripts.query_files import Fault, Found, read_files
from scripts.runtime import backend, explained, settings_or_stop

cli = typer.Typer(add_completion=False)


@cli.command()
def main(
    path: Annotated[Path, typer.Argument(help="A folder, a .graphql file, or a manifest of Apollo or Relay.")],
    client: Annotated[str, typer.Option(help="The front end whose documents these are.")] = "web",
    prune: Annotated[bool, typer.Option("--prune", help="Drop the front end's documents that are not here.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, and store nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ids of the operations as JSON.")] = False,
) -> None:
    """Register the documents that a front end runs by id; PERSISTED_QUERIES=required lets no others run."""
    found, faults = read_files(path)
    faults = [*faults, *_faults(found)]
    if faults or not found:
        _refuse(faults or [Fault(path, 1, "holds no operations")], as_json=as_json)
    documents = [Registered(one.text, one.operations, one.id) for one in found]
    settings = settings_or_stop(as_json=as_json)
    with explained(as_json=as_json), backend(settings) as ready:
        outcome = ready.run(register(documents, client, prune=prune, dry_run=dry_run))
    _tell(documents, outcome, dry_run=dry_run, as_json=as_json)


def _faults(found: list[Found]) -> list[Fault]:
    """What the schema and the bounds say against the documents, each at its line."""
    operations = Operations(core_schema(build_schema()), root=Resolver(), introspection=True)
    faults = []
    for one in found:
        for error in operations.prepare(one.text).errors:
            line = error.locations[0].line if error.locations else 1
            faults.append(one.fault(line, error.message))
    by_id: dict[str, Found] = {}
    for one in found:
        other = by_id.setdefault(Registered(one.text, one.operations, one.id).key, one)
        if other.text != one.text:
            faults.append(one.fault(1, f"has the same id as another document, in {other.file}"))
    return faults


def _refuse(faults: list[Fault], *, as_json: bool) -> None:
    if as_json:
        told = [{"file": str(one.file), "line": one.line, "message": one.message} for one in faults]
        code = ValidationFailed.code.value
        typer.echo(json.dumps({"error": {"code": code, "message": "Nothing was registered.", "faults": told}}))
    else:
        typer.echo("\n".join([*map(str, faults), "Nothing was registered."]), err=True)
    raise typer.Exit(2)


def _tell(documents: list[Registered], outcome: Outcome, *, dry_run: bool, as_json: bool) -> None:
    ids = {name: one.key for one in documents for name in one.operations}
    if as_json:
        counts = {"added": outcome.added, "kept": outcome.kept, "dropped": outcome.dropped}
        typer.echo(json.dumps({"operations": ids, **counts, "dryRun": dry_run}))
        return
    for name, key in sorted(ids.items()):
        typer.echo(f"{key}  {name}")
    would = "would be " if dry_run else ""
    typer.echo(f"{outcome.added} {would}added, {outcome.kept} kept, {outcome.dropped} {would}dropped.")


if __name__ == "__main__":
    cli()
