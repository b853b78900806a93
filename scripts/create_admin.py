"""Makes somebody an admin of a clinic that exists.

Exit codes: 0 done, 1 it cannot be done, 2 a flag is wrong or missing.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from app.services.admins import add_admin, add_known_admin
from app.services.clinics import clinic_to_change
from app.services.onboarding import Added, AdminForm
from scripts.runtime import Backend, backend, clinic_url, explained, given_password, settings_or_stop
from scripts.signing_up import FLAGS, AsJson, Email, Existing, Name, PasswordFile, completed, who

cli = typer.Typer(add_completion=False)


@cli.command()
def main(
    subdomain: Annotated[str, typer.Argument(help="The clinic's subdomain.", show_default=False)],
    email: Email,
    name: Name = None,
    phone: Annotated[str | None, typer.Option(help="Phone.", show_default=False)] = None,
    password_file: PasswordFile = None,
    existing: Existing = False,
    as_json: AsJson = False,
) -> None:
    """Make somebody an admin of a clinic: a new person, or a known one who proves it with their password.

    With --existing a known person is added on your word, and their password stays as it is.
    """
    given = {"name": name, "email": email, "phone": phone, "password": given_password(password_file)}
    form = None if existing else completed(given, as_json=as_json)
    settings = settings_or_stop(as_json=as_json)
    with explained(as_json=as_json, flags=FLAGS), backend(settings) as ready:
        added = _add(ready, subdomain, email, form)
    _tell(added, clinic_url(settings, subdomain.strip().lower()), as_json=as_json)


def _add(ready: Backend, subdomain: str, email: str, form: AdminForm | None) -> Added:
    tenant = ready.run(clinic_to_change(subdomain))
    return ready.run(add_known_admin(tenant, email) if form is None else add_admin(tenant, form))


def _tell(added: Added, url: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"success": True, "adminEmail": added.email, "newPerson": added.new_person, "url": url}))
        return
    typer.echo(f"{who(added)} is an admin at {url}")


if __name__ == "__main__":
    cli()
