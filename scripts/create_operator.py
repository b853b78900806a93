"""Makes somebody an operator: one of those who run the system, on its root host.

Exit codes: 0 done, 1 it cannot be done, 2 a flag is wrong or missing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from app.auth.passwords import weakness
from app.errors import FieldError, ValidationFailed
from app.permissions import PlatformRole
from app.services.changes import build
from app.services.new_operators import Added, add_known_operator, add_operator
from app.services.onboarding import AdminForm
from scripts.runtime import (
    PASSWORD_VARIABLE,
    ask_new_password,
    backend,
    explained,
    given_password,
    settings_or_stop,
    stop,
)

cli = typer.Typer(add_completion=False)

FLAGS = {
    "admin.email": "--email",
    "admin.name": "--name",
    "admin.password": f"--password-file or {PASSWORD_VARIABLE}",
}
Values = dict[str, str | None]


@cli.command()
def main(
    email: Annotated[str, typer.Option(prompt="E-mail", help="Their e-mail address.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="Full name.", show_default=False)] = None,
    role: Annotated[PlatformRole, typer.Option(help="As what.")] = PlatformRole.SUPER_ADMIN,
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
    """Make somebody an operator of the system: a new person, or a known one who proves it with their password.

    With --existing a known person is added on your word, and their password stays as it is.
    """
    given: Values = {"name": name, "email": email, "password": given_password(password_file)}
    form = None if existing else _complete(given, as_json=as_json)
    settings = settings_or_stop(as_json=as_json)
    with explained(as_json=as_json, flags=FLAGS), backend(settings) as ready:
        added = ready.run(add_known_operator(email, role) if form is None else add_operator(form, role))
    _tell(added, role, as_json=as_json)


def _complete(given: Values, *, as_json: bool) -> AdminForm:
    """Asks for the name and the password unless given. Ends the command (exit code 2) on what is wrong."""
    asked = dict(given)
    if not as_json:
        asked["name"] = asked["name"] or typer.prompt("Full name")
        asked["password"] = asked["password"] or ask_new_password("Password", _weakness)
    present: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    try:
        form: AdminForm = build(AdminForm, present, at="admin")
    except ValidationFailed as error:
        stop(error, code=2, as_json=as_json, flags=FLAGS)
    return form


def _weakness(password: str) -> str | None:
    found: FieldError | None = weakness(password, "admin.password")
    return found.message if found else None


def _tell(added: Added, role: PlatformRole, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"success": True, "email": added.email, "role": role, "newPerson": added.new_person}))
        return
    how = "a new person" if added.new_person else "a person who was known, with the password they have"
    typer.echo(f"{added.email} ({how}) is {role.value.replace('_', ' ')} of the system.")


if __name__ == "__main__":
    cli()
