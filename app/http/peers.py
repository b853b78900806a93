"""What a client may say about itself, and what only our own proxies may say about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

Headers = Sequence[tuple[bytes, bytes]]

_PORT_AT_END = re.compile(r"(?:^(?P<v4>[0-9.]+):[0-9]+$)|(?:^\[(?P<v6>[0-9A-Fa-f:.]+)\](?::[0-9]+)?$)")
_LONGEST_ADDRESS = 64
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{8,64}")
_NEVER_BELIEVED = (b"x-tenant", b"x-clinic", b"x-forwarded-", b"x-original-", b"x-rewrite-")
_NEVER_BELIEVED_ALONE = frozenset({b"forwarded", b"x-real-ip", b"x-host"})


def header_values(headers: Headers, name: bytes) -> list[str]:
    """Every value of a header, in order. `name` is in lower case, as ASGI has it."""
    return [value.decode("latin-1") for key, value in headers if key == name]


def single_value(headers: Headers, name: bytes) -> str | None:
    """The header's value when it stands there exactly once and is no list; else None."""
    values = header_values(headers, name)
    return values[0].strip() if len(values) == 1 and "," not in values[0] else None


def without_claims(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers without those that claim a clinic, a host or an address: nothing behind may read them."""
    return [(name, value) for name, value in headers if not _is_claim(name)]


class TrustedProxies:
    """The networks whose `X-Forwarded-*` headers are believed."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)

    def trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(
            address.version == network.version and address in network for network in self._networks
        )

    def from_proxy(self, asgi_scope: Mapping[str, Any]) -> bool:
        """Whether the peer at the other end of the socket is one of ours."""
        return bool(self._networks) and self.trusts(_peer(asgi_scope))

    def client_address(self, asgi_scope: Mapping[str, Any]) -> str:
        """The nearest address that is not our proxy's; empty when the server knows none.

        Read from the right, because everything left of our own proxies' entries is the client's to invent.
        """
        address = _peer(asgi_scope)
        chain: list[str] = []
        if self.trusts(address):
            chain = ",".join(header_values(asgi_scope["headers"], b"x-forwarded-for")).split(",")
        while chain and self.trusts(address):
            hop = _parse_address(chain.pop())
            if hop is None:
                break
            address = hop
        return "" if address is None else str(address)

    def authority(self, asgi_scope: Mapping[str, Any]) -> str | None:
        """The one host that the request names, not yet checked; None when it names none or several."""
        headers = asgi_scope["headers"]
        forwarded = single_value(headers, b"x-forwarded-host") if self.from_proxy(asgi_scope) else None
        if forwarded is not None:
            return forwarded
        hosts = header_values(headers, b"host")
        return hosts[0] if len(hosts) == 1 else None

    def scheme(self, asgi_scope: Mapping[str, Any]) -> str:
        """`http` or `https`."""
        if self.from_proxy(asgi_scope):
            forwarded = (single_value(asgi_scope["headers"], b"x-forwarded-proto") or "").lower()
            if forwarded in {"http", "https"}:
                return forwarded
        return "https" if asgi_scope.get("scheme") in {"https", "wss"} else "http"

    def request_id(self, asgi_scope: Mapping[str, Any]) -> str | None:
        """The id that our own proxy gave the request, when it is a sane one."""
        given = single_value(asgi_scope["headers"], b"x-request-id") if self.from_proxy(asgi_scope) else None
        return given if given is not None and _REQUEST_ID.fullmatch(given) else None


def _is_claim(name: bytes) -> bool:
    plain = name.lower().replace(b"_", b"-")
    return plain.startswith(_NEVER_BELIEVED) or plain in _NEVER_BELIEVED_ALONE


def _peer(asgi_scope: Mapping[str, Any]) -> IPv4Address | IPv6Address | None:
    client = asgi_scope.get("client")
    return _parse_address(client[0]) if client else None


def _parse_address(text: str) -> IPv4Address | IPv6Address | None:
    return _parse_short(text.strip()) if len(text) <= _LONGEST_ADDRESS else None


@lru_cache(maxsize=1024)
def _parse_short(text: str) -> IPv4Address | IPv6Address | None:
    if with_port := _PORT_AT_END.match(text):
        text = with_port["v4"] or with_port["v6"]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
