"""Addresses that clinics choose lead to public hosts alone, whatever name or spelling stands for them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from app.integrations import outbound
from app.integrations.outbound import Address, OutboundError, fetch, is_public, resolve, url_fault

PRIVATE = [
    IPv4Network(one) for one in ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254",
        "192.0.0.192", "192.0.0.8", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:10.0.0.1", "::ffff:8.8.8.8",
        "::127.0.0.1", "2002:7f00:1::", "64:ff9b::a00:1", "64:ff9b:1::1", "2001:db8::1",
        "2001:0:53aa:64c:0:7ffe:80ff:fffe",
    ],
)  # fmt: skip
def test_addresses_of_machines_networks_links_and_clouds_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::200e"])
def test_public_addresses_are(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.sampled_from(PRIVATE).flatmap(lambda net: st.integers(int(net[0]), int(net[-1]))))
def test_no_private_address_is_public_in_whatever_ipv6_form(number: int) -> None:
    inner = IPv4Address(number)
    forms: list[Address] = [
        inner,
        IPv6Address(f"::ffff:{inner}"),
        IPv6Address(int(inner)),
        IPv6Address((0x2002 << 112) | (number << 80)),
        IPv6Address(int(IPv6Address("64:ff9b::")) | number),
    ]
    assert not any(is_public(one) for one in forms)


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example.org", "ftp://login.example.org", "file:///etc/passwd", "https://", "login.example.org",
        "https://user@login.example.org", "https://user:pass@login.example.org", "https://login.example.org#part",
        "https://127.0.0.1", "https://[::1]:8443/x", "https://169.254.169.254/latest/meta-data", "https://[::ffff:7f00:1]",
        "https://10.0.0.1", "https://exa mple.org", "https://example.org\\@evil.org", "https://exämple.org",
        "https://example.org/\r\nX: y", "https://example.org/" + "x" * 2_000, "javascript:alert(1)", "https://localhost:99999",
    ],
)  # fmt: skip
def test_an_address_that_must_not_be_called_is_seen_in_its_text(url: str) -> None:
    assert url_fault(url, loopback=False)


@pytest.mark.parametrize("url", ["https://login.example.org", "https://login.example.org:8443/realms/a?x=1"])
def test_an_address_of_a_public_host_is_fine(url: str) -> None:
    assert url_fault(url, loopback=False) is None


async def test_http_is_for_this_machine_alone_and_only_where_that_is_allowed() -> None:
    assert url_fault("http://127.0.0.1:9/x", loopback=True) is None
    assert url_fault("http://localhost:9/x", loopback=True) is None
    for url in ("http://10.0.0.1", "http://login.example.org", "https://10.0.0.1"):
        assert url_fault(url, loopback=True)


Lookup = Callable[[str], list[str]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What a name server says: names → addresses. Everything else is unknown."""
    known: dict[str, list[str]] = {}

    async def getaddrinfo(self: Any, host: str, port: int, **_: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror("unknown")
        kinds = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [(kinds[ip_address(one).version], socket.SOCK_STREAM, 6, "", (one, port)) for one in known[host]]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return known


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["8.8.8.8", "10.0.0.1"], ["fd00::1"], ["8.8.8.8", "::1"], []],
    ids=str,
)
async def test_a_name_that_leads_inside_is_refused_even_when_it_leads_outside_too(
    names: dict[str, list[str]], addresses: list[str]
) -> None:
    names["login.example.org"] = addresses
    with pytest.raises(OutboundError, match="private network"):
        await fetch("GET", "https://login.example.org/x", loopback=False)


async def test_odd_spellings_of_addresses_are_judged_by_what_they_lead_to() -> None:
    """`getaddrinfo` reads these as addresses of this machine."""
    for host in ("2130706433", "0x7f000001", "127.1", "0177.0.0.1", "localhost", "a" * 64 + ".org", ""):
        with pytest.raises(OutboundError):
            await resolve(host, 443, loopback=False)


async def test_the_connection_goes_to_the_very_address_that_was_judged(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the name is looked up once, and a second answer could lead nowhere."""
    names["login.example.org"] = ["203.0.114.7"]
    asked: list[tuple[str, str, Any]] = []

    async def send(method: str, url: Any, address: Any, headers: Any, form: Any) -> outbound.Reached:
        names["login.example.org"] = ["127.0.0.1"]
        asked.append((str(address), headers["host"], url.host))
        return outbound.Reached(200, b"{}")

    monkeypatch.setattr(outbound, "_send", send)
    await fetch("GET", "https://login.example.org:8443/x", loopback=False)
    assert asked == [("203.0.114.7", "login.example.org:8443", "login.example.org")]


# --- over a socket ----------------------------------------------------------------------------------------------------


class _Odd(BaseHTTPRequestHandler):
    seen: list[str] = []

    def do_GET(self) -> None:
        _Odd.seen.append(f"{self.path} {self.headers['Host']}")
        if self.path == "/redirect":
            self._answer(302, b"", Location="/target")
        elif self.path == "/long":
            self._answer(200, b"x" * (outbound.MAX_BYTES + 1))
        elif self.path == "/compressed":
            self._answer(200, b"\x1f\x8b", **{"Content-Encoding": "gzip"})
        elif self.path == "/slow":
            threading.Event().wait(1.5)
            self._answer(200, b"{}")
        else:
            self._answer(200, b'{"fine": true}')

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def odd_server(tls: ssl.SSLContext | None = None) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Odd)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_answers_are_bounded_and_redirects_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "TOTAL_SECONDS", 0.5)
    _Odd.seen.clear()
    with odd_server() as url:
        assert (await fetch("GET", f"{url}/x", loopback=True)).json() == {"fine": True}
        assert (await fetch("GET", f"{url}/redirect", loopback=True)).status == 302
        for path, said in (("/long", "too long"), ("/compressed", "compressed"), ("/slow", "in time")):
            with pytest.raises(OutboundError, match=said):
                await fetch("GET", url + path, loopback=True)
        assert not [one for one in _Odd.seen if one.startswith("/target")]
        assert _Odd.seen[0] == f"/x {url.removeprefix('http://')}"
        with pytest.raises(OutboundError):
            await fetch("GET", f"{url}/x", loopback=False)


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with odd_server() as url:
        assert (await fetch("GET", f"{url}/x", loopback=True)).status == 200


# --- TLS --------------------------------------------------------------------------------------------------------------


def certificate_for(name: str, folder: Path) -> Path:
    """A self-signed certificate of that name, with its key, as one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    moment = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(minutes=5))
        .not_valid_after(moment + timedelta(minutes=5))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = folder / f"{name}.pem"
    file.write_bytes(made.public_bytes(Encoding.PEM) + private)
    return file


@pytest.mark.parametrize(("asked", "good"), [("login.example.org", True), ("other.example.org", False)])
async def test_the_certificate_must_be_the_names_though_the_connection_goes_to_an_address(
    names: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, good: bool
) -> None:
    pem = certificate_for("login.example.org", tmp_path)
    trusted = ssl.create_default_context(cafile=str(pem))
    monkeypatch.setattr(outbound, "_trusted", lambda: trusted)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(pem)
    names[asked] = ["127.0.0.1"]
    with odd_server(own) as url:
        port = url.rpartition(":")[2]
        call = fetch("GET", f"https://{asked}:{port}/x", loopback=True)
        if good:
            assert (await call).json() == {"fine": True}
        else:
            with pytest.raises(OutboundError, match="no connection"):
                await call
