"""Gives clinics a catalogue of common generic medicines, with ATC codes and active substances.

What a clinic has stays as it is, so the command can be run again. Exit codes: 0 done, 1 it cannot be done.
"""

from __future__ import annotations

import typer

from app.services.starter.adding import add_medicines
from scripts.starter import OfClinic, add_everywhere

cli = typer.Typer(add_completion=False)


@cli.command()
def main(tenant: OfClinic = None) -> None:
    """Add the common medicines that a clinic lacks, or that any active clinic lacks."""
    add_everywhere(tenant, add_medicines, "medicine.seed", "medicines")


if __name__ == "__main__":
    cli()
