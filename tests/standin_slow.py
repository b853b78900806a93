"""The application, whose GraphQL requests take a while: what happens to them when the server is told to end?"""

from __future__ import annotations

import asyncio
import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from app import main
from app.http.graphql import GraphQLEndpoint

BEGUN = b"begun\n"
SECONDS = 2.0


def create_app() -> Starlette:
    """Tells on standard output when a request has begun."""
    answer = GraphQLEndpoint.answer

    async def slowly(endpoint: GraphQLEndpoint, request: Request) -> Response:
        os.write(1, BEGUN)
        await asyncio.sleep(SECONDS)
        return await answer(endpoint, request)

    setattr(GraphQLEndpoint, "answer", slowly)  # noqa: B010 - a method is replaced on purpose
    return main.create_app()
