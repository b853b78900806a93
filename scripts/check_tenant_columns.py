"""Looks for documents without their clinic, references that leave it, and a schema that does not hold it.

Reads only; fit for CI and for production. Exit codes: 0 clean, 1 something was found, 2 it could not be checked.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from app.services.tenant_checks import Finding, check_columns
from scripts.runtime import backend, explained, settings_or_stop

cli = typer.Typer(add_completion=False)


@cli.command()
def main(as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Check that every document has its clinic and that validators and indexes hold it there."""
    try:
        name, found = _checked(as_json=as_json)
    except typer.Exit:
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json.dumps({"database": name, "findings": [asdict(one) for one in found]}))
    elif found:
        typer.echo("\n".join(map(str, found)))
    else:
        typer.echo(f"The database {name} is clean: every document has its clinic and stays in it.")
    raise typer.Exit(1 if found else 0)


def _checked(*, as_json: bool) -> tuple[str, list[Finding]]:
    settings = settings_or_stop(as_json=as_json)
    with explained(as_json=as_json), backend(settings, with_schema=False) as ready:
        return settings.mongodb_database, ready.run(check_columns(ready.client, settings))


if __name__ == "__main__":
    cli()
