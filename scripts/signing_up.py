"""What commands share that give somebody an office: the options that say who it is, and the questions for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from app.auth.passwords import weakness
from app.errors import FieldError, ValidationFailed
from app.services.changes import build
from app.services.onboarding import Added, AdminForm
from scripts.runtime import PASSWORD_VARIABLE, ask_new_password, stop

Email = Annotated[str, typer.Option(prompt="E-mail", help="Their e-mail address.", show_default=False)]
Name = Annotated[str | None, typer.Option(help="Full name.", show_default=False)]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        help=f"A file with the password. Otherwise {PASSWORD_VARIABLE} counts, or it is asked for.",
        show_default=False,
    ),
]
Existing = Annotated[bool, typer.Option("--existing", help="Somebody known: no name and no password are needed.")]
AsJson = Annotated[bool, typer.Option("--json", help="Ask nothing, and print the answer as JSON.")]

FLAGS: Mapping[str, str] = {
    "admin.email": "--email",
    "admin.name": "--name",
    "admin.phone": "--phone",
    "admin.password": f"--password-file or {PASSWORD_VARIABLE}",
}


def completed(given: Mapping[str, str | None], *, as_json: bool) -> AdminForm:
    """The form, once the name and the password were asked for unless given. Ends the command (exit code 2) on what is
    wrong."""
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


def who(added: Added) -> str:
    """Whom it was given to, in words."""
    how = "a new person" if added.new_person else "a person who was known, with the password they have"
    return f"{added.email} ({how})"
