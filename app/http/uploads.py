"""Multipart bodies as they stream: first a part `input` with JSON, then a part `file`, which is handed on."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from app.http.body import parse_json_object
from app.http.failures import BadRequest
from app.services.documents.receiving import Incoming

LONGEST_INPUT = 16_384
OVERHEAD = 65_536
"""What a body may have beside its file."""
_MOST_HEADERS = 16


@dataclass(slots=True)
class _Part:
    """The beginning of a part."""

    name: str
    file_name: str | None


@dataclass(slots=True)
class _Data:
    """A piece of the present part, and how many bytes of the body lie before it."""

    content: bytes
    before: int


class _PartEnd:
    """The present part is over."""


class _End:
    """The body is over."""


_Event = _Part | _Data | _PartEnd | _End


class _Parts:
    """What the parser found, in the order in which it found it."""

    def __init__(self, request: Request, boundary: bytes) -> None:
        self._stream = request.stream()
        self._found: deque[_Event] = deque()
        self._header = bytearray()
        self._value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._read = 0
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._keep_header,
                "on_headers_finished": self._begin,
                "on_part_data": self._data,
                "on_part_end": lambda: self._found.append(_PartEnd()),
                "on_end": lambda: self._found.append(_End()),
            },
            max_header_count=_MOST_HEADERS,
        )

    def _keep_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _begin(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        named = options.get(b"filename")
        file_name = None if named is None else named.decode("utf-8", "replace")
        self._found.append(_Part(options.get(b"name", b"").decode("utf-8", "replace"), file_name))

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._found.append(_Data(data[start:end], self._read + start))

    async def next(self) -> _Event:
        """What comes next. Raises `BadRequest` for a body that is malformed, or is cut off."""
        while not self._found:
            try:
                chunk = await anext(self._stream)
            except StopAsyncIteration:
                raise BadRequest("The request body ends in the middle.") from None
            try:
                self._parser.write(chunk)
            except FormParserError:
                raise BadRequest("The request body is not valid multipart/form-data.") from None
            self._read += len(chunk)
        return self._found.popleft()


@dataclass(frozen=True, slots=True)
class Upload:
    """What a form says, and the file that comes with it."""

    input: dict[str, Any]
    file: Incoming


async def read_upload(request: Request) -> Upload:
    """Reads a form up to its file. Raises `BadRequest` for what is no such form; so does reading the file."""
    boundary = parse_options_header(request.headers.get("content-type"))[1].get(b"boundary", b"")
    if not boundary:
        raise BadRequest("Send multipart/form-data with the parts `input` and `file`.")
    try:
        parts = _Parts(request, boundary)
    except FormParserError:
        raise BadRequest("The request body is not valid multipart/form-data.") from None
    given: dict[str, Any] = {}
    part = await parts.next()
    if isinstance(part, _Part) and part.name == "input":
        given = parse_json_object(await _whole(parts))
        part = await parts.next()
    if not isinstance(part, _Part) or part.name != "file" or part.file_name is None:
        raise BadRequest("Send first the part `input` with JSON, then the part `file` with a file name.")
    first = await parts.next()
    return Upload(given, Incoming(part.file_name, _size(request, boundary, first), _file(parts, first)))


async def _whole(parts: _Parts) -> bytes:
    content = bytearray()
    while isinstance(found := await parts.next(), _Data):
        content += found.content
        if len(content) > LONGEST_INPUT:
            raise BadRequest(f"The part `input` must have at most {LONGEST_INPUT} bytes.")
    return bytes(content)


def _size(request: Request, boundary: bytes, first: _Event) -> int:
    """The size of the file, as it follows from the length of the body whose last part it is; 0 when nothing tells."""
    declared = request.headers.get("content-length")
    if declared is None or not isinstance(first, _Data):
        return 0
    closing = len(boundary) + len("\r\n----\r\n")
    return max(0, int(declared) - first.before - closing)


async def _file(parts: _Parts, found: _Event) -> AsyncIterator[bytes]:
    while isinstance(found, _Data):
        yield found.content
        found = await parts.next()
    if not isinstance(found, _PartEnd) or not isinstance(await parts.next(), _End):
        raise BadRequest("Nothing may follow the part `file`.")
