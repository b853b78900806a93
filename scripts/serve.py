"""Serves Polyclinic over HTTP by its settings: `python -m scripts.serve`."""

from __future__ import annotations

import argparse
import sys

import uvicorn

from app.config import ConfigurationError, Settings, get_settings
from scripts.start_checks import StartError, check_mongodb, check_port

APPLICATION = "app.main:create_app"


def main(application: str = APPLICATION) -> None:
    """Runs until SIGTERM or SIGINT, then lets requests finish for some seconds.

    Ends with code 1 and a sentence when settings, port or database do not allow a start: were that left to the
    processes below, each would tell it by a traceback, and several together would even end with code 0.
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
    uvicorn.run(
        application,
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",  # on the plain loop, several processes answer each request 44 ms late
        http="httptools",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # the server itself decides whom to believe, by TRUSTED_PROXIES
        server_header=False,
        timeout_graceful_shutdown=5,
    )


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
