"""Makes the database role under which the server should run: it cannot change or delete audit entries.

Run it as a database user who may administer roles, and again after an upgrade. Exit codes: 0 done, 1 refused.
"""

from __future__ import annotations

from typing import Annotated

import typer
from pymongo.errors import OperationFailure

from app.db.roles import apply_role
from app.errors import Forbidden
from scripts.runtime import backend, explained, settings_or_stop, stop

cli = typer.Typer(add_completion=False)


@cli.command()
def main(
    name: Annotated[str, typer.Option(metavar="ROLE", help="The role's name.")] = "polyclinic_server",
    own_databases: Annotated[
        bool,
        typer.Option("--own-databases", help="Also for clinics with databases of their own; the role is then admin's."),
    ] = False,
) -> None:
    """Make or renew the server's role in the database of MONGODB_DATABASE."""
    settings = settings_or_stop()
    with explained(), backend(settings, with_schema=False) as ready:
        database = ready.client[settings.mongodb_database]
        try:
            new = ready.run(apply_role(database, name, elsewhere=own_databases))
        except OperationFailure as error:
            stop(Forbidden(f"The database refused ({error.code}): use a user who may administer roles."))
    place = "admin" if own_databases else settings.mongodb_database
    typer.echo(f"The role {name} was {'made' if new else 'brought up to date'} in {place}.")
    typer.echo(f'Give it to the server\'s user: {{"role": "{name}", "db": "{place}"}}')


if __name__ == "__main__":
    cli()
