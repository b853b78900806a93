"""Gives documents from before there were clinics to clinics; without --apply it only tells what that would do.

A run that was interrupted, also by kill -9, is finished by running it again. Exit codes: 0 done (or told), 1 it cannot
be done, 2 the command was called wrongly.
"""

from __future__ import annotations

import csv
import getpass
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from bson import ObjectId
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.services.legacy.looking import SHARED_NAMES
from app.services.legacy.migration import Fate, Kept, Outcome, Stage, Watch, migrate, plan_migration, read_said, restore
from app.services.platform_log import reason_of
from scripts.runtime import Backend, backend, explained, settings_or_stop

cli = typer.Typer(add_completion=False)
FLAGS = {"input.reason": "--reason", "map": "--map"}
COLUMNS = ("collection", "id", "subdomain")


@cli.command()
def main(
    apply: Annotated[
        bool, typer.Option("--apply/--dry-run", help="Do it, or only tell what would be done.", show_default=True)
    ] = False,
    everything: Annotated[
        str | None,
        typer.Option("--assign-all-to", metavar="SUBDOMAIN", help="Whose all is that nothing else says it of."),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option("--map", exists=True, dir_okay=False, help="CSV or JSON: collection, id, subdomain."),
    ] = None,
    put_back: Annotated[
        bool, typer.Option("--restore", help="Put what is in quarantine back where it was, unseen, to be mended there.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, for the platform's audit; needed with --apply.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Assign documents without a clinic, or keep them in quarantine where no server looks."""
    if put_back and (everything is not None or mapping is not None):
        raise typer.BadParameter("--restore assigns nothing: leave --assign-all-to and --map out")
    of_one = _read_map(mapping) if mapping is not None else {}
    settings = settings_or_stop(as_json=as_json)
    with explained(as_json=as_json, flags=FLAGS), backend(settings, with_schema=False) as ready:
        said_why = reason_of(reason) if apply else ""
        outcome = _run(ready, apply, of_one, everything, put_back, said_why)
    if as_json:
        typer.echo(json.dumps(_plain(asdict(outcome)), indent=2))
    else:
        _show(outcome, apply)


def _run(
    ready: Backend,
    apply: bool,
    of_one: Mapping[tuple[str, str], set[str]],
    everything: str | None,
    put_back: bool,
    reason: str,
) -> Outcome:
    told = {"actor": f"command:{getpass.getuser()}", "reason": reason}
    with _watched() as watch:
        if put_back and apply:
            return ready.run(restore(**told, watch=watch))
        said = ready.run(read_said(of_one, everything.strip().lower() if everything is not None else None))
        if not apply:
            return ready.run(plan_migration(said, watch=watch))
        return ready.run(migrate(ready.client, ready.settings, said, **told, watch=watch))


# --- the map ----------------------------------------------------------------------------------------------------------


def _read_map(path: Path) -> dict[tuple[str, str], set[str]]:
    """(collection, id) → subdomains, several for a patient whom clinics share.

    Raises `typer.BadParameter` (exit code 2) for a file that says something else.
    """
    found: dict[tuple[str, str], set[str]] = {}
    try:
        for where, row in _rows(path):
            values = [row.get(name) for name in COLUMNS]
            if not all(isinstance(one, str) and one.strip() for one in values):
                raise _bad(f"{where} must have a text for each of {', '.join(COLUMNS)}")
            collection, id, subdomain = (str(one).strip() for one in values)
            clinics = found.setdefault((collection, id), set())
            clinics.add(subdomain.lower())
            if len(clinics) > 1 and collection not in SHARED_NAMES:
                raise _bad(f"{where} gives {collection} {id} to a second clinic")
    except OSError as error:
        raise _bad(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise _bad(f"{path} cannot be read: {type(error).__name__}") from None
    return found


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if path.suffix.lower() == ".json":
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise _bad("must be a list of objects")
        yield from ((f"item {number}", row) for number, row in enumerate(rows))
        return
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
            raise _bad(f"has no column {missing[0]}")
        for row in reader:
            yield f"line {reader.line_num}", row


def _bad(text: str) -> typer.BadParameter:
    return typer.BadParameter(text, param_hint="--map")


# --- what is shown ----------------------------------------------------------------------------------------------------


@contextmanager
def _watched() -> Iterator[Watch]:
    """A line on stderr that says what is being done."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Connecting", total=None)

        def begin(stage: Stage) -> None:
            progress.reset(task, description=stage.value, total=None)

        yield Watch(stage=begin, step=lambda _, count: progress.advance(task, count))


def _show(outcome: Outcome, apply: bool) -> None:
    console = Console(highlight=False)
    if outcome.collections:
        console.print(_table(outcome.collections))
    for line in outcome.unmatched:
        console.print(f"--map names {line}, which is not there or has a clinic already.")
    if outcome.run is None:
        found = sum(fate.found + fate.in_quarantine for fate in outcome.collections.values())
        console.print(
            "Nothing was changed. Add --apply to do it." if found and not apply else "There is nothing to do."
        )
    else:
        counts = {name: sum(outcome.run[name].values()) for name in ("taken", "assigned", "restored")}
        console.print(
            f"Run {outcome.run['_id']}: {counts['taken']} taken out, {counts['assigned']} assigned, "
            f"{counts['restored']} put back."
        )
    for collection, count in outcome.left.items():
        console.print(f"{collection}: {count} are too large to be moved and stay where they are, unseen.")
    _show_quarantine(console, outcome.staying)


def _table(collections: Mapping[str, Fate]) -> Table:
    table = Table(title="Documents without a clinic", title_justify="left")
    for name in ("Collection", "Found", "To", "By", "Count"):
        table.add_column(name, justify="right" if name in ("Found", "Count") else "left", overflow="fold")
    for collection, fate in collections.items():
        shown = [collection, str(fate.found + fate.in_quarantine)]
        for subdomain, rules in fate.assigned.items():
            for rule, count in rules.items():
                table.add_row(*shown, subdomain, rule, str(count))
                shown = ["", ""]
        for reason, kept in fate.quarantined.items():
            table.add_row(*shown, "quarantine", f"{reason} ({_some(kept)})", str(kept.count))
            shown = ["", ""]
    return table


def _show_quarantine(console: Console, staying: Mapping[str, Mapping[str, Kept]]) -> None:
    for collection, reasons in staying.items():
        for reason, kept in reasons.items():
            console.print(f"In quarantine: {collection}: {kept.count}: {reason} ({_some(kept)})")


def _some(kept: Kept) -> str:
    return ", ".join(kept.examples)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name).removeprefix("_"): _plain(inner) for name, inner in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    if isinstance(value, ObjectId):
        return str(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


if __name__ == "__main__":
    cli()
