"""Drops the database and makes it anew, empty, with the schema applied. Never in production.

Exit codes: 0 done, 1 refused or not possible.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pymongo import AsyncMongoClient

from app.config import Settings
from app.db.schema import apply_schema
from app.services.placement.provisioning import is_clinics_own
from app.tenancy.clusters import clusters
from app.tenancy.crossing import system_scope
from models import Cluster
from scripts.runtime import REFUSED_IN_PRODUCTION, Backend, backend, explained, settings_or_stop

cli = typer.Typer(add_completion=False)


@cli.command()
def main(yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Drop the database with all clinics in it, and those of clinics' own, and make it anew, empty."""
    settings = settings_or_stop()
    if settings.is_production:
        typer.echo(f"reset_db {REFUSED_IN_PRODUCTION}", err=True)
        raise typer.Exit(1)
    with explained(), backend(settings, with_schema=False) as ready:
        if not yes:
            _confirm(settings)
        ready.run(_reset(ready, settings))
    typer.echo(f"The database {settings.mongodb_database} is empty, and its schema is applied.")


def _confirm(settings: Settings) -> None:
    name = settings.mongodb_database
    typer.echo(f"All clinics, people and patients in the database {name} will be gone for good.")
    if typer.prompt("Type the database's name to go on").strip() != name:
        typer.echo("That is another name. Nothing was dropped.", err=True)
        raise typer.Exit(1)


async def _reset(ready: Backend, settings: Settings) -> None:
    async with system_scope("the database is made anew", action="reset_db"):
        for row in await Cluster.rows({}, projection=["name"]):
            await _drop(await clusters.client(row["name"]), settings.mongodb_database)
        await _drop(ready.client, settings.mongodb_database)
    await apply_schema(ready.client[settings.mongodb_database], force=True)


async def _drop(client: AsyncMongoClient[dict[str, Any]], shared: str) -> None:
    for name in await client.list_database_names():
        if name == shared or is_clinics_own(name, shared):
            await client.drop_database(name)


if __name__ == "__main__":
    cli()
