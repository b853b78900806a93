"""Events of PayPal in the inbox: shows those that were given up, or others, and lets them be handled anew.

Exit codes: 0 done, 1 it cannot be done, 2 the command was called wrongly.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from app.services.subscription.events import listed, replay
from models.subscription import EventState
from scripts.runtime import backend, explained, settings_or_stop

cli = typer.Typer(add_completion=False, no_args_is_help=True)
BY_COMMAND = "replayed by the command scripts.paypal_events"
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@cli.command("list")
def show(
    state: Annotated[list[EventState] | None, typer.Option(help="In these states; dead ones unless said.")] = None,
    as_json: AsJson = False,
) -> None:
    """List events with the clinic whose they are, and why the last try failed."""
    with explained(as_json=as_json), backend(settings_or_stop(as_json=as_json)) as ready:
        rows = [_shown(row) for row in ready.run(listed(state or [EventState.DEAD]))]
    if as_json:
        typer.echo(json.dumps({"events": rows}))
        return
    for row in rows:
        typer.echo("  ".join(f"{name}={value}" for name, value in row.items()))
    typer.echo(f"{len(rows)} events")


@cli.command("replay")
def handle_anew(
    event: Annotated[str | None, typer.Argument(help="PayPal's id of one event.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All dead events.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let one event, or all dead ones, be handled anew: by what PayPal says then, so it is safe at any time."""
    if (event is None) is not every:
        raise typer.BadParameter("name one event, or say --all")
    with explained(as_json=as_json), backend(settings_or_stop(as_json=as_json)) as ready:
        count = ready.run(replay(event, BY_COMMAND))
    typer.echo(json.dumps({"replayed": count}) if as_json else f"{count} will be handled anew")


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["_id"],
        "type": row["event_type"],
        "status": row["status"],
        "clinic": str(row["clinic_id"]) if row.get("clinic_id") else "-",
        "tries": row["tries"],
        "error": row.get("error") or "-",
        "received": row["received_at"].isoformat(timespec="seconds"),
    }


if __name__ == "__main__":
    cli()
