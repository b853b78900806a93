"""Puts indexes and validators on the database, or with --check tells where it differs.

Exit codes: 0 all as it should be, 1 drift or a failure, 2 the settings or the database do not allow a look.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Annotated, NoReturn

import typer
from pymongo.errors import PyMongoError

from app.config import ConfigurationError, Settings, load_settings
from app.db.client import make_client
from app.db.failures import is_database_down
from app.db.schema import SchemaError, SchemaReport, apply_schema

cli = typer.Typer(add_completion=False)


@cli.command()
def main(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 when there is drift.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Apply the schema to the shared database."""
    report = _report(check=check)
    typer.echo(json.dumps(asdict(report)) if as_json else _readable(report, check=check))
    if check and report.drift:
        raise typer.Exit(1)


def _report(*, check: bool) -> SchemaReport:
    try:
        return asyncio.run(_run(load_settings(), check=check))
    except ConfigurationError as error:
        _stop(str(error), 2)
    except SchemaError as error:
        _stop(str(error), 1)
    except PyMongoError as error:
        if not is_database_down(error):
            raise
        _stop("The database does not answer: check MONGODB_URI, and that it is running.", 2)


async def _run(settings: Settings, *, check: bool) -> SchemaReport:
    async with make_client(settings) as client:
        return await apply_schema(client[settings.mongodb_database], check=check, force=True)


def _readable(report: SchemaReport, *, check: bool) -> str:
    lines = [*report.changes, *map(str, report.drift)]
    if not lines:
        lines = [f"The database {report.database} is as the models say."]
    elif not check:
        lines.append(f"The schema is on {report.database}.")
    return "\n".join(lines)


def _stop(sentence: str, code: int) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    cli()
