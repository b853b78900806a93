"""`POST /graphql`: from bytes to an operation and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from graphql import ExecutionResult, GraphQLError
from starlette.requests import Request
from starlette.responses import Response

from app.auth.cookies import set_cookie
from app.config import Settings
from app.errors import ErrorCode
from app.graphql.context import Context
from app.graphql.failures import render, status_of
from app.graphql.operations import Operations
from app.graphql.operations import Request as Operation
from app.http.body import read_json
from app.http.csrf import CLIENT_HEADER
from app.http.failures import BadRequest
from app.http.peers import header_values
from app.http.state import request_state


class GraphQLEndpoint:
    """Serves one schema. Expected failures come back by code; anything else as INTERNAL and a request id."""

    def __init__(self, operations: Operations, settings: Settings) -> None:
        self._operations = operations
        self._settings = settings

    async def answer(self, request: Request) -> Response:
        operation = _operation(await read_json(request))
        context = self._context(request)
        result = await self._operations.run(operation, context)
        response = _answer(request, result)
        if context.session_token is not None:
            response.headers.append("set-cookie", set_cookie(self._settings, context.session_token))
        return response

    def _context(self, request: Request) -> Context:
        headers = request.scope["headers"]
        return Context(
            settings=self._settings,
            api_client=bool(header_values(headers, CLIENT_HEADER)),
            device="".join(header_values(headers, b"user-agent"))[:200],
        )


def _place(error: GraphQLError) -> tuple[int, int]:
    """Where in the document an error is: fields run side by side, but their errors come in one order."""
    return (error.locations[0].line, error.locations[0].column) if error.locations else (0, 0)


def _operation(body: Mapping[str, Any]) -> Operation:
    query = body.get("query")
    variables = body.get("variables")
    name = body.get("operationName")
    if not isinstance(query, str) or not query.strip():
        raise BadRequest.at("query", "must be a GraphQL document")
    if not isinstance(variables, dict | None):
        raise BadRequest.at("variables", "must be an object")
    if not isinstance(name, str | None):
        raise BadRequest.at("operationName", "must be text")
    return Operation(query, variables or {}, name or None)


def _answer(request: Request, result: ExecutionResult) -> Response:
    state = request_state(request.scope)
    errors = [render(error, state.request_id) for error in sorted(result.errors or (), key=_place)]
    body: dict[str, Any] = {"errors": errors} if errors else {}
    codes = [ErrorCode(error["extensions"]["code"]) for error in errors]
    if codes:
        state.code = codes[0].value
    started = result.data is not None or not errors or any(error.path for error in result.errors or ())
    if started:
        body["data"] = result.data
    status = status_of(result.data, codes) if started else 400
    return Response(orjson.dumps(body), status, media_type="application/json")
