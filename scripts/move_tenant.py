"""Moves a clinic into a database of its own, on this cluster or another one, or back into the shared one, while it
works; without --execute it only tells what that would do.

A run that was interrupted, also by kill -9, is finished by running it again, or given up with --undo. Exit codes: 0
done (or told), 1 it cannot be done, 2 the command was called wrongly.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.services.placement import moving
from app.services.placement.moving import FORGET, SETTLE, Moved, Stage, Waits, Watch
from app.services.placement.provisioning import Goal, require_cluster
from models import Tenant
from models.tenant import MoveStage, Placement, PlacementKind
from scripts.runtime import Backend, backend, explained, settings_or_stop

cli = typer.Typer(add_completion=False)
console = Console(highlight=False)
FLAGS = {"cluster": "--cluster"}


class To(StrEnum):
    """Where to."""

    OWN = "own"
    SHARED = "shared"


GOALS: Mapping[To, Goal] = {To.OWN: Goal(PlacementKind.OWN_DATABASE), To.SHARED: Goal(PlacementKind.SHARED)}


@cli.command()
def main(
    subdomain: Annotated[str, typer.Argument(help="The clinic's subdomain.")],
    to: Annotated[To | None, typer.Option("--to", help="Into a database of its own, or the shared one.")] = None,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", metavar="NAME", help="Into a database of its own on that other cluster."),
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="Back to where it was before its last move.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Give up a move that was interrupted.")] = False,
    clear: Annotated[
        bool, typer.Option("--clear", help="Delete what a finished move has left in the former place.")
    ] = False,
    execute: Annotated[bool, typer.Option("--execute", help="Move. Without it, only tell what would be done.")] = False,
    drop_source: Annotated[
        bool, typer.Option("--drop-source", help="Delete the former place's documents at once; --back then copies all.")
    ] = False,
    settle: Annotated[
        int, typer.Option(min=0, metavar="SECONDS", help="How long to let writes under way end before comparing.")
    ] = int(SETTLE.total_seconds()),
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Move a clinic to another database. It works meanwhile, and can be read only for the last part."""
    if sum((to is not None, cluster is not None, back, undo, clear)) != 1:
        raise typer.BadParameter("say one of --to, --cluster, --back, --undo and --clear")
    settings = settings_or_stop(as_json=as_json)
    waits = Waits(timedelta(seconds=settle), FORGET if settle else timedelta(0))
    with explained(as_json=as_json, flags=FLAGS), backend(settings, with_schema=False) as ready:
        tenant = ready.run(moving.clinic_to_move(subdomain))
        if undo or clear:
            _give_up_or_clear(ready, tenant, waits, undo=undo, execute=execute)
            return
        goal = _former(tenant) if back else GOALS[to] if to is not None else Goal(PlacementKind.CLUSTER, cluster)
        ready.run(require_cluster(goal, at="cluster"))
        if not execute:
            _tell_plan(ready, tenant, goal)
            return
        try:
            done = _with_progress(ready, tenant, goal, waits, keep=not drop_source, quiet=as_json)
        except KeyboardInterrupt:
            typer.echo(f"Interrupted. {_flag(goal)} --execute goes on where it ended, --undo gives it up.", err=True)
            raise typer.Exit(130) from None
    _tell(done, as_json=as_json)


def _former(tenant: Tenant) -> Goal:
    if tenant.move is None:
        raise typer.BadParameter(f"{tenant.subdomain} has no former place: say --to or --cluster")
    if tenant.move.stage is not MoveStage.KEPT:
        flag = _flag(_goal(tenant.move.target))
        raise typer.BadParameter(
            f"a move of {tenant.subdomain} was interrupted: say {flag} to finish it, or --undo to give it up"
        )
    return _goal(tenant.move.source)


def _goal(place: Placement) -> Goal:
    return Goal(place.kind, place.cluster)


def _flag(goal: Goal) -> str:
    """How that goal is said."""
    if goal.cluster is not None:
        return f"--cluster {goal.cluster}"
    return f"--to {next(to.value for to, wanted in GOALS.items() if wanted == goal)}"


def _tell_plan(ready: Backend, tenant: Tenant, goal: Goal) -> None:
    target = goal.placement(tenant.key)
    documents, shared = ready.run(moving.documents_of(tenant)), ready.run(moving.shared_patients(tenant))
    console.print(f"{tenant.name} ({tenant.subdomain}): {documents} documents, {tenant.placement.words}.")
    if tenant.move is not None:
        console.print(
            f"A move, after which it is {tenant.move.target.words}, has come as far as: {tenant.move.stage.value}."
        )
    if goal.kind is not PlacementKind.SHARED and shared:
        console.print(f"It shares {shared} patients with other clinics, so it must stay in the shared database.")
    if target == tenant.placement and (tenant.move is None or tenant.move.stage is MoveStage.KEPT):
        console.print("It is there already: nothing would be moved.")
        return
    if tenant.move is not None and tenant.move.stage is not MoveStage.KEPT and target != tenant.move.target:
        console.print("That move is to be finished first, or given up with --undo.")
        return
    console.print(f"It would move and be {target.words}. Nothing was changed. Add --execute to move.")


def _give_up_or_clear(ready: Backend, tenant: Tenant, waits: Waits, *, undo: bool, execute: bool) -> None:
    what = "give up the move" if undo else "clear the former place"
    if not execute:
        console.print(f"This would {what} of {tenant.subdomain}. Nothing was changed. Add --execute to do it.")
        return
    if undo:
        ready.run(moving.undo(tenant, actor=_actor()))
        console.print(f"The move is given up: {tenant.subdomain} stays {tenant.placement.words}.")
        return
    ready.run(moving.clear_source(tenant, actor=_actor(), waits=waits))
    console.print(f"The former place of {tenant.subdomain} holds nothing any more.")


def _actor() -> str:
    return f"command:{getpass.getuser()}"


def _with_progress(ready: Backend, tenant: Tenant, goal: Goal, waits: Waits, *, keep: bool, quiet: bool) -> Moved:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    total = ready.run(moving.documents_of(tenant))
    shown = Console(highlight=False, quiet=quiet)
    with Progress(*columns, TimeElapsedColumn(), console=shown) as progress:
        progress.add_task("Looking", total=None)

        def begin(stage: Stage) -> None:
            progress.remove_task(progress.task_ids[-1])
            counted = stage in (Stage.COPY, Stage.DIFFERENCES)
            progress.add_task(stage.value, total=total if counted else None)

        def step(_: str, count: int) -> None:
            progress.advance(progress.task_ids[-1], count)

        work = moving.move(
            tenant, goal, actor=_actor(), keep_source=keep, watch=Watch(stage=begin, step=step), waits=waits
        )
        return ready.run(work)


def _tell(done: Moved, *, as_json: bool) -> None:
    tenant, documents = done.tenant, sum(one.count for one in done.digests.values())
    if as_json:
        told: dict[str, Any] = {
            "subdomain": tenant.subdomain,
            "placement": tenant.placement.model_dump(mode="json"),
            "readOnlySeconds": round(done.seconds, 3),
            "compared": {name: {"documents": one.count, "sha256": one.sha256} for name, one in done.digests.items()},
            "formerPlaceKept": done.kept,
        }
        typer.echo(json.dumps(told))
        return
    console.print(f"{tenant.name} is {tenant.placement.words} ({tenant.placement.database or 'shared'}).")
    if done.digests:
        console.print(f"{documents} documents were compared byte by byte; it was read-only for {done.seconds:.0f} s.")
    if done.kept:
        console.print("The former place keeps its documents: --back returns there, --clear deletes them.")


if __name__ == "__main__":
    cli()
