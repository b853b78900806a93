"""What is compared: how each server is started, and whether it can be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.config import Settings
from benchmarks.comparison.peers import PEERS
from benchmarks.data.settings import as_environment

EXECUTOR_SWITCH = "compiled_execution"


@dataclass(frozen=True, slots=True)
class Start:
    """A command, and what it is told by the environment."""

    command: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Variant:
    """One server. `start` takes settings, port and the number of processes."""

    name: str
    title: str
    start: Callable[[Settings, int, int], Start]
    needs_node: bool = False


def _polyclinic(**more: str) -> Callable[[Settings, int, int], Start]:
    def start(settings: Settings, port: int, processes: int) -> Start:
        chosen = {"PORT": str(port), "WORKERS": str(processes), **more}
        return Start((sys.executable, "-m", "scripts.serve"), as_environment(settings) | chosen)

    return start


def _uvicorn(application: str) -> Callable[[Settings, int, int], Start]:
    def start(settings: Settings, port: int, processes: int) -> Start:
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "--factory",
            application,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        command += ["--workers", str(processes), "--loop", "uvloop", "--http", "httptools", "--ws", "none"]
        command += ["--lifespan", "on", "--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "2"]
        return Start(tuple(command), as_environment(settings))

    return start


def _node(script: str, way: str) -> Callable[[Settings, int, int], Start]:
    def start(settings: Settings, port: int, processes: int) -> Start:
        told = {"MONGODB_URI": settings.mongodb_uri, "MONGODB_DATABASE": settings.mongodb_database}
        more = {"PORT": str(port), "PROCESSES": str(processes), "NODE_ENV": "production"}
        return Start(("node", str(PEERS / script), way), told | more)

    return start


ALL = {
    one.name: one
    for one in (
        Variant(
            "floor",
            "floor: PyMongo and orjson on Starlette, no GraphQL",
            _uvicorn("benchmarks.servers.floor:create_app"),
        ),
        Variant(
            "ordinary",
            "Strawberry and Beanie, written the usual way",
            _uvicorn("benchmarks.servers.ordinary:create_app"),
        ),
        Variant("polyclinic", "Polyclinic", _polyclinic()),
        Variant("polyclinic-off", "Polyclinic without its executor", _polyclinic(**{EXECUTOR_SWITCH.upper(): "false"})),
        Variant(
            "mercurius", "Mercurius, graphql-jit, DataLoader", _node("mercurius.js", "dataloader"), needs_node=True
        ),
        Variant(
            "mercurius-prefetch",
            "Mercurius, graphql-jit, relations prefetched",
            _node("mercurius.js", "prefetch"),
            needs_node=True,
        ),
        Variant("apollo", "Apollo Server, mongoose documents", _node("apollo.js", "documents"), needs_node=True),
        Variant("apollo-lean", "Apollo Server, mongoose lean", _node("apollo.js", "lean"), needs_node=True),
    )
}


def can_switch_executor() -> bool:
    """Whether this version of the server has an executor that can be turned off."""
    return EXECUTOR_SWITCH in Settings.model_fields
