"""Host name → clinic: pure functions over untrusted text. Nothing here reads a header or a database."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

_MAX_LENGTH = 253
_LABEL = r"[a-z0-9_-]{1,63}"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_SUBDOMAIN = re.compile(r"[a-z0-9][a-z0-9-]{0,61}[a-z0-9]")
_PORT = re.compile(r"[0-9]{1,5}")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_PREVIEW_MARK = "---"


class BadHost(ValueError):
    """The text is no host name at all. It is not repeated in the message, for it may be anything."""

    def __init__(self) -> None:
        super().__init__("malformed host")


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host in canonical form, and the port as it was given (1–65535) or None."""

    host: str
    port: int | None

    @property
    def authority(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Root:
    """The system's own host: no clinic."""


@dataclass(frozen=True, slots=True)
class Clinic:
    """A host that names a clinic; whether such a clinic exists is for the directory to say."""

    subdomain: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A well-formed host that is not ours, or one that no clinic can have (`b.a.apex` among them)."""


Outcome = Root | Clinic | Unknown


def parse_host(raw: str) -> HostPort:
    """`Clinic-A.Example.com.:8000` → host `clinic-a.example.com`, port 8000.

    One trailing dot is dropped. Raises `BadHost` on user info, blanks, commas, empty or overlong labels,
    anything outside ASCII, and ports that are empty or out of range.
    """
    if len(raw) > _MAX_LENGTH + len(".:65535") or not raw.isascii():
        raise BadHost
    return _parse(raw)


def normalise_host(raw: str) -> str:
    """The canonical host without its port. Raises `BadHost`."""
    return parse_host(raw).host


def is_subdomain(text: str) -> bool:
    """Whether a clinic's subdomain can look like this: 2–63 of `a-z0-9-`, no hyphen at an edge."""
    return _SUBDOMAIN.fullmatch(text) is not None


def resolve_host(raw: str, *, root_domain: str, preview_domain: str | None, development: bool) -> Outcome:
    """Which of the three kinds a host is. Raises `BadHost`. `x.localhost` counts in development alone."""
    host = normalise_host(raw)
    if development and host in _LOOPBACK:
        return Root()
    if development and host.endswith(".localhost"):
        return _under(host.removesuffix(".localhost"))
    if preview_domain and host.endswith(f".{preview_domain}"):
        return _preview(host.removesuffix(f".{preview_domain}"))
    if host == root_domain:
        return Root()
    if host.endswith(f".{root_domain}"):
        return _under(host.removesuffix(f".{root_domain}"))
    return Unknown()


def extract_subdomain(
    host: str, *, root_domain: str, preview_domain: str | None = None, development: bool = False
) -> str | None:
    """The clinic's subdomain that the host names, or None. Raises `BadHost`."""
    outcome = resolve_host(host, root_domain=root_domain, preview_domain=preview_domain, development=development)
    return outcome.subdomain if isinstance(outcome, Clinic) else None


@lru_cache(maxsize=1024)  # a pure function of short text, asked several times for every request
def _parse(raw: str) -> HostPort:
    name, port = _split_port(raw)
    return HostPort(_canonical(name.lower()), port)


def _split_port(raw: str) -> tuple[str, int | None]:
    end_of_name = raw.rfind("]") + 1  # the colons of an IPv6 address stand in brackets
    colon = raw.find(":", end_of_name)
    if colon < 0:
        return raw, None
    name, digits = raw[:colon], raw[colon + 1 :]
    if not _PORT.fullmatch(digits) or not 1 <= int(digits) <= 65535:
        raise BadHost
    return name, int(digits)


def _canonical(name: str) -> str:
    if name.startswith("[") and name.endswith("]"):
        return _canonical_ipv6(name[1:-1])
    name = name.removesuffix(".")
    if len(name) > _MAX_LENGTH or not _NAME.fullmatch(name):
        raise BadHost
    return name


def _canonical_ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        raise BadHost from None
    if address.scope_id is not None:
        raise BadHost
    return f"[{address}]"


def _under(label: str) -> Outcome:
    if label == "www":
        return Root()
    return Clinic(label) if is_subdomain(label) else Unknown()


def _preview(label: str) -> Outcome:
    tenant, mark, rest = label.partition(_PREVIEW_MARK)
    if not mark or not rest or "." in rest:
        return Unknown()
    return Clinic(tenant) if is_subdomain(tenant) else Unknown()
