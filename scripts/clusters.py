"""Other MongoDB clusters, on which clinics may have their databases.

An address (mongodb://… with user and password) is asked for, or comes by POLYCLINIC_CLUSTER_URI or by standard input,
never as an argument, where every user of the machine could read it. It is stored encrypted and never shown.
Exit codes: 0 done, 1 it cannot be done or something is wrong, 2 the command was called wrongly.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from bson import ObjectId
from bson.errors import InvalidId
from rich.console import Console
from rich.table import Table

from app.services.placement import clusters, commits
from app.services.placement.clusters import Health
from app.services.placement.commits import Doubt
from models import Cluster
from scripts.runtime import backend, explained, settings_or_stop

URI_VARIABLE = "POLYCLINIC_CLUSTER_URI"
FLAGS = {"name": "NAME", "uri": f"the address ({URI_VARIABLE})"}

cli = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
console = Console(highlight=False)
Name = Annotated[str, typer.Argument(help="By what name the cluster is known: a-z, 0-9 and hyphens.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]


@cli.command()
def add(name: Name) -> None:
    """Make a cluster known, once it answers and is a replica set that will do."""
    with explained(flags=FLAGS), backend(settings := settings_or_stop(), with_schema=False) as ready:
        health = ready.run(clusters.add(name, _address(), settings, actor=_actor()))
    typer.echo(f"{name} is known: {_told(health)}.")
    typer.echo(f"A clinic is moved there by: python -m scripts.move_tenant SUBDOMAIN --cluster {name}")


@cli.command()
def change(name: Name) -> None:
    """Give a cluster another address: of the same servers, with another user, password or host."""
    with explained(flags=FLAGS), backend(settings := settings_or_stop(), with_schema=False) as ready:
        health = ready.run(clusters.change(name, _address(), settings, actor=_actor()))
    typer.echo(f"{name} has another address: {_told(health)}. Processes that run go over to it within half a minute.")


@cli.command("list")
def list_(as_json: AsJson = False) -> None:
    """Tell which clusters are known, and which clinics are there."""
    with explained(as_json=as_json), backend(settings_or_stop(as_json=as_json), with_schema=False) as ready:
        known = ready.run(_known())
    if as_json:
        typer.echo(json.dumps([{"name": name, "clinics": there} for name, there in known.items()]))
    elif not known:
        typer.echo("No other cluster is known.")
    for name, there in known.items() if not as_json else ():
        typer.echo(f"{name}: {', '.join(there) if there else 'no clinics'}")


@cli.command()
def check(
    name: Annotated[str | None, typer.Argument(help="This one alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether clusters answer, and how they are."""
    with explained(as_json=as_json), backend(settings_or_stop(as_json=as_json), with_schema=False) as ready:
        found = ready.run(_checked(name))
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found]))
    for one in found if not as_json else ():
        typer.echo(f"{one.name}: {one.problem or _told(one)}")
    raise typer.Exit(1 if any(one.problem for one in found) else 0)


@cli.command()
def remove(name: Name) -> None:
    """Forget a cluster where no clinic has anything."""
    with explained(), backend(settings_or_stop(), with_schema=False) as ready:
        ready.run(clusters.remove(name, actor=_actor()))
    typer.echo(f"{name} is forgotten.")


@cli.command()
def doubts(
    retry: Annotated[str | None, typer.Option(metavar="CLINIC/ID", help="Try that one once more.")] = None,
    dismiss: Annotated[
        str | None, typer.Option(metavar="CLINIC/ID", help="Take the note of that one away; nothing is done at home.")
    ] = None,
) -> None:
    """Settle what transactions have left to do on the home cluster, and tell what no longer fits there."""
    if retry is not None and dismiss is not None:
        raise typer.BadParameter("say one of --retry and --dismiss")
    with explained(), backend(settings_or_stop(), with_schema=False) as ready:
        if (chosen := retry or dismiss) is not None:
            done = ready.run(commits.judge(*_named(chosen), again=retry is not None))
            typer.echo(f"{chosen} {done.value if done is not None else 'is dismissed'}.")
        else:
            typer.echo(", ".join(f"{what}: {count}" for what, count in ready.run(commits.follow_all()).items()))
        left = ready.run(_doubts())
    _show(left)
    raise typer.Exit(1 if left else 0)


def _named(text: str) -> tuple[str, ObjectId]:
    clinic, _, id = text.partition("/")
    try:
        return clinic, ObjectId(id)
    except InvalidId:
        raise typer.BadParameter("name it as it is listed: CLINIC/ID") from None


async def _doubts() -> list[Doubt]:
    return [one async for one in commits.all_doubts()]


def _show(left: list[Doubt]) -> None:
    table = Table(box=None)
    for title in ("What", "Since", "Why", "Commands"):
        table.add_column(title)
    for one in left:
        table.add_row(f"{one.clinic}/{one.id}", f"{one.at:%Y-%m-%d %H:%M}", one.why, "\n".join(one.commands))
    if left:
        console.print(table)


def _address() -> str:
    """From the environment, a pipe or a prompt that does not show it."""
    given = os.environ.get(URI_VARIABLE)
    if given is None:
        given = typer.prompt("Address", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
    return str(given).strip()


async def _known() -> dict[str, list[str]]:
    rows = await Cluster.rows({}, projection=["name"], sort=[("name", 1)])
    return {row["name"]: await clusters.clinics_at(row["name"]) for row in rows}


async def _checked(name: str | None) -> list[Health]:
    names = [(await clusters.known(name)).name] if name is not None else list(await _known())
    return list(await asyncio.gather(*map(clusters.check, names)))


def _told(health: Health) -> str:
    return f"MongoDB {health.version}, {health.replica_set}"


def _actor() -> str:
    return f"command:{getpass.getuser()}"


if __name__ == "__main__":
    cli()
