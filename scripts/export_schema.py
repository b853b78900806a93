"""Writes `schema.graphql`, or with `--check` says whether it is what the code makes.

python -m scripts.export_schema [--check]
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer

from app.config import PROJECT_ROOT
from resolvers.schema import build_schema

SCHEMA_FILE = PROJECT_ROOT / "schema.graphql"


def schema_text() -> str:
    """The schema in SDL, ending with a line break."""
    return build_schema().as_str() + "\n"


def main(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail when the file differs.")] = False,
    file: Annotated[Path, typer.Option(help="The file.")] = SCHEMA_FILE,
) -> None:
    """Write schema.graphql, or check that it is up to date."""
    made = schema_text()
    if not check:
        file.write_text(made, encoding="utf-8")
        return
    kept = file.read_text(encoding="utf-8") if file.exists() else ""
    if kept == made:
        return
    for line in difflib.unified_diff(
        kept.splitlines(), made.splitlines(), file.name, "made from the code", lineterm="", n=2
    ):
        typer.echo(line)
    typer.echo("schema.graphql differs from the code: run python -m scripts.export_schema", err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
