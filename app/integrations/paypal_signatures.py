"""Whether an event is PayPal's own: by its signature and certificate, or by asking PayPal.

The signature is SHA256withRSA over `transmissionId|transmissionTime|webhookId|crc32(body)`, the checksum in decimal, by
a certificate that PayPal serves. It covers no more of the body than 32 bits: an event only says that something may have
happened, and what did is asked for (`app.services.subscription`).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import certifi
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from app.addresses import PAYPAL
from app.config import Settings
from app.integrations.outbound import OutboundError, fetch
from app.integrations.paypal import paypal_of

ALGORITHM = "SHA256withRSA"
OLDEST = timedelta(days=4)
"""PayPal delivers for three days; what is older was kept by somebody."""
CLOCKS = timedelta(minutes=5)
"""So far PayPal's clock may be ahead of ours."""
KEPT_SECONDS = 3_600.0
MOST_KEPT = 20
_HOSTS = {
    True: frozenset({"api.paypal.com", "api-m.paypal.com"}),
    False: frozenset({"api.sandbox.paypal.com", "api-m.sandbox.paypal.com"}),
}
"""Where certificates may come from: at PayPal itself, and at its sandbox."""
_NAMES = {True: "messageverificationcerts.paypal.com", False: "messageverificationcerts.sandbox.paypal.com"}
"""Whom they must be made out to."""
_PATH = re.compile(r"/v1/notifications/certs/[A-Za-z0-9_-]{1,100}")
_ID = re.compile(r"[A-Za-z0-9-]{1,50}")


Check = Callable[[], Awaitable[None]]


class Unproven(Exception):
    """Nothing shows that the event is PayPal's. The text says what is wrong, for the log."""


@dataclass(frozen=True, slots=True)
class SignedEvent:
    """What an event brings: the headers as they came, and the raw body."""

    transmission_id: str
    transmission_time: str
    signature: str
    certificate_url: str
    algorithm: str
    body: bytes


async def prove(event: SignedEvent, settings: Settings, moment: datetime, before_call: Check) -> None:
    """Raises `Unproven` unless the event is PayPal's, for our webhook, and no older than it may be; UNAVAILABLE when
    PayPal would have to be asked and does not answer.

    `before_call` is awaited before anybody else is called: for a certificate that is not known yet, or to ask PayPal.
    """
    _check_form(event, moment)
    _check_address(event.certificate_url, settings)
    if settings.paypal_verification == "postback":
        await before_call()
        if not await paypal_of(settings).verifies(_postback(event, settings)):
            raise Unproven("PayPal does not know it")
        return
    key = await _key_at(event.certificate_url, settings, moment, before_call)
    message = signed_text(event.transmission_id, event.transmission_time, settings.paypal_webhook_id or "", event.body)
    try:
        signature = base64.b64decode(event.signature, validate=True)
        key.verify(signature, message, padding.PKCS1v15(), SHA256())
    except (binascii.Error, InvalidSignature):
        raise Unproven("the signature is not that of the certificate") from None


def signed_text(transmission_id: str, transmission_time: str, webhook_id: str, body: bytes) -> bytes:
    """What PayPal signs."""
    return f"{transmission_id}|{transmission_time}|{webhook_id}|{zlib.crc32(body)}".encode()


def _check_form(event: SignedEvent, moment: datetime) -> None:
    if event.algorithm != ALGORITHM:
        raise Unproven("the algorithm is another one")
    if not _ID.fullmatch(event.transmission_id):
        raise Unproven("the transmission has no id")
    try:
        sent = datetime.fromisoformat(event.transmission_time)
    except ValueError:
        raise Unproven("the time is none") from None
    if sent.tzinfo is None or not moment - OLDEST <= sent <= moment + CLOCKS:
        raise Unproven("the time is too far off")


def _is_live(settings: Settings) -> bool:
    return settings.paypal_url == PAYPAL


def _check_address(url: str, settings: Settings) -> None:
    """A certificate comes from PayPal's own hosts over TLS; a simulator on this machine serves its own."""
    try:
        parts = urlsplit(url)
        plain = parts.username is None and not parts.query and not parts.fragment and parts.port is None
    except ValueError:
        raise Unproven("the certificate's address is none") from None
    own = _from_simulator(url, settings) or (
        parts.scheme == "https" and parts.hostname in _HOSTS[_is_live(settings)] and plain
    )
    if not own or not _PATH.fullmatch(parts.path):
        raise Unproven("the certificate is not at PayPal")


def _from_simulator(url: str, settings: Settings) -> bool:
    simulated = settings.paypal_url.startswith("http:") and not settings.is_production
    return simulated and url.startswith(f"{settings.paypal_url}/")


def _postback(event: SignedEvent, settings: Settings) -> bytes:
    """The body of PayPal's `verify-webhook-signature`, with the event as it came, byte for byte."""
    told = {
        "transmission_id": event.transmission_id,
        "transmission_time": event.transmission_time,
        "transmission_sig": event.signature,
        "cert_url": event.certificate_url,
        "auth_algo": event.algorithm,
        "webhook_id": settings.paypal_webhook_id,
    }
    return json.dumps(told).encode()[:-1] + b', "webhook_event": ' + event.body + b"}"


# --- certificates ---------------------------------------------------------------------------------------------------

_known: OrderedDict[tuple[str, Path | None], tuple[float, datetime, rsa.RSAPublicKey]] = OrderedDict()
"""By address and roots: when it was read, when it ends, and whose signatures count by it."""


async def _key_at(url: str, settings: Settings, moment: datetime, before_call: Check) -> rsa.RSAPublicKey:
    """The key of the certificate at an address, once its chain was followed to a root. Kept for an hour."""
    name = (url, settings.paypal_roots)
    kept = _known.get(name)
    if kept is not None and time.monotonic() - kept[0] < KEPT_SECONDS and moment < kept[1]:
        return kept[2]
    await before_call()
    try:
        reached = await fetch("GET", url, loopback=_from_simulator(url, settings))
    except OutboundError as error:
        raise Unproven(f"the certificate cannot be had: {error}") from None
    if reached.status != 200:
        raise Unproven("the certificate cannot be had")
    leaf = _followed(reached.body, settings, moment)
    key = leaf.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise Unproven("the certificate's key is no RSA key")
    _known[name] = (time.monotonic(), leaf.not_valid_after_utc, key)
    if len(_known) > MOST_KEPT:
        _known.popitem(last=False)
    return key


def _followed(pem: bytes, settings: Settings, moment: datetime) -> x509.Certificate:
    """The first certificate, made out to PayPal, whose chain leads to a root that counts."""
    try:
        leaf, *others = x509.load_pem_x509_certificates(pem)
        policy = PolicyBuilder().store(_roots(settings.paypal_roots)).time(moment.astimezone(UTC))
        policy.build_server_verifier(x509.DNSName(_NAMES[_is_live(settings)])).verify(leaf, others)
    except (ValueError, VerificationError):
        raise Unproven("the certificate is not PayPal's") from None
    return leaf


@lru_cache(maxsize=4)
def _roots(file: Path | None) -> Store:
    """The roots of a file, or the public ones."""
    pem = (file or Path(certifi.where())).read_bytes()
    with warnings.catch_warnings():  # one of the public roots has zero as its serial number
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return Store(x509.load_pem_x509_certificates(pem))
