"""Reading JSON bodies strictly."""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Any

import orjson
from starlette.requests import Request

from app.http.failures import BadRequest

MAX_DEPTH = 64

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)  # an unclosed one reaches to the end: linear time
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


async def read_json(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises `BadRequest` (400) for anything else.

    Refused are broken JSON and UTF-8, lone surrogates, NaN and infinities, arrays and scalars at the top,
    and more than 64 levels. Of a key given twice the last counts.
    """
    return parse_json_object(await request.body())


def parse_json_object(body: bytes) -> dict[str, Any]:
    """As `read_json`, for bytes that were read already."""
    if not body.strip():
        raise BadRequest("The request body is empty.")
    if nesting(body) > MAX_DEPTH:
        raise BadRequest(f"The request body is nested deeper than {MAX_DEPTH} levels.")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("The request body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise BadRequest("The request body must be a JSON object.")
    return value


def nesting(body: bytes) -> int:
    """A bound, found without parsing, above which the levels of valid JSON cannot go."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return body.count(b"[") + body.count(b"{")
    brackets = _STRING.sub(b"", body).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)
