"""The directory of clinics: cached, and forgotten in every process when a tenant changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from app.db.client import make_client
from app.tenancy.directory import Directory
from app.tenancy.scope import TenantRef
from models import Tenant
from tests.fixtures.clinics import MakeClinic, Server


class Reads:
    """Counts how often a directory asks the database."""

    def __init__(self, directory: Directory, monkeypatch: Any) -> None:
        self.count = 0
        real = Tenant.find_one

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(Tenant, "find_one", counted)


@pytest_asyncio.fixture
async def directories(server: Server) -> AsyncIterator[tuple[Directory, Directory]]:
    """Two directories as two processes have them, each with a connection of its own."""
    clients = [make_client(server.settings) for _ in range(2)]
    one, two = (Directory(client[server.settings.mongodb_database]) for client in clients)
    await one.start()
    await two.start()
    await asyncio.gather(watching(one), watching(two))
    yield one, two
    await one.stop()
    await two.stop()
    for client in clients:
        await client.close()


async def watching(directory: Directory) -> None:
    async with asyncio.timeout(10):
        while not directory._watching:
            await asyncio.sleep(0.01)


async def until(directory: Directory, subdomain: str, expected: TenantRef | None) -> None:
    async with asyncio.timeout(10):
        while await directory.by_subdomain(subdomain) != expected:
            await asyncio.sleep(0.01)


async def test_a_clinic_is_read_once_and_then_known(
    directories: tuple[Directory, Directory], make_clinic: MakeClinic, monkeypatch: Any
) -> None:
    clinic = await make_clinic()
    directory = directories[0]
    await until(directory, clinic.tenant.subdomain, clinic.ref)
    await asyncio.sleep(0.3)  # the news of the new clinic may still be on its way
    await directory.by_subdomain(clinic.tenant.subdomain)
    reads = Reads(directory, monkeypatch)

    for _ in range(20):
        assert await directory.by_subdomain(clinic.tenant.subdomain) == clinic.ref

    assert reads.count == 0


async def test_a_suspended_clinic_is_forgotten_in_every_process(
    directories: tuple[Directory, Directory], make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    for directory in directories:
        await until(directory, clinic.tenant.subdomain, clinic.ref)

    await Tenant.find_one({"_id": clinic.tenant.id}).update({"$set": {"status": "suspended"}})

    for directory in directories:
        await until(directory, clinic.tenant.subdomain, None)


async def test_a_new_clinic_is_found_though_it_was_asked_for_before(
    directories: tuple[Directory, Directory], make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    missing = "not-there-yet"
    assert await directories[0].by_subdomain(missing) is None

    await Tenant.find_one({"_id": clinic.tenant.id}).update({"$set": {"subdomain": missing}})

    async with asyncio.timeout(10):
        while (found := await directories[0].by_subdomain(missing)) is None:
            await asyncio.sleep(0.01)
    assert found.id == clinic.tenant.id


async def test_without_its_watch_the_directory_always_asks_the_database(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    client = make_client(server.settings)
    directory = Directory(client[server.settings.mongodb_database])
    assert await directory.by_subdomain(clinic.tenant.subdomain) == clinic.ref

    await Tenant.find_one({"_id": clinic.tenant.id}).update({"$set": {"status": "inactive"}})

    assert await directory.by_subdomain(clinic.tenant.subdomain) is None
    await client.close()
