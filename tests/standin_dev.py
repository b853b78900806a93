"""The runner of `make run` around a server that knows only `/healthz`: `python -m tests.standin_dev`."""

from __future__ import annotations

import os
from typing import Any

from pymongo import MongoClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.config import Settings, get_settings
from scripts.demo import DemoSummary, SignIn
from scripts.dev import main


def create_app() -> Starlette:
    return Starlette(routes=[Route("/healthz", healthz)])


async def healthz(_request: Request) -> JSONResponse:
    return JSONResponse({"pid": os.getpid(), "database": get_settings().mongodb_uri})


def prepare(settings: Settings) -> DemoSummary:
    """Counts its runs in the database, so that a test sees whether a second start found the data."""
    with MongoClient[dict[str, Any]](settings.mongodb_uri) as client:
        starts = client[settings.mongodb_database]["starts"]
        starts.insert_one({})
        number = starts.count_documents({})
    sign_ins = (SignIn(f"start-{number}", "admin", "ada@demo.example", "a long demo password"),)
    return DemoSummary(created=number == 1, sign_ins=sign_ins)


if __name__ == "__main__":
    raise SystemExit(main("tests.standin_dev:create_app", prepare))
