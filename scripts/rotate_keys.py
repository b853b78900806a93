"""New keys for clinics at work: --master wraps their data keys under the present master key, --data gives them new
data keys and seals everything anew, also what is plain from before. Servers go on meanwhile.

A run that was interrupted, also by kill -9, is finished by running it again. Exit codes: 0 done (or told), 1 it cannot
be done or something is left, 2 the command was called wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.errors import AppError, Unavailable
from app.integrations.kms import KeyRefused
from app.services.clinics import clinic_to_change
from app.services.key_rotation import SETTLE, Row, Sealing, begin, finish, live_keys, rewrap, seal_all, settle
from app.services.placement.clusters import clusters_under_former_keys, rewrap_cluster
from app.services.second_factors import apps_under_former_keys, rewrap_app
from app.services.tenant_keys import TenantKeys
from app.services.watching import Report
from models import Tenant
from models.values import now
from scripts.runtime import backend, explained, settings_or_stop, stop

cli = typer.Typer(add_completion=False)
console = Console(highlight=False, soft_wrap=True)


@cli.command()
def main(
    master: Annotated[bool, typer.Option("--master", help="Wrap the data keys under the present master key.")] = False,
    data: Annotated[bool, typer.Option("--data", help="Make new data keys and seal everything anew.")] = False,
    clinic: Annotated[str | None, typer.Option(metavar="SUBDOMAIN", help="This clinic alone.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All clinics.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what there is to do.")] = False,
    wait: Annotated[
        int,
        typer.Option("--settle", min=0, metavar="SECONDS", help="How long servers may know the former data key alone."),
    ] = int(SETTLE.total_seconds()),
) -> None:
    """Rotate the keys under which clinics' sensitive fields are encrypted."""
    if master == data:
        raise typer.BadParameter("say one of --master and --data")
    if (clinic is None) is not every:
        raise typer.BadParameter("say one of --clinic and --all")
    settings = settings_or_stop()
    with explained(), _keys_explained(), backend(settings, with_schema=False) as ready:
        tenants = ready.run(_tenants(clinic))
        if master:
            failed = ready.run(_master(ready.keys, tenants, dry_run))
            failed |= every and ready.run(_apps(ready.keys, dry_run))
            failed |= every and ready.run(_clusters(ready.keys, dry_run))
        else:
            failed = ready.run(_data(ready.keys, tenants, dry_run, timedelta(seconds=wait)))
    raise typer.Exit(1 if failed else 0)


@contextmanager
def _keys_explained() -> Iterator[None]:
    try:
        yield
    except KeyRefused as error:
        stop(Unavailable(str(error)))


async def _tenants(clinic: str | None) -> list[Tenant]:
    """Those that are not being deleted."""
    if clinic is not None:
        return [await clinic_to_change(clinic)]
    found: list[Tenant] = await Tenant.find({"deletion_started_at": None}).sort("subdomain").to_list()
    return found


# --- the master key ---------------------------------------------------------------------------------------------------


async def _master(keys: TenantKeys, tenants: list[Tenant], dry: bool) -> bool:
    present = keys.masters.present.provider
    rows = [row for tenant in tenants for row in await live_keys(tenant.key)]
    others = sum(row["provider"] != present for row in rows)
    if dry:
        console.print(f"{len(rows)} data keys, {others} of them wrapped by another master than {present}.")
        return False
    done = 0
    with _progress() as progress:
        task = progress.add_task("Wrapping data keys", total=len(rows))
        for row in rows:
            done += await rewrap(keys, row)
            progress.advance(task)
    console.print(f"{done} data keys are wrapped by {present}.")
    if done < len(rows):
        console.print(f"{len(rows) - done} were changed meanwhile: run this again.")
    return done < len(rows)


async def _apps(keys: TenantKeys, dry: bool) -> bool:
    """The secrets of people's authenticator apps, which belong to no clinic: they go with --all."""
    rows = await apps_under_former_keys(keys.masters)
    if dry:
        console.print(f"{len(rows)} authenticator apps' secrets, encrypted by another master.")
        return False
    done = sum([await rewrap_app(keys.masters, row) for row in rows])
    console.print(f"{done} authenticator apps' secrets are encrypted by {keys.masters.present.provider}.")
    return done < len(rows)


async def _clusters(keys: TenantKeys, dry: bool) -> bool:
    """The addresses of other clusters, which belong to no clinic either."""
    rows = await clusters_under_former_keys(keys.masters)
    if dry:
        console.print(f"{len(rows)} clusters' addresses, encrypted by another master.")
        return False
    done = sum([await rewrap_cluster(keys.masters, row) for row in rows])
    console.print(f"{done} clusters' addresses are encrypted by {keys.masters.present.provider}.")
    return done < len(rows)


# --- data keys --------------------------------------------------------------------------------------------------------


async def _data(keys: TenantKeys, tenants: list[Tenant], dry: bool, wait: timedelta) -> bool:
    """All clinics get their new key and are sealed once; after one common wait the former keys go."""
    if dry:
        for tenant in tenants:
            with _progress() as progress:
                found = await seal_all(keys, tenant, dry=True, report=_step(progress, tenant))
            console.print(_told(tenant, found))
        return False
    begun = []
    for tenant in tenants:
        newest = await begin(keys, tenant)
        with _progress() as progress:
            found = await seal_all(keys, tenant, report=_step(progress, tenant))
        console.print(f"{tenant.subdomain}: version {newest['version']}, {found.done} documents sealed under it.")
        begun.append((tenant, newest))
    failed = False
    for tenant, newest in begun:
        with console.status("Waiting for servers to go over to the new keys"):
            await settle(newest, now(), wait)
        failed |= not await _finished(keys, tenant, newest)
    return failed


async def _finished(keys: TenantKeys, tenant: Tenant, newest: Row) -> bool:
    """Ends one clinic's rotation; what is in its way does not stop the others'."""
    try:
        with _progress() as progress:
            gone = await finish(keys, tenant, newest, report=_step(progress, tenant))
    except AppError as error:
        typer.echo(error.message, err=True)
        return False
    told = f"version {', '.join(map(str, gone))} is destroyed" if gone else "there was no former version"
    console.print(f"{tenant.subdomain}: nothing is left under another key; {told}.")
    return True


def _told(tenant: Tenant, found: Sealing) -> str:
    return (
        f"{tenant.subdomain}: {found.read} documents with sealed fields would be sealed under a new key; "
        f"{found.plain} hold plain values."
    )


def _progress() -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _step(progress: Progress, tenant: Tenant) -> Report:
    task = progress.add_task(f"Sealing {tenant.subdomain}", total=None)

    def step(_: str, count: int) -> None:
        progress.advance(task, count)

    return step


if __name__ == "__main__":
    cli()
