"""Asks for what it takes to open a clinic; each answer is checked before the next question."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import typer
from rich.console import Console
from rich.table import Table

from app.auth.passwords import weakness
from app.errors import FieldError, ValidationFailed
from app.services.onboarding import OnboardingForm, person, read_form, subdomain_taken
from app.services.placement.provisioning import Goal
from models import Cluster, User
from models.tenant import PlacementKind
from models.values import email_key, search_key
from scripts.runtime import Backend, ask_new_password

Answers = dict[str, str]
"""What is known so far, by the paths of the form (`admin.email`)."""

PASSWORD = "admin.password"


def nested(answers: Answers) -> dict[str, Any]:
    """The answers as the form takes them: `admin.email` inside of `admin`."""
    body: dict[str, Any] = {}
    for path, value in answers.items():
        outer, _, inner = path.rpartition(".")
        (body.setdefault(outer, {}) if outer else body)[inner] = value
    return body


def problems(answers: Answers) -> list[FieldError]:
    """All that keeps the answers from being a form, what is missing included."""
    try:
        read_form(nested(answers))
    except ValidationFailed as error:
        return list(error.fields)
    return []


def suggested_subdomain(name: str) -> str | None:
    """`Dr. Müller & Söhne` → `dr-muller-sohne`; None when nothing usable is left."""
    text = re.sub(r"[^a-z0-9]+", "-", search_key(name)).strip("-")[:40].strip("-")
    return None if any(one.path == "subdomain" for one in problems({"subdomain": text})) else text


def suggested_timezone() -> str:
    """This machine's time zone, else UTC."""
    name = os.environ.get("TZ") or str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]
    return name if name in available_timezones() and not name.startswith("Etc/") else "UTC"


@dataclass(frozen=True, slots=True)
class Question:
    """`suggest` gives the default from the answers before; None asks for an answer of one's own."""

    path: str
    text: str
    suggest: Callable[[Answers], str | None] = lambda _: None
    optional: bool = False


QUESTIONS = (
    Question("name", "Name of the clinic"),
    Question("subdomain", "Subdomain", lambda answers: suggested_subdomain(answers["name"])),
    Question("email", "Contact e-mail (empty for none)", optional=True),
    Question("phone", "Contact phone (empty for none)", optional=True),
    Question("settings.timezone", "Time zone", lambda _: suggested_timezone()),
    Question("settings.currency", "Currency", lambda _: "USD"),
    Question("settings.dateFormat", "Date format", lambda _: "MM/DD/YYYY"),
    Question("admin.name", "Name of the first admin"),
    Question("admin.email", "E-mail of the first admin"),
)


class Wizard:
    """Fills up what was given by flags."""

    def __init__(self, ready: Backend, given: Answers, goal: Goal | None = None) -> None:
        self._ready = ready
        self._answers = dict(given)
        self._asks_placement = goal is None
        self.goal = goal or Goal()
        """Where the clinic's data is to be."""

    def ask(self) -> OnboardingForm:
        """The complete form. Raises `typer.Abort` when the last question is answered with no."""
        typer.echo("A new clinic. Ctrl-C ends this at any time; nothing is written before the last answer.\n")
        self._check_subdomain_given()
        for question in QUESTIONS:
            if question.path not in self._answers:
                self._ask(question)
        if PASSWORD not in self._answers:
            self._answers[PASSWORD] = self._password()
        if self._asks_placement:
            self.goal = self._place()
        self._show()
        if not typer.confirm("Open this clinic?", default=True):
            typer.echo("Nothing was written.", err=True)
            raise typer.Abort
        return read_form(nested(self._answers))

    def _check_subdomain_given(self) -> None:
        if "subdomain" in self._answers and self._taken(self._answers["subdomain"]):
            raise ValidationFailed.at("subdomain", "is already taken")

    def _ask(self, question: Question) -> None:
        default = "" if question.optional else question.suggest(self._answers)
        while True:
            answer: str = typer.prompt(question.text, default=default, show_default=bool(default)).strip()
            if not answer and question.optional:
                return
            problem = self._problem(question.path, answer)
            if problem is None:
                self._answers[question.path] = answer
                return
            typer.echo(f"  {problem}")

    def _problem(self, path: str, answer: str) -> str | None:
        for one in problems({**self._answers, path: answer}):
            if one.path == path:
                return f"{one.message}{_hint(path, answer)}"
        return "is already taken" if path == "subdomain" and self._taken(answer) else None

    def _taken(self, subdomain: str) -> bool:
        return self._ready.run(subdomain_taken(subdomain.strip().lower()))

    def _password(self) -> str:
        """A new one, or the present one of a person who is known already."""
        if not self._ready.run(_is_known(self._answers["admin.email"])):
            return ask_new_password("Password", _weakness)
        typer.echo("  This person is known: they get one clinic more, and prove who they are.")
        while True:
            password: str = typer.prompt("Their present password", hide_input=True)
            answers = {**self._answers, PASSWORD: password}
            if not problems(answers) and self._proves(read_form(nested(answers))):
                return password
            typer.echo("  is not their password")

    def _place(self) -> Goal:
        """In a database of its own or not and, where other clusters are known, on which."""
        if not typer.confirm("A database of its own? It then shares no patients", default=False):
            return Goal()
        known = self._ready.run(_clusters())
        if not known:
            return Goal(PlacementKind.OWN_DATABASE)
        shown = ", ".join(known)
        while True:
            answer: str = typer.prompt(
                f"On which cluster ({shown}; empty for this one)", default="", show_default=False
            )
            if not answer.strip():
                return Goal(PlacementKind.OWN_DATABASE)
            if answer.strip() in known:
                return Goal(PlacementKind.CLUSTER, answer.strip())
            typer.echo("  is not a known cluster")

    def _proves(self, form: OnboardingForm) -> bool:
        try:
            self._ready.run(person(form.admin))
        except ValidationFailed:
            return False
        return True

    def _show(self) -> None:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for question in QUESTIONS:
            if question.path in self._answers:
                table.add_row(question.text.partition(" (")[0], self._answers[question.path])
        if self.goal.kind is not PlacementKind.SHARED:
            on = f" on the cluster {self.goal.cluster}" if self.goal.cluster else ""
            table.add_row("Database", f"one of its own{on}")
        typer.echo()
        Console(highlight=False, markup=False).print(table)
        typer.echo()


def _weakness(password: str) -> str | None:
    found = weakness(password, PASSWORD)
    return found.message if found else None


async def _clusters() -> list[str]:
    return [row["name"] for row in await Cluster.rows({}, projection=["name"], sort=[("name", 1)])]


async def _is_known(email: str) -> bool:
    return await User.find_one({"email": email_key(email)}) is not None


def _hint(path: str, answer: str) -> str:
    """Time zones that were perhaps meant."""
    if path != "settings.timezone":
        return ""
    by_city = {name.rpartition("/")[2].casefold(): name for name in sorted(available_timezones())}
    meant = difflib.get_close_matches(answer.rpartition("/")[2].casefold().replace(" ", "_"), by_city, 3, 0.6)
    return f"; perhaps {' or '.join(by_city[one] for one in meant)}" if meant else ""
