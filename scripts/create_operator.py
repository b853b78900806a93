"""Makes somebody an operator: one of those who run the system, on its root host.

Exit codes: 0 done, 1 it cannot be done, 2 a flag is wrong or missing.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from app.permissions import PlatformRole
from app.services.new_operators import add_known_operator, add_operator
from app.services.onboarding import Added
from scripts.runtime import backend, explained, given_password, settings_or_stop
from scripts.signing_up import FLAGS, AsJson, Email, Existing, Name, PasswordFile, completed, who

cli = typer.Typer(add_completion=False)


@cli.command()
def main(
    email: Email,
    name: Name = None,
    role: Annotated[PlatformRole, typer.Option(help="As what.")] = PlatformRole.SUPER_ADMIN,
    password_file: PasswordFile = None,
    existing: Existing = False,
    as_json: AsJson = False,
) -> None:
    """Make somebody an operator of the system: a new person, or a known one who proves it with their password.

    With --existing a known person is added on your word, and their password stays as it is.
    """
    given = {"name": name, "email": email, "password": given_password(password_file)}
    form = None if existing else completed(given, as_json=as_json)
    settings = settings_or_stop(as_json=as_json)
    with explained(as_json=as_json, flags=FLAGS), backend(settings) as ready:
        added = ready.run(add_known_operator(email, role) if form is None else add_operator(form, role))
    _tell(added, role, as_json=as_json)


def _tell(added: Added, role: PlatformRole, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"success": True, "email": added.email, "role": role, "newPerson": added.new_person}))
        return
    typer.echo(f"{who(added)} is {role.value.replace('_', ' ')} of the system.")


if __name__ == "__main__":
    cli()
