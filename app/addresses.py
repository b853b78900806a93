"""Whether the settings' addresses of outside systems can be used. Nothing of an address is ever in a complaint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.errors import MessageError
from email.headerregistry import Address
from ipaddress import ip_address
from urllib.parse import parse_qs, unquote, urlsplit

TWILIO = "https://api.twilio.com"
BLOB_OPTIONS: Mapping[str, frozenset[str]] = {
    "s3": frozenset({"region", "endpoint"}),
    "gs": frozenset({"credentials"}),
    "az": frozenset(),
}
"""Schemes of a `BLOB_URL` beside `file`, and what may stand behind its question mark."""
PAYPAL = "https://api-m.paypal.com"
PAYPAL_SANDBOX = "https://api-m.sandbox.paypal.com"
_NO_BLOB_URL = "must be file:FOLDER, s3://KEY:SECRET@BUCKET/PREFIX, gs://BUCKET/PREFIX or az://ACCOUNT:KEY@CONTAINER"
_PHONE = re.compile(r"\+[1-9]\d{6,14}")
"""E.164."""


def is_loopback(host: str) -> bool:
    """Whether the host is this machine, where no wire is to be protected."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def mail_url_fault(url: str) -> str | None:
    """What is wrong with a `MAIL_URL`, or None."""
    if url.startswith("file:"):
        return _folder_fault(url)
    try:
        parts = urlsplit(url)
        bare = parts.path in ("", "/") and not parts.query and not parts.fragment
        fits = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0 and bare
    except ValueError:
        fits = False
    return None if fits else "must be smtp://user:password@host:port, smtps://… or file:FOLDER"


def sms_url_fault(url: str) -> str | None:
    """What is wrong with an `SMS_URL`, or None."""
    if url.startswith("file:"):
        return _folder_fault(url)
    try:
        parts = urlsplit(url)
        base = urlsplit(parse_qs(parts.query).get("base", [TWILIO])[0])
        fits = parts.scheme == "twilio" and bool(parts.username and parts.password)
        fits = fits and bool(_PHONE.fullmatch(unquote(parts.hostname or "")))
        safe = base.scheme == "https" or (base.scheme == "http" and is_loopback(base.hostname or ""))
    except ValueError:
        fits = safe = False
    if not fits:
        return "must be twilio://SID:TOKEN@+12125550100 or file:FOLDER"
    return None if safe else "must have a base that begins with https://"


def blob_url_fault(url: str) -> str | None:
    """What is wrong with a `BLOB_URL`, or None."""
    if url.startswith("file:"):
        return _folder_fault(url)
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query, strict_parsing=bool(parts.query))
        endpoint = urlsplit(options.get("endpoint", ["https://"])[0])
        whole = bool(parts.username) == bool(parts.password) and parts.port is None and not parts.fragment
        safe = endpoint.scheme == "https" or (endpoint.scheme == "http" and is_loopback(endpoint.hostname or ""))
    except ValueError:
        return _NO_BLOB_URL
    if parts.scheme not in BLOB_OPTIONS or not parts.hostname or not whole:
        return _NO_BLOB_URL
    if not options.keys() <= BLOB_OPTIONS[parts.scheme]:
        return f"may have these options and no others: {', '.join(sorted(BLOB_OPTIONS[parts.scheme])) or 'none'}"
    return None if safe else "must have an endpoint that begins with https://"


def jobs_url_fault(url: str) -> str | None:
    """What is wrong with a `JOBS_URL`, or None."""
    try:
        parts = urlsplit(url)
        bare = bool(re.fullmatch(r"(/\d{0,3})?", parts.path)) and not parts.query and not parts.fragment
        fits = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0 and bare
    except ValueError:
        fits = False
    return None if fits else "must be redis://user:password@host:port/number or rediss://…"


def paypal_url_fault(url: str) -> str | None:
    """What is wrong with a `PAYPAL_URL`, or None: PayPal itself, its sandbox, or a simulator on this machine."""
    if url in (PAYPAL, PAYPAL_SANDBOX):
        return None
    try:
        parts = urlsplit(url)
        bare = parts.path == "" and not parts.query and not parts.fragment and parts.username is None
        fits = parts.scheme == "http" and is_loopback(parts.hostname or "") and parts.port != 0 and bare
    except ValueError:
        fits = False
    return None if fits else f"must be {PAYPAL}, {PAYPAL_SANDBOX}, or http:// and a port of this machine"


def mail_from_fault(address: str) -> str | None:
    """What is wrong with a `MAIL_FROM`, or None: it is one bare address."""
    try:
        parsed = Address(addr_spec=address)
    except (MessageError, ValueError, IndexError):
        return "must be one bare e-mail address"
    return None if parsed.username and parsed.domain and address.isascii() else "must be one bare e-mail address"


def _folder_fault(url: str) -> str | None:
    return None if url.removeprefix("file:").strip() else "must name a folder after file:"
