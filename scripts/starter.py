"""What the commands share that give clinics something to begin with."""

from __future__ import annotations

from typing import Annotated

import typer

from app.services.clinics import clinic_to_change
from app.services.starter.adding import Add, add_to, clinics_in_use
from scripts.runtime import backend, explained, settings_or_stop

OfClinic = Annotated[
    str | None,
    typer.Option("--tenant", metavar="SUBDOMAIN", help="This clinic instead of every active one.", show_default=False),
]


def add_everywhere(subdomain: str | None, add: Add, action: str, things: str) -> None:
    """Runs `add` at one clinic, or at each active one, and says how much was added to each."""
    settings = settings_or_stop()
    with explained(), backend(settings) as ready:
        one = ready.run(clinic_to_change(subdomain)) if subdomain is not None else None
        clinics = [one] if one is not None else ready.run(clinics_in_use())
        for clinic in clinics:
            added = ready.run(add_to(clinic, add, action))
            typer.echo(f"{clinic.subdomain}: {added} {things} added")
        if not clinics:
            typer.echo("There is no active clinic.")
