"""Files over HTTP, as a front end sends and fetches them."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
from PIL import Image

from tests.fixtures.clinics import Client

PDF = b"%PDF-1.7\n" + b"A letter. " * 400
PATH = "/api/documents"


def picture(width: int = 640, height: int = 480, kind: str = "PNG") -> bytes:
    """A picture of that size."""
    out = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(out, kind)
    return out.getvalue()


def form(content: bytes, name: str = "letter.pdf", **given: Any) -> dict[str, Any]:
    """The parts of an upload, for httpx."""
    parts: list[tuple[str, Any]] = [("input", (None, json.dumps(given), "application/json"))] if given else []
    return {"files": [*parts, ("file", (name, content, "application/octet-stream"))]}


async def upload(client: Client, content: bytes = PDF, name: str = "letter.pdf", **given: Any) -> httpx.Response:
    """Sends a file."""
    client.http.cookies.clear()
    return await client.http.post(PATH, headers=headers(client), **form(content, name, **given))


async def uploaded(client: Client, content: bytes = PDF, name: str = "letter.pdf", **given: Any) -> dict[str, Any]:
    """Sends a file that must be taken; what is told of it."""
    answer = await upload(client, content, name, **given)
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()["document"]
    return told


async def fetch(client: Client, id: str, what: str = "content", **asked: str) -> httpx.Response:
    """Fetches a file."""
    client.http.cookies.clear()
    return await client.http.get(f"{PATH}/{id}/{what}", params=asked, headers=headers(client))


def headers(client: Client) -> dict[str, str]:
    """What a client without cookies sends."""
    named = {"X-Polyclinic-Client": "tests"}
    return {**named, "Authorization": f"Bearer {client.token}"} if client.token else named


def code_of(answer: httpx.Response) -> tuple[str, list[str]]:
    """The code of a failure, and the paths that it names."""
    error = answer.json()["error"]
    return error["code"], [one["path"] for one in error["fields"]]
