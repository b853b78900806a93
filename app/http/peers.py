"""What a client may say about itself, and what only our own proxies may say about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

Headers = Sequence[tuple[bytes, bytes]]
Address = IPv4Address | IPv6Address

_PORT_AT_END = re.compile(r"(?:^(?P<v4>[0-9.]+):[0-9]+$)|(?:^\[(?P<v6>[0-9A-Fa-f:.]+)\](?::[0-9]+)?$)")
_LONGEST_ADDRESS = 64
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{8,64}")
_NEVER_BELIEVED = (b"x-tenant", b"x-clinic", b"x-forwarded-", b"x-original-", b"x-rewrite-")
_NEVER_BELIEVED_ALONE = frozenset({b"forwarded", b"x-real-ip", b"x-host"})
_NO_CLAIMS = frozenset(
    name.encode()
    for name in (
        "accept accept-encoding accept-language authorization cache-control connection content-length content-type "
        "cookie host origin pragma priority referer sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest "
        "sec-fetch-mode sec-fetch-site transfer-encoding user-agent x-polyclinic-client x-request-id"
    ).split()
)
"""What nearly every header is named: no need to take a closer look."""


def header_values(headers: Headers, name: bytes) -> list[str]:
    """Every value of a header, in order. `name` is in lower case, as ASGI has it."""
    return [value.decode("latin-1") for key, value in headers if key == name]


def single_value(headers: Headers, name: bytes) -> str | None:
    """The header's value when it stands there exactly once and is no list; else None."""
    values = header_values(headers, name)
    return values[0].strip() if len(values) == 1 and "," not in values[0] else None


class Fields:
    """A request's header fields, read in one pass for all layers of the edge: without those that claim a clinic, a
    host or an address, for nothing behind may read them."""

    __slots__ = ("_values", "headers", "size")

    def __init__(self, headers: Headers) -> None:
        left: list[tuple[bytes, bytes]] = []
        values: dict[bytes, list[bytes]] = {}
        size = 0
        for field in headers:
            name, value = field
            if name not in _NO_CLAIMS and _is_claim(name):
                continue
            left.append(field)
            if name in values:
                values[name].append(value)
            else:
                values[name] = [value]
            size += len(name) + len(value)
        self.headers = left
        """What is left, as ASGI has it."""
        self.size = size
        """The bytes of all names and values that are left."""
        self._values = values

    def all(self, name: bytes) -> list[str]:
        """Every value of a field, in order. `name` is in lower case, as ASGI has it."""
        return [value.decode("latin-1") for value in self._values.get(name, ())]

    def name_host(self, authority: str) -> None:
        """Leaves this host as the only one that can be read."""
        host = authority.encode("ascii")
        self._values[b"host"] = [host]
        self.headers = [(b"host", host), *[field for field in self.headers if field[0] != b"host"]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, how and where to, as far as it can be believed."""

    address: str
    """The nearest address that is not our proxy's; empty when the server knows none."""
    scheme: str
    """`http` or `https`."""
    authority: str | None
    """The one host that the request names, not yet checked; None when it names none or several."""
    request_id: str | None = None
    """The id that our own proxy gave the request, when it is a sane one."""


class TrustedProxies:
    """The networks whose `X-Forwarded-*` headers are believed."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)

    def trusts(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._networks)

    def caller(self, asgi_scope: Mapping[str, Any], fields: Fields) -> Caller:
        """What the request tells of its caller; what it claims counts when the peer at the other end of the socket is
        one of ours. `fields` are the request's own, without the claims."""
        client = asgi_scope.get("client")
        peer = client[0] if client else ""
        hosts = fields.all(b"host")
        caller = Caller(
            address=_plain(peer),
            scheme="https" if asgi_scope.get("scheme") in {"https", "wss"} else "http",
            authority=hosts[0] if len(hosts) == 1 else None,
        )
        address = _parse_address(peer) if self._networks else None
        if address is None or not self.trusts(address):
            return caller
        return self._told_by_proxy(address, asgi_scope["headers"], caller)

    def _told_by_proxy(self, proxy: Address, headers: Headers, seen: Caller) -> Caller:
        scheme = (single_value(headers, b"x-forwarded-proto") or "").lower()
        host = single_value(headers, b"x-forwarded-host")
        return Caller(
            address=str(self._behind(proxy, headers)),
            scheme=scheme if scheme in {"http", "https"} else seen.scheme,
            authority=seen.authority if host is None else host,
            request_id=_sane_id(single_value(headers, b"x-request-id")),
        )

    def _behind(self, peer: Address, headers: Headers) -> Address:
        """The nearest address that is not our proxy's. Read from the right, because everything left of our own
        proxies' entries is the client's to invent."""
        address = peer
        chain = ",".join(header_values(headers, b"x-forwarded-for")).split(",")
        while chain and self.trusts(address):
            hop = _parse_address(chain.pop())
            if hop is None:
                break
            address = hop
        return address


def _sane_id(given: str | None) -> str | None:
    return given if given is not None and _REQUEST_ID.fullmatch(given) else None


def _is_claim(name: bytes) -> bool:
    plain = name.lower().replace(b"_", b"-")
    return plain.startswith(_NEVER_BELIEVED) or plain in _NEVER_BELIEVED_ALONE


@lru_cache(maxsize=1024)
def _plain(peer: str) -> str:
    """The peer's address as we write addresses; empty when it is none."""
    address = _parse_address(peer)
    return "" if address is None else str(address)


def _parse_address(text: str) -> Address | None:
    return _parse_short(text.strip()) if len(text) <= _LONGEST_ADDRESS else None


@lru_cache(maxsize=1024)
def _parse_short(text: str) -> Address | None:
    if with_port := _PORT_AT_END.match(text):
        text = with_port["v4"] or with_port["v6"]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
