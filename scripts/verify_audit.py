"""Verifies the audit log of one clinic or of all: no entry was changed, dropped, moved or cut off.

Exit codes: 0 every chain holds, 1 one does not (its first broken entry is named), 2 it could not be checked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from bson import ObjectId
from bson.errors import InvalidId

from app.services.audit_verification import Anchor, Verified, verify, verify_gone
from app.services.clinics import clinic_named
from models import Tenant
from scripts.runtime import backend, explained, settings_or_stop

cli = typer.Typer(add_completion=False)
Kept = dict[str, dict[str, Any]]


@cli.command()
def main(
    clinic: Annotated[str | None, typer.Option(metavar="SUBDOMAIN", help="This clinic alone.")] = None,
    anchors: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Hold the chains against what this file kept of them, then keep how far they have come. Store it "
            "where whoever can change the database cannot.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Verify the audit log and name the first entry that is not as it was written."""
    try:
        kept = _read(anchors)
        found = _verified(clinic, kept, as_json=as_json)
    except typer.Exit:
        raise typer.Exit(2) from None
    sound = all(one.broken is None for one in found)
    if as_json:
        typer.echo(json.dumps([_as_json(one) for one in found]))
    else:
        for one in found:
            typer.echo(_line(one))
    if anchors is not None and sound:
        _write(anchors, kept, found)
    raise typer.Exit(0 if sound else 1)


def _verified(clinic: str | None, kept: Kept, *, as_json: bool) -> list[Verified]:
    settings = settings_or_stop(as_json=as_json)
    with explained(as_json=as_json), backend(settings, with_schema=False) as ready:
        return ready.run(_all(clinic, kept))


async def _all(clinic: str | None, kept: Kept) -> list[Verified]:
    tenants = [await clinic_named(clinic)] if clinic else await Tenant.find({}).sort("subdomain").to_list()
    found = []
    for tenant in tenants:
        known = kept.get(str(tenant.id))
        found.append(await verify(tenant, _anchor(known) if known else None))
    here = {one.clinic for one in found}
    for id, known in kept.items():
        if clinic is None and id not in here:
            found.append(await verify_gone(known["clinic"], ObjectId(id), _anchor(known)))
    return found


def _anchor(kept: dict[str, Any]) -> Anchor:
    return Anchor(kept["seq"], bytes.fromhex(kept["mac"]))


def _read(path: Path | None) -> Kept:
    if path is None or not path.exists():
        return {}
    try:
        kept = json.loads(path.read_text())
        for id, one in kept.items():
            _anchor({**one, "of": (ObjectId(id), one["clinic"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidId):
        typer.echo(f"{path} cannot be read as anchors: give the file that an earlier run wrote.", err=True)
        raise typer.Exit(2) from None
    return dict(kept)


def _write(path: Path, kept: Kept, found: list[Verified]) -> None:
    heads = {one.clinic: {"clinic": one.subdomain, "seq": one.head[0], "mac": one.head[1].hex()} for one in found}
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(kept | heads, indent=2) + "\n")
    fresh.replace(path)


def _line(one: Verified) -> str:
    if one.broken is not None:
        before = f"; the {one.head[0]} before it are in order" if one.head[0] else ""
        return f"{one.subdomain}: {one.broken}{before}."
    waiting = f" {one.pending} wait to join it." if one.pending else ""
    return f"{one.subdomain}: {one.entries} entries, all in order.{waiting}"


def _as_json(one: Verified) -> dict[str, Any]:
    broken = one.broken
    return {
        "clinic": one.subdomain,
        "entries": one.entries,
        "pending": one.pending,
        "head": {"seq": one.head[0], "mac": one.head[1].hex()},
        "broken": {"seq": broken.seq, "entry": broken.entry, "what": broken.what} if broken else None,
    }


if __name__ == "__main__":
    cli()
