"""Puts demo data into the database: two clinics, or with --tenant the filling of one that exists.

Everybody in the demo has one known password, so production refuses it. Exit codes: 0 it is there, 1 it cannot be.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app.config import Settings
from app.errors import InvalidState
from app.services.clinics import clinic_to_change
from app.services.demo.plans import PASSWORD
from app.services.demo.seeding import Seeded, seed_clinic, seed_two_clinics
from scripts.demo import DemoSummary, SignIn
from scripts.runtime import REFUSED_IN_PRODUCTION, Backend, backend, clinic_url, explained, settings_or_stop

cli = typer.Typer(add_completion=False)


def seed_demo(ready: Backend) -> DemoSummary:
    """The demo of two clinics, put into a database without clinics.

    Raises INVALID_STATE in production.
    """
    _refuse_in_production(ready.settings)
    return _summary(ready.run(seed_two_clinics(beside_others=False)))


def _summary(seeded: Seeded) -> DemoSummary:
    sign_ins = (SignIn(one.clinic, one.role, one.email, PASSWORD) for one in seeded.accounts)
    return DemoSummary(seeded.created, tuple(sign_ins))


def _refuse_in_production(settings: Settings) -> None:
    if settings.is_production:
        raise InvalidState(f"seed_data {REFUSED_IN_PRODUCTION}")


@cli.command()
def main(
    tenant: Annotated[
        str | None,
        typer.Option(metavar="SUBDOMAIN", help="Fill this clinic instead of making two.", show_default=False),
    ] = None,
) -> None:
    """Make two demo clinics with staff, patients and appointments. What is there already stays as it is."""
    settings = settings_or_stop()
    with explained():
        _refuse_in_production(settings)
        with backend(settings) as ready:
            demo = _summary(_seed(ready, tenant))
    if not demo.sign_ins:
        typer.echo("The demo's subdomains belong to other clinics, or did: use --tenant.", err=True)
        raise typer.Exit(1)
    _tell(demo, settings)


def _seed(ready: Backend, subdomain: str | None) -> Seeded:
    if subdomain is None:
        return ready.run(seed_two_clinics(beside_others=True))
    return ready.run(seed_clinic(ready.run(clinic_to_change(subdomain))))


def _tell(demo: DemoSummary, settings: Settings) -> None:
    typer.echo("The demo is ready." if demo.created else "The demo is there already; nothing was changed.")
    for clinic in demo.clinics:
        typer.echo(f"\n{clinic}  {clinic_url(settings, clinic)}")
        for person in demo.sign_ins:
            if person.clinic == clinic:
                typer.echo(f"    {person.role:<13} {person.email:<40} {person.password}")


if __name__ == "__main__":
    cli()
