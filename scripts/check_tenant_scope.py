"""Tries, in a running system, to reach one clinic from another; every attempt must fail as if there were nothing.

It signs in at two clinics as people who may do much there (admins). Who that is comes from a file, from the
environment or from prompts, never from arguments:

    --credentials FILE    {"a": {"clinic": …, "email": …, "password": …}, "b": {…}}
    CHECK_A_CLINIC, CHECK_A_EMAIL, CHECK_A_PASSWORD, and CHECK_B_…

Exit codes: 0 all attempts failed as they should, 1 one did not, 2 it could not be checked.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scripts.scope_checks import Attempt, Leak, Untold, attempts, canary_at
from scripts.scope_client import CannotCheck, Person, System, sign_in

cli = typer.Typer(add_completion=False)
FIELDS = ("clinic", "email", "password")
PASSED, FAILED, SKIPPED = "pass", "FAIL", "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """One attempt: `verdict` is pass, FAIL or skipped, `detail` says why it was not a pass."""

    attempt: str
    verdict: str
    detail: str = ""


@cli.command()
def main(
    base_url: Annotated[str, typer.Option(help="Where the system listens.")] = "http://127.0.0.1:8000",
    root_domain: Annotated[str, typer.Option(help="The domain whose subdomains are the clinics.")] = "localhost",
    credentials: Annotated[Path | None, typer.Option(help="A JSON file with who signs in.")] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Attempt nothing that could write, and create no test patient.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Check that a clinic of a running system cannot reach another one.

    Signs in at two clinics as people who may do much there (admins). Who that is comes from the file
    {"a": {"clinic": …, "email": …, "password": …}, "b": {…}}, where clinic is a subdomain; or from CHECK_A_CLINIC,
    CHECK_A_EMAIL, CHECK_A_PASSWORD and CHECK_B_… in the environment; or from prompts.
    """
    try:
        system = System.at(base_url, root_domain)
        results = _results(system, *_people(credentials), read_only=read_only)
    except CannotCheck as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    _show(results, as_json=as_json)
    verdicts = {result.verdict for result in results}
    raise typer.Exit(1 if FAILED in verdicts else 0 if PASSED in verdicts else 2)


def _results(system: System, first: Person, second: Person, *, read_only: bool) -> list[Result]:
    a, b = sign_in(system, first), sign_in(system, second)
    with nullcontext() if read_only else canary_at(a) as canary:
        return [_result(name, attempt) for name, attempt in attempts(a, b, canary)]


def _result(name: str, attempt: Attempt) -> Result:
    try:
        attempt()
    except Leak as leak:
        return Result(name, FAILED, str(leak))
    except Untold as untold:
        return Result(name, SKIPPED, str(untold))
    return Result(name, PASSED)


def _show(results: list[Result], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(result) for result in results]))
        return
    colours = {PASSED: "green", FAILED: "bold red", SKIPPED: "yellow"}
    table = Table("Attempt", "Result", "")
    for result in results:
        table.add_row(result.attempt, Text(result.verdict, colours[result.verdict]), Text(result.detail))
    Console().print(table)


# --- who signs in -------------------------------------------------------------------------------------------------


def _people(file: Path | None) -> tuple[Person, Person]:
    """The two people. Raises `CannotCheck` when something about them is neither given nor can be asked for."""
    given = _from_file(file) if file else {}
    first, second = (_person(name, given.get(name, {})) for name in ("a", "b"))
    if first.clinic == second.clinic:
        raise CannotCheck("Two different clinics are needed.")
    return first, second


def _from_file(file: Path) -> Mapping[str, Mapping[str, Any]]:
    try:
        given = json.loads(file.read_text())
    except (OSError, ValueError):
        raise CannotCheck(f"{file} cannot be read as JSON.") from None
    if not isinstance(given, dict) or not all(isinstance(part, dict) for part in given.values()):
        raise CannotCheck(f'{file} must hold {{"a": {{"clinic", "email", "password"}}, "b": …}}.')
    return given


def _person(name: str, given: Mapping[str, Any]) -> Person:
    return Person(*(str(given.get(field) or _environment_or_prompt(name, field)) for field in FIELDS))


def _environment_or_prompt(name: str, field: str) -> str:
    variable = f"CHECK_{name}_{field}".upper()
    if value := os.environ.get(variable):
        return value
    if not sys.stdin.isatty():
        raise CannotCheck(f"Who signs in is not known: set {variable}, or use --credentials; see --help.")
    answer: str = typer.prompt(f"{field.capitalize()} of {name.upper()}", hide_input=field == "password")
    return answer


if __name__ == "__main__":
    cli()
