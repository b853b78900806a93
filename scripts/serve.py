"""Serves Polyclinic over HTTP by its settings: `python -m scripts.serve`."""

from __future__ import annotations

import sys

import uvicorn

from app.config import ConfigurationError, Settings, get_settings

APPLICATION = "app.main:create_app"


def main(application: str = APPLICATION) -> None:
    """Runs until SIGTERM or SIGINT, then lets requests finish for some seconds."""
    try:
        settings = get_settings()
    except ConfigurationError as error:
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


if __name__ == "__main__":
    main(*sys.argv[1:2])
