"""`POST /graphql`: from bytes to an operation and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
from graphql import ExecutionResult, GraphQLError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.auth.browser import session_cookies
from app.auth.cookies import set_patient_cookie
from app.config import Settings
from app.errors import AppError, ErrorCode, Forbidden, NotFound
from app.graphql.context import Context
from app.graphql.failures import expected, render, status_of
from app.graphql.fair_share import ClientGone
from app.graphql.operations import ChangeByReading, Operations
from app.graphql.operations import Request as Operation
from app.graphql.persisted import HASH
from app.http.answers import failure_headers
from app.http.body import parse_json_object, read_json
from app.http.csrf import CLIENT_HEADER, origin_text
from app.http.failures import BadRequest
from app.http.peers import header_values
from app.http.state import request_state
from models.persisted_document import DOCUMENT_ID
from models.values import without_invisible

READING = frozenset({"GET", "HEAD"})


class GraphQLEndpoint:
    """Serves one schema. Expected failures come back by code; anything else as INTERNAL and a request id."""

    def __init__(self, operations: Operations, settings: Settings) -> None:
        self._operations = operations
        self._settings = settings

    async def answer(self, request: Request) -> Response:
        operation = _asked(request) if request.method in READING else _operation(await _one_operation(request))
        context = self._context(request)
        response = _answer(request, await self._run(operation, context), context)
        if context.session_token is not None:
            for value in session_cookies(self._settings, context.session_token):
                response.headers.append("set-cookie", value)
        if context.patient_token is not None:
            response.headers.append("set-cookie", set_patient_cookie(self._settings, context.patient_token))
        return response

    def or_page(self, page: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint for GET that answers persisted queries, and shows `page` to everybody else."""

        async def answer(request: Request) -> Response:
            return await (self.answer if _asks_by_reading(request) else page)(request)

        return answer

    async def _run(self, operation: Operation, context: Context) -> ExecutionResult:
        try:
            return await self._operations.run(operation, context)
        except ClientGone:
            raise ClientDisconnect from None
        except AppError as error:  # refused before it was started: told like a failed operation, with its cost
            return ExecutionResult(None, [GraphQLError(error.message, original_error=error)])

    def _context(self, request: Request) -> Context:
        headers = request.scope["headers"]
        return Context(
            settings=self._settings,
            api_client=bool(header_values(headers, CLIENT_HEADER)),
            device=_line("".join(header_values(headers, b"user-agent"))),
            origin=origin_text(request_state(request.scope)),
            gone=partial(_left, request),
        )


def _place(error: GraphQLError) -> tuple[int, int]:
    """Where in the document an error is: fields run side by side, but their errors come in one order."""
    return (error.locations[0].line, error.locations[0].column) if error.locations else (0, 0)


async def _left(request: Request) -> None:
    """Returns when the client has closed the connection, whose body was read to its end."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _line(text: str) -> str:
    """What a client calls itself, as it may be stored and shown: one line without control or invisible characters."""
    return " ".join(without_invisible(text[:400]).split())[:200]


async def _one_operation(request: Request) -> dict[str, Any]:
    if (await request.body()).lstrip().startswith(b"["):
        raise BadRequest("Batches are not taken: send each operation as a request of its own.")
    return await read_json(request)


def _asks_by_reading(request: Request) -> bool:
    return not request.query_params.keys().isdisjoint(("documentId", "extensions", "query"))


def _asked(request: Request) -> Operation:
    """A persisted query asked for by GET. The header that no foreign page can send proves, as it does for POST, that
    the browser's session is not used by somebody else's link."""
    if not _asks_by_reading(request):
        raise NotFound("There is nothing to read here: send operations by POST.")
    if not any(value.strip() for value in header_values(request.scope["headers"], CLIENT_HEADER)):
        raise Forbidden("A query by GET must carry X-Polyclinic-Client.")
    given = request.query_params
    if "query" in given:
        raise BadRequest.at("query", "is taken by POST alone: GET runs persisted queries")
    if len(given.multi_items()) != len(given.keys()):
        raise BadRequest("A parameter is given twice.")
    body: dict[str, Any] = {name: given[name] for name in ("documentId", "operationName") if name in given}
    for name in ("variables", "extensions"):
        if name in given:
            body[name] = parse_json_object(given[name].encode("utf-8", "surrogatepass"))
    return replace(_operation(body), reads_only=True)


def _operation(body: Mapping[str, Any]) -> Operation:
    query = body.get("query")
    variables = body.get("variables")
    name = body.get("operationName")
    document = _document(body)
    given = query is not None or document is None
    if given and not (isinstance(query, str) and query.strip()):
        raise BadRequest.at("query", "must be a GraphQL document")
    if not isinstance(variables, dict | None):
        raise BadRequest.at("variables", "must be an object")
    if not isinstance(name, str | None):
        raise BadRequest.at("operationName", "must be text")
    return Operation(query, variables or {}, name or None, document)


def _document(body: Mapping[str, Any]) -> str | None:
    """The id or hash of a persisted document: `documentId`, or what Apollo's clients send."""
    asked = _apollo_hash(body.get("extensions"))
    id = body.get("documentId")
    if id is None:
        return asked
    if not isinstance(id, str) or not DOCUMENT_ID.fullmatch(id):
        raise BadRequest.at("documentId", "must be the id of a document")
    id = id.removeprefix("sha256:")
    if asked not in (None, id):
        raise BadRequest.at("documentId", "is not the document of extensions.persistedQuery")
    return id


def _apollo_hash(extensions: Any) -> str | None:
    if not isinstance(extensions, dict | None):
        raise BadRequest.at("extensions", "must be an object")
    persisted = (extensions or {}).get("persistedQuery")
    if persisted is None:
        return None
    if not isinstance(persisted, dict) or persisted.get("version") != 1:
        raise BadRequest.at("extensions.persistedQuery", "must be of version 1")
    found = persisted.get("sha256Hash")
    if not isinstance(found, str) or not HASH.fullmatch(found.lower()):
        raise BadRequest.at("extensions.persistedQuery.sha256Hash", "must be a SHA-256 in hex")
    return found.lower()


def _answer(request: Request, result: ExecutionResult, context: Context) -> Response:
    state = request_state(request.scope)
    failures = sorted(result.errors or (), key=_place)
    errors = [render(error, state.request_id) for error in failures]
    body: dict[str, Any] = {"errors": errors} if errors else {}
    codes = [ErrorCode(error["extensions"]["code"]) for error in errors]
    if codes:
        state.code = codes[0].value
    known = [found for error in failures if (found := expected(error.original_error)) is not None]
    started = result.data is not None or not errors or any(error.path for error in failures)
    if started:
        body["data"] = result.data
        status = status_of(result.data, codes)
    else:
        status = known[0].http_status if known else 400
    body["extensions"] = {"cost": context.cost}
    return Response(orjson.dumps(body), status, _headers(known), media_type="application/json")


def _headers(known: Sequence[AppError]) -> dict[str, str]:
    """`Retry-After` whenever something was refused for now, also when other data came and the status is 200: the
    longest of them, after which a repeat gets all. `Allow` where the method was wrong."""
    waits = [int(wait) for error in known if (wait := failure_headers(error).get("retry-after"))]
    headers = {"retry-after": str(max(waits))} if waits else {}
    if any(isinstance(error, ChangeByReading) for error in known):
        headers["allow"] = "POST"
    return headers
