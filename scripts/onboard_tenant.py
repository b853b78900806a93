"""Opens a clinic from the command line: a wizard that asks for what the flags do not say.

Exit codes: 0 opened, 1 it cannot be opened (the subdomain is taken, no database), 2 a flag is wrong or missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from app.errors import ValidationFailed
from app.services.onboarding import Onboarded, OnboardingForm, onboard, read_form
from app.services.placement.provisioning import Goal
from models.tenant import PlacementKind
from scripts.onboarding_wizard import PASSWORD, Answers, Wizard, nested, problems
from scripts.runtime import (
    PASSWORD_VARIABLE,
    Backend,
    backend,
    clinic_url,
    explained,
    given_password,
    settings_or_stop,
    stop,
)

cli = typer.Typer(add_completion=False, rich_markup_mode="rich")

FLAGS: Mapping[str, str] = {
    "name": "--name",
    "subdomain": "--subdomain",
    "displayName": "--display-name",
    "email": "--email",
    "phone": "--phone",
    "address.street": "--street",
    "address.city": "--city",
    "address.state": "--state",
    "address.zipCode": "--zip-code",
    "address.country": "--country",
    "settings.timezone": "--timezone",
    "settings.currency": "--currency",
    "settings.dateFormat": "--date-format",
    "admin.name": "--admin-name",
    "admin.email": "--admin-email",
    "admin.phone": "--admin-phone",
    PASSWORD: f"--password-file or {PASSWORD_VARIABLE}",
}

_CLINIC, _REGION, _ADMIN, _AUTOMATION = "Clinic", "Times and money", "First admin", "Automation"


def _option(path: str, text: str, panel: str) -> Any:
    return typer.Option(FLAGS[path], help=text, rich_help_panel=panel, show_default=False)


@cli.command()
def main(
    name: Annotated[str | None, _option("name", "Its legal name.", _CLINIC)] = None,
    subdomain: Annotated[str | None, _option("subdomain", "Its host's first label.", _CLINIC)] = None,
    display_name: Annotated[str | None, _option("displayName", "What patients call it.", _CLINIC)] = None,
    email: Annotated[str | None, _option("email", "Contact e-mail address.", _CLINIC)] = None,
    phone: Annotated[str | None, _option("phone", "Contact phone.", _CLINIC)] = None,
    street: Annotated[str | None, _option("address.street", "Address: street.", _CLINIC)] = None,
    city: Annotated[str | None, _option("address.city", "Address: city.", _CLINIC)] = None,
    state: Annotated[str | None, _option("address.state", "Address: state.", _CLINIC)] = None,
    zip_code: Annotated[str | None, _option("address.zipCode", "Address: postal code.", _CLINIC)] = None,
    country: Annotated[str | None, _option("address.country", "Address: country.", _CLINIC)] = None,
    timezone: Annotated[
        str | None, _option("settings.timezone", "IANA time zone, such as America/New_York.", _REGION)
    ] = None,
    currency: Annotated[str | None, _option("settings.currency", "ISO 4217 code.", _REGION)] = None,
    date_format: Annotated[str | None, _option("settings.dateFormat", "Such as MM/DD/YYYY.", _REGION)] = None,
    admin_name: Annotated[str | None, _option("admin.name", "Full name.", _ADMIN)] = None,
    admin_email: Annotated[
        str | None, _option("admin.email", "E-mail address; one that is known gets a further clinic.", _ADMIN)
    ] = None,
    admin_phone: Annotated[str | None, _option("admin.phone", "Phone.", _ADMIN)] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(
            help=f"A file with the password. Otherwise {PASSWORD_VARIABLE} counts, or it is asked for.",
            rich_help_panel=_ADMIN,
            show_default=False,
        ),
    ] = None,
    placement: Annotated[
        PlacementKind | None,
        typer.Option(help="Where its data is to be: the shared database, or one of its own.", rich_help_panel=_CLINIC),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A database of its own on that cluster (scripts.clusters).", rich_help_panel=_CLINIC
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing: all must be given.", rich_help_panel=_AUTOMATION)
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="As --yes, and print the answer as JSON.", rich_help_panel=_AUTOMATION),
    ] = False,
) -> None:
    """Open a clinic: its host, roles, settings, first admin and a trial of seven days.

    Asks for whatever the flags leave out. Passwords come from a prompt, a file or the environment.
    """
    clinic = (name, subdomain, display_name, email, phone, street, city, state, zip_code, country)
    admin = (admin_name, admin_email, admin_phone, given_password(password_file))
    values = (*clinic, timezone, currency, date_format, *admin)
    given = {path: value for path, value in zip(FLAGS, values, strict=True) if value is not None}
    asking = not (yes or as_json)
    goal = _goal(placement, cluster)
    _check_given(given, asking=asking, as_json=as_json)
    settings = settings_or_stop(as_json=as_json)
    with explained(as_json=as_json, flags={**FLAGS, "cluster": "--cluster"}), backend(settings) as ready:
        wizard = Wizard(ready, given, goal)
        form = wizard.ask() if asking else read_form(nested(given))
        opened = _open(ready, form, wizard.goal, quiet=as_json)
    _tell(opened, clinic_url(settings, opened.tenant.subdomain), as_json=as_json)


def _goal(placement: PlacementKind | None, cluster: str | None) -> Goal | None:
    """What the flags say; None when they leave it open. Raises `typer.BadParameter` when they do not go together."""
    if cluster is None and placement is not PlacementKind.CLUSTER:
        return Goal(placement) if placement is not None else None
    if cluster is None or placement not in (None, PlacementKind.CLUSTER):
        raise typer.BadParameter("--cluster NAME and --placement cluster go together")
    return Goal(PlacementKind.CLUSTER, cluster)


def _check_given(given: Answers, *, asking: bool, as_json: bool) -> None:
    """Ends the command (exit code 2) when a flag is wrong or, if nothing will be asked, missing."""
    wrong = [one for one in problems(given) if one.path in given or not asking]
    if wrong:
        stop(ValidationFailed(fields=wrong), code=2, as_json=as_json, flags=FLAGS)


def _open(ready: Backend, form: OnboardingForm, goal: Goal, *, quiet: bool) -> Onboarded:
    console = Console(highlight=False, stderr=True, quiet=quiet)
    own = "" if goal.kind is PlacementKind.SHARED else "its database, "
    with console.status(f"Opening the clinic: {own}roles, permissions, settings, admin"):
        return ready.run(onboard(form, goal))


def _tell(opened: Onboarded, url: str, *, as_json: bool) -> None:
    answer = {**opened.answer(), "placement": opened.tenant.placement.model_dump(mode="json"), "url": url}
    if as_json:
        typer.echo(json.dumps(answer))
        return
    seeded, plan = answer["seedData"], answer["subscription"]
    typer.echo(f"{answer['name']} is open, with {seeded['roles']} roles and {seeded['permissions']} permissions.")
    if opened.tenant.placement.database is not None:
        typer.echo(f"Its data is {opened.tenant.placement.words}: {opened.tenant.placement.database}.")
    typer.echo(f"Its {plan['plan']} ends on {plan['expiresAt'][:10]}.")
    typer.echo(f"{answer['adminEmail']} signs in at {url}")


if __name__ == "__main__":
    cli()
