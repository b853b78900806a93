"""The one way to addresses that clinics choose: to public ones over https, and to nothing in our own network.

The host is looked up once, every address that it has must be public, and the connection goes to the very address that
was judged, so that a name which leads elsewhere a moment later gains nothing.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

import orjson

from app.late import late

if TYPE_CHECKING:
    import httpx
else:
    httpx = late("httpx")

TOTAL_SECONDS = 10.0
TIMEOUT = (3.0, 5.0, 5.0, 5.0)
"""Seconds to connect, to read, to write and to wait for a connection."""
MAX_BYTES = 262_144
LONGEST_URL = 2_000
MOST_TRIED = 2
LAST_PORT = 65_535

Address = IPv4Address | IPv6Address
Body = Mapping[str, str] | bytes | None
"""What is sent along: the fields of a form, or bytes as they are."""

_PORTS = {"http": 80, "https": 443}
_SPECIAL = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
"""IPv4 addresses that Python calls global and that no server has (RFC 6890, RFC 7526)."""
_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"), IPv6Network("::/96"))
"""IPv6 addresses that stand for IPv4 ones (RFC 6052, RFC 8215, RFC 4291)."""


class OutboundError(Exception):
    """The call was not made, or its answer cannot be used. The text says why, and holds nothing of the answer."""


@dataclass(frozen=True, slots=True)
class Reached:
    """An answer: its status and its whole body."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises `OutboundError` for anything else."""
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise OutboundError("the answer is not JSON") from None
        if not isinstance(value, dict):
            raise OutboundError("the answer is no JSON object")
        return value


def url_fault(url: str, *, loopback: bool) -> str | None:
    """What keeps an address from being called, as far as its text shows; None when nothing does.

    With `loopback` an address of this machine may be called, without TLS too: for development and tests.
    """
    if len(url) > LONGEST_URL or not url.isascii() or any(char <= " " or char in '\\"<>' for char in url):
        return "is not a web address"
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return "is not a web address"
    if not parsed.host or parsed.userinfo or parsed.fragment:
        return "must have a host, and no user and no fragment"
    if parsed.port is not None and not 1 <= parsed.port <= LAST_PORT:
        return "has a port that none can be"
    literal = _literal(parsed.host)
    if loopback and (parsed.host == "localhost" or (literal is not None and literal.is_loopback)):
        return None if parsed.scheme in ("http", "https") else "must begin with https://"
    if parsed.scheme != "https":
        return "must begin with https://"
    if literal is not None and not is_public(literal):
        return "must not lead into a private network"
    return None


def is_public(address: Address) -> bool:
    """Whether an address is of the public internet: not of this machine, a private or shared network, a link (where
    clouds keep their metadata), a multicast group, or one that stands for another within it."""
    if isinstance(address, IPv6Address):
        inside = address.ipv4_mapped or address.sixtofour or address.teredo
        if inside is not None or any(address in network for network in _TRANSLATED):
            return False
    if isinstance(address, IPv4Address) and any(address in network for network in _SPECIAL):
        return False
    return address.is_global and not address.is_reserved and not address.is_multicast


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


async def fetch(
    method: str,
    url: str,
    *,
    loopback: bool,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> Reached:
    """Calls an address once: no redirects, no proxy, no cookies, within ten seconds, at most 256 KiB.

    Raises `OutboundError`.
    """
    if fault := url_fault(url, loopback=loopback):
        raise OutboundError(f"the address {fault}")
    try:
        async with asyncio.timeout(TOTAL_SECONDS):
            return await _call(method, httpx.URL(url), loopback, headers or {}, form or content)
    except TimeoutError:
        raise OutboundError("no answer in time") from None
    except (httpx.HTTPError, OSError, ssl.SSLError) as error:
        raise OutboundError(f"no connection: {type(error).__name__}") from None


async def _call(method: str, url: httpx.URL, loopback: bool, headers: Mapping[str, str], body: Body) -> Reached:
    """Tries the host's addresses in turn until one takes the connection; what was sent is never sent again."""
    addresses = await resolve(url.host, url.port or _PORTS[url.scheme], loopback=loopback)
    told = {**headers, "host": url.netloc.decode("ascii"), "accept-encoding": "identity"}
    for address in addresses[:-1][:MOST_TRIED]:
        try:
            return await _send(method, url, address, told, body)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            continue
    return await _send(method, url, addresses[-1], told, body)


async def _send(method: str, url: httpx.URL, address: Address, headers: Mapping[str, str], body: Body) -> Reached:
    there = url.copy_with(host=str(address))
    sent: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"data": body}
    extensions = {"sni_hostname": url.host}  # the certificate must be the name's, not the address's
    # Each call has a client of its own: a pool knows connections by address, and would lend one of another name.
    async with (
        httpx.AsyncClient(verify=_trusted(), trust_env=False, follow_redirects=False, timeout=TIMEOUT) as client,
        client.stream(method, there, headers=headers, **sent, extensions=extensions) as response,
    ):
        return Reached(response.status_code, await _read(response))


async def _read(response: httpx.Response) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise OutboundError("the answer is compressed, which was not asked for")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BYTES:
            raise OutboundError("the answer is too long")
    return bytes(body)


async def resolve(host: str, port: int, *, loopback: bool) -> list[Address]:
    """The addresses to connect to. Raises `OutboundError` unless every address of the host is public (or, with
    `loopback`, this machine's)."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a label that is too long for any name
        raise OutboundError("the host is not known") from None
    addresses = [ip_address(str(one[4][0]).partition("%")[0]) for one in found]
    if not addresses or not all(is_public(one) or (loopback and one.is_loopback) for one in addresses):
        raise OutboundError("the host leads into a private network")
    return list(dict.fromkeys(addresses))


@cache
def _trusted() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
