"""Serves Polyclinic over HTTP by its settings: `python -m scripts.serve`."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.config import ConfigurationError, Settings, get_settings
from app.db.mongod import die_with_parent
from app.metrics import FOLDER
from scripts.start_checks import StartError, check_mongodb, check_port

APPLICATION = "app.main:create_app"
GRACE_SECONDS = 5
"""So long requests that are under way may take when the server is told to end."""


def main(application: str = APPLICATION) -> None:
    """Runs until SIGTERM or SIGINT, then lets requests finish for some seconds.

    Ends with code 1 and a sentence when settings, port or database do not allow a start: were that left to the
    processes below, each would tell it by a traceback.
    """
    try:
        settings = get_settings()
        check_port(settings.host, settings.port)
        check_mongodb(settings.mongodb_uri)
    except (ConfigurationError, StartError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    serve(settings, application)


def serve(settings: Settings, application: str) -> None:
    """Serves in this process, or in several that this one watches over. Raises SystemExit with code 1 when the
    application does not start."""
    if settings.workers > 1:
        _serve_by_workers(settings, application)
        return
    server = uvicorn.Server(uvicorn.Config(application, **_options(settings)))
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        raise SystemExit(1)


def _serve_by_workers(settings: Settings, application: str) -> None:
    config = _WorkerConfig(application, **_options(settings), workers=settings.workers)
    workers = _Workers(config, [config.bind_socket()])
    with TemporaryDirectory(prefix="polyclinic-metrics-") as folder:
        os.environ[FOLDER] = folder  # the workers count there, each in files of its own
        workers.run()
    if any(process.exitcode == STARTUP_FAILURE for process in workers.processes):
        raise SystemExit(1)


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "factory": True,
        "host": settings.host,
        "port": settings.port,
        "loop": "uvloop",  # on the plain loop, several processes answer each request 44 ms late
        "http": "httptools",
        "ws": "none",
        "lifespan": "on",
        "log_level": "warning",
        "access_log": False,
        "proxy_headers": False,  # the server itself decides whom to believe, by TRUSTED_PROXIES
        "server_header": False,
        "timeout_graceful_shutdown": GRACE_SECONDS,
    }


class _WorkerConfig(uvicorn.Config):
    """What each worker loads when it begins."""

    def load(self) -> None:
        parent = multiprocessing.parent_process()
        if parent is not None and (follow := die_with_parent(parent.pid)):
            follow()
        super().load()


class _Workers(Multiprocess):
    """Starts so many processes on one socket, and starts those anew that die."""

    def terminate_all(self) -> None:
        for socket in self.sockets:
            socket.close()  # left open here, it would go on taking connections that nobody serves
        super().terminate_all()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.serve",
        description="Serve Polyclinic over HTTP. HOST, PORT, WORKERS and all else come from the environment or .env, "
        "as .env.example explains.",
    )
    parser.add_argument(
        "application", nargs="?", default=APPLICATION, help="what to serve, as module:factory [%(default)s]"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main(_arguments().application)
