"""Makes somebody an admin of a clinic that exists.

Exit codes: 0 done, 1 it cannot be done, 2 a flag is wrong or missing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from app.auth.passwords import weakness
from app.errors import FieldError, ValidationFailed
from app.services.admins import Added, add_admin, add_known_admin, clinic_to_change
from app.services.changes import build
from app.services.onboarding import AdminForm
from scripts.runtime import (
    PASSWORD_VARIABLE,
    Backend,
    ask_new_password,
    backend,
    clinic_url,
    explained,
    given_password,
    settings_or_stop,
    stop,
)

cli = typer.Typer(add_completion=False)

FLAGS = {
    "subdomain": "SUBDOMAIN",
    "admin.email": "--email",
    "admin.name": "--name",
    "admin.phone": "--phone",
    "admin.password": f"--password-file or {PASSWORD_VARIABLE}",
}
Values = dict[str, str | None]


@cli.command()
def main(
    subdomain: Annotated[str, typer.Argument(help="The clinic's subdomain.", show_default=False)],
    email: Annotated[str, typer.Option(prompt="E-mail", help="Their e-mail address.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="Full name.", show_default=False)] = None,
    phone: Annotated[str | None, typer.Option(help="Phone.", show_default=False)] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(
            help=f"A file with the password. Otherwise {PASSWORD_VARIABLE} counts, or it is asked for.",
            show_default=False,
        ),
    ] = None,
    existing: Annotated[
        bool, typer.Option("--existing", help="Somebody known: no name and no password are needed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Ask nothing, and print the answer as JSON.")] = False,
) -> None:
    """Make somebody an admin of a clinic: a new person, or a known one who proves it with their password.

    With --existing a known person is added on your word, and their password stays as it is.
    """
    given: Values = {"name": name, "email": email, "phone": phone, "password": given_password(password_file)}
    if not existing:
        given = _complete(given, as_json=as_json)
    settings = settings_or_stop(as_json=as_json)
    with explained(as_json=as_json, flags=FLAGS), backend(settings) as ready:
        added = _add(ready, subdomain, email, None if existing else _form(given))
    _tell(added, clinic_url(settings, subdomain.strip().lower()), as_json=as_json)


def _complete(given: Values, *, as_json: bool) -> Values:
    """Asks for the name and the password unless given. Ends the command (exit code 2) on what is wrong."""
    asked = dict(given)
    if not as_json:
        asked["name"] = asked["name"] or typer.prompt("Full name")
        asked["password"] = asked["password"] or ask_new_password("Password", _weakness)
    try:
        _form(asked)
    except ValidationFailed as error:
        stop(error, code=2, as_json=as_json, flags=FLAGS)
    return asked


def _form(values: Values) -> AdminForm:
    present: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    form: AdminForm = build(AdminForm, present, at="admin")
    return form


def _add(ready: Backend, subdomain: str, email: str, form: AdminForm | None) -> Added:
    tenant = ready.run(clinic_to_change(subdomain))
    return ready.run(add_known_admin(tenant, email) if form is None else add_admin(tenant, form))


def _weakness(password: str) -> str | None:
    found: FieldError | None = weakness(password, "admin.password")
    return found.message if found else None


def _tell(added: Added, url: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"success": True, "adminEmail": added.email, "newPerson": added.new_person, "url": url}))
        return
    how = "a new person" if added.new_person else "a person who was known, with the password they have"
    typer.echo(f"{added.email} ({how}) is an admin at {url}")


if __name__ == "__main__":
    cli()
