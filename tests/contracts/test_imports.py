"""Ways around the guard are few and named here: whoever opens another one must give its reason in this file."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from app.config import PROJECT_ROOT

PACKAGES = ("app", "models", "resolvers", "scripts")
IN_USE = "is used nowhere any more: take it out of the list"

ALLOWED: Mapping[str, Mapping[str, str]] = {
    "AsyncMongoClient()": {
        "app.db.client": "the clients of a process, with the wall built in",
        "app.services.placement.clusters": "asks a cluster whether it will do; knows no collection",
    },
    "make_cluster_client()": {},
    "database_at()": {
        "app.db.migrations.running": "each clinic's own database is migrated",
        "app.services.placement.commits": "finishes transactions of clinics on other clusters; reads their log alone",
        "app.services.placement.provisioning": "makes and drops them",
        "app.services.tenant_checks": "looks into each, in a system scope",
        "app.services.tenants_admin": "tells whether each is up to date; reads what was done to it alone",
        "app.tenancy.directory": "where a request's clinic lives",
    },
    "MongoClient()": {
        "app.db.mongod": "asks a mongod that is starting whether it answers; knows no collection",
        "scripts.start_checks": "asks the given server whether it answers; knows no collection",
    },
    "make_client()": {
        "app.main": "the server",
        "scripts.apply_schema": "a command that administers the database",
        "scripts.runtime": "what all commands over services share",
    },
    "init_beanie()": {"app.db.documents": "which admits guarded documents only"},
    "busy_claims()": {
        "app.services.scheduling.diary": "a doctor of two clinics is busy at both; told as times alone",
        "app.services.scheduling.rekey": "tells which times keep somebody from taking over a profile, and no more",
    },
    "system_scope()": {
        "app.services.deletion_plan": "counts what would go",
        "app.services.merging.snapshot": "joins a patient anew whom this clinic left by a merge that is undone",
        "app.services.key_rotation": "seals what is stored under a clinic's former key, byte for byte compared",
        "app.services.placement.leaving": "deletes what a clinic that goes has where it does not live",
        "app.services.placement.moving": "copies and compares a clinic's documents byte by byte",
        "app.services.placement.provisioning": "drops a clinic's own database",
        "app.services.placement.stragglers": "fetches what came late into a place that a clinic has left",
        "app.services.legacy.migration": "moves documents that have no clinic; those of clinics it only looks at",
        "app.services.moving.restoring": "sees whether the ids of an export are free, and reads nothing else",
        "app.services.tenant_checks": "looks at every clinic's documents for ones without a clinic",
        "app.services.tenant_traces": "sees whether anything of a deleted clinic is left",
        "scripts.reset_db": "empties a development database",
    },
    "neighbour_scope()": {
        "app.services.sharing.emergency": "each clinic whose records are opened gets the entry that it reviews",
        "app.services.sharing.lending": "reads what a live consent or an emergency opens, judged there each time",
        "app.services.sharing.redemption": "uses up a share code where it was given, with the consent behind it",
        "app.services.sharing.versions": "tells each clinic of a patient what was changed, and not by whom",
    },
    "other_clinics()": {
        "app.services.sharing.emergency": "to whom an emergency is told; the answer is shown to nobody",
        "app.services.sharing.history": "where an emergency may look; a clinic is named with its records alone",
        "app.services.sharing.versions": "to whom a change is told; the answer is shown to nobody",
    },
    "passed_to()": {"app.tenancy.crossing": "a share is redeemed at both clinics in one transaction"},
    "Scope(ledger=)": {
        "app.tenancy.ledger": "stores audit entries of several clinics by one command, and nothing else"
    },
    "Scope(system_reason=)": {
        "app.tenancy.crossing": "what opens it, after the audit row is written",
        "app.db.schema": "indexes and validators concern all clinics, and reading none of their documents",
        "app.db.migrations.running": "steps bring what is stored of all clinics of a database up to date",
        "app.tenancy.spanning": "sends once more what a transaction had sent, as it was sent",
    },
    ".home_database": {
        "app.db.transactions": "where a session is started that is not inside any clinic",
        "app.services.placement.provisioning": "where clinics' own databases are made beside the shared one",
        "app.tenancy.crossing": "what a system scope hands out, and where busy times are read",
        "models.base": "defines it",
    },
    "own_database()": {
        "app.tenancy.places": "where the guard goes for the clinic in scope",
    },
    "shared_database()": {
        "app.services.placement.clusters": "asks the home cluster who it is; knows no collection",
        "app.services.placement.commits": "where transactions over two clusters are finished",
        "app.services.placement.leaving": "deletes what a clinic that goes has left there, in a system scope",
        "app.services.placement.moving": "asks whether it is up to date, and clears what a clinic has left",
        "app.services.placement.provisioning": "defines it",
        "app.services.tenants_admin": "tells whether it is up to date; reads what was done to it alone",
    },
    ".pymongo_db": {"models.base": "defines it"},
    "._guard": {"models.base": "defines it"},
    "._stored": {},
    "._opened": {"app.tenancy.collection": "the guard's own opened collections"},
    ".get_collection": {
        "app.services.placement.copying": "reads and writes a moving clinic's documents as bytes, in a system scope",
        "app.services.legacy.looking": "reads documents without a clinic byte for byte, in a system scope",
        "app.services.legacy.moving": "puts them back byte for byte, in a system scope",
        "app.services.tenant_traces": "walks whatever is stored, models or not, in a system scope",
    },
    ".with_options": {},
}
"""What leads to documents without the guard → the modules that may use it, each with its reason."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the application and its commands, by name, as its syntax tree."""
    for package in PACKAGES:
        for path in sorted((PROJECT_ROOT / package).rglob("*.py")):
            yield _name(path), ast.parse(path.read_text(encoding="utf-8"))


def _name(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT_ROOT).with_suffix("").parts).removesuffix(".__init__")


def ways_used(tree: ast.Module) -> set[str]:
    """Which of the ways above a module takes."""
    return {way for node in ast.walk(tree) for way in _ways(node)} & ALLOWED.keys()


def _ways(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Attribute):
        yield f".{node.attr}"
    if isinstance(node, ast.Call):
        name = _called(node.func)
        yield f"{name}()"
        yield from (f"{name}({keyword.arg}=)" for keyword in node.keywords)


def _called(function: ast.expr) -> str:
    """`AsyncMongoClient` of `pymongo.AsyncMongoClient[dict](…)`."""
    if isinstance(function, ast.Subscript):
        return _called(function.value)
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


USED = {name: ways_used(tree) for name, tree in modules()}


@pytest.mark.parametrize("way", ALLOWED)
def test_ways_around_the_guard_are_taken_where_a_reason_is_given(way: str) -> None:
    takers = {name for name, ways in USED.items() if way in ways}
    assert takers - ALLOWED[way].keys() == set(), f"{way}: give a reason in ALLOWED, or go through the guard"
    assert ALLOWED[way].keys() - takers == set(), IN_USE


@pytest.mark.parametrize("name", [name for name in USED if name.startswith(("resolvers", "app.graphql", "app.http"))])
def test_whatever_serves_requests_takes_none_of_them(name: str) -> None:
    assert USED[name] == set()


def drivers_in(tree: ast.Module) -> set[str]:
    """Which packages a module imports that could open a connection of its own to a database."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module}
    return {name.partition(".")[0] for name in names} & {"motor", "gridfs", "mongoengine", "sqlalchemy", "redis"}


DRIVERS: Mapping[str, set[str]] = {"app.jobs.streams": {"redis"}}
"""A queue of ids, in which nothing of a clinic is kept."""


def test_there_is_one_driver() -> None:
    assert {name: found for name, tree in modules() if (found := drivers_in(tree))} == DRIVERS


# --- the look itself --------------------------------------------------------------------------------------------------

ROGUE: Mapping[str, str] = {
    "AsyncMongoClient()": "import pymongo\nclient = pymongo.AsyncMongoClient[dict]('mongodb://x')",
    "MongoClient()": "from pymongo import MongoClient\nMongoClient()",
    "make_client()": "async def f(s):\n    async with make_client(s) as c:\n        pass",
    "system_scope()": "async def f():\n    async with crossing.system_scope('why') as s:\n        pass",
    "Scope(system_reason=)": "Scope(request_id='x', system_reason='because')",
    ".home_database": "rows = Room.home_database()['rooms']",
    ".get_collection": "db.get_collection('rooms')",
    "._guard": "Room._guard._at(None)",
}


@pytest.mark.parametrize(("way", "text"), ROGUE.items(), ids=list(ROGUE))
def test_a_way_is_seen_however_it_is_written(way: str, text: str) -> None:
    assert way in ways_used(ast.parse(text))


def test_another_driver_is_seen() -> None:
    assert drivers_in(ast.parse("from motor.motor_asyncio import AsyncIOMotorClient")) == {"motor"}


def test_the_look_covers_the_application() -> None:
    assert len(USED) > 80
    assert {"app.main", "models.room", "resolvers.rooms", "scripts.serve"} <= USED.keys()
