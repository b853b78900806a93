"""Messages that could not be delivered: shows them without their contents, or lets them be tried again.

Exit codes: 0 done, 1 it cannot be done, 2 the command was called wrongly.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from bson import ObjectId

from app.services.dispatching import dead_messages, retry_dead
from scripts.runtime import backend, explained, settings_or_stop

cli = typer.Typer(add_completion=False, no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@cli.command("dead")
def show_dead(as_json: AsJson = False) -> None:
    """List the messages that were given up, with the type of the last failure."""
    with explained(as_json=as_json), backend(settings_or_stop(as_json=as_json)) as ready:
        rows = [_shown(row) for row in ready.run(dead_messages())]
    if as_json:
        typer.echo(json.dumps({"dead": rows}))
        return
    for row in rows:
        typer.echo("  ".join(f"{name}={value}" for name, value in row.items()))
    typer.echo(f"{len(rows)} dead")


@cli.command("retry")
def retry(
    message: Annotated[str | None, typer.Argument(help="The id of one message.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All dead messages.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let one dead message, or all of them, be tried again. What is too late stays dead."""
    if (message is None) is not every:
        raise typer.BadParameter("name one message, or say --all")
    if message is not None and not ObjectId.is_valid(message):
        raise typer.BadParameter(f"{message} is not the id of a message")
    with explained(as_json=as_json), backend(settings_or_stop(as_json=as_json)) as ready:
        count = ready.run(retry_dead(ObjectId(message) if message else None))
    typer.echo(json.dumps({"retried": count}) if as_json else f"{count} will be tried again")


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": str(row["_id"]),
        "clinic": str(row["clinic_id"]) if row.get("clinic_id") else "-",
        "channel": row["channel"],
        "kind": row["kind"],
        "tries": row["tries"],
        "error": row.get("error"),
        "created": row["created_at"].isoformat(timespec="seconds"),
        "expires": row["expires_at"].isoformat(timespec="seconds"),
    }


if __name__ == "__main__":
    cli()
