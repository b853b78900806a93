"""Tells what room the files of clinics take, counts it anew, and cleans up what belongs to nothing.

Without --execute it changes nothing. Exit codes: 0 all in order, or put in order; 1 something was found and left, or it
cannot be done; 2 the command was called wrongly.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from app.services.clinics import clinic_named
from app.services.documents.orphans import CleanUp, clean_up
from app.services.documents.recount import Recount, recount
from app.tenancy.crossing import tenant_scope
from models import Tenant
from models.document import StorageKind
from scripts.runtime import backend, explained, settings_or_stop

cli = typer.Typer(add_completion=False)


@cli.command()
def main(
    tenant: Annotated[str | None, typer.Option(metavar="SUBDOMAIN", help="One clinic. Default: all.")] = None,
    execute: Annotated[bool, typer.Option("--execute", help="Put counts right, and remove what was found.")] = False,
    drop_lost: Annotated[
        bool, typer.Option("--drop-lost", help="With --execute: also drop contents whose file is gone.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look for files that no document knows of, documents whose file is gone, and room that is miscounted."""
    if drop_lost and not execute:
        raise typer.BadParameter("--drop-lost needs --execute")
    settings = settings_or_stop(as_json=as_json)
    told: list[dict[str, Any]] = []
    with explained(as_json=as_json), backend(settings, with_schema=False) as ready:
        for clinic in ready.run(_clinics(tenant)):
            counts, found = ready.run(_at(clinic, execute=execute, drop_lost=drop_lost))
            told.append(_told(clinic.subdomain, counts, found))
    typer.echo(json.dumps({"executed": execute, "clinics": told}) if as_json else _in_words(told, execute))
    if any(_left(one, execute) for one in told):
        raise typer.Exit(1)


async def _clinics(subdomain: str | None) -> list[Tenant]:
    if subdomain:
        return [await clinic_named(subdomain)]
    found: list[Tenant] = await Tenant.find({"deletion_started_at": None}).sort("subdomain").to_list()
    return found


async def _at(clinic: Tenant, *, execute: bool, drop_lost: bool) -> tuple[Recount, CleanUp]:
    async with tenant_scope(clinic):
        found = await clean_up(dry_run=not execute, drop_lost=drop_lost)
        return await recount(repair=execute), found


def _told(subdomain: str, counts: Recount, found: CleanUp) -> dict[str, Any]:
    return {
        "clinic": subdomain,
        "used": counts.found_used,
        "kinds": {kind.value: getattr(counts.found, kind.value).model_dump() for kind in StorageKind},
        "miscounted": counts.counted_used - counts.found_used if counts.differs else None,
        **{name: value for name, value in asdict(found).items() if name not in ("dry_run", "complete")},
        "documents": [str(one) for one in found.documents],
    }


def _left(told: dict[str, Any], execute: bool) -> bool:
    """Whether something is not in order after this run."""
    if told["lost"] > told["dropped"]:
        return True
    return not execute and bool(told["files"] or told["miscounted"] is not None)


def _in_words(told: list[dict[str, Any]], execute: bool) -> str:
    lines = []
    for one in told:
        kinds = ", ".join(f"{kind} {room['bytes']} in {room['files']}" for kind, room in one["kinds"].items())
        lines.append(f"{one['clinic']}: {one['used']} bytes ({kinds})")
        if one["miscounted"] is not None:
            lines.append(f"  the count differed by {one['miscounted']} bytes{': put right' if execute else ''}")
        if one["files"]:
            lines.append(f"  {one['files']} files ({one['bytes']} bytes) of no document, {one['removed']} removed")
        if one["lost"]:
            lines.append(f"  {one['lost']} contents without their file, {one['dropped']} dropped")
            lines += [f"    document {id}" for id in one["documents"]]
    return "\n".join(lines) if lines else "There are no clinics."


if __name__ == "__main__":
    cli()
