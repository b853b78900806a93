"""One-time codes of authenticator apps (RFC 6238: SHA-1, 6 digits, 30 seconds) and recovery codes."""

from __future__ import annotations

import hashlib
import hmac
import io
import secrets
from base64 import b32encode
from datetime import datetime
from typing import TYPE_CHECKING

from bson import ObjectId

from app.late import late

if TYPE_CHECKING:
    import pyotp
    import segno
else:
    pyotp = late("pyotp")
    segno = late("segno")

ISSUER = "Polyclinic"
PURPOSE = "totp"
STEP_SECONDS = 30
WINDOW = 1
"""Steps before and after the present one whose codes are taken: clocks differ, and people type slowly."""
RECOVERY_CODES = 10
_SECRET_BYTES = 20
_RECOVERY_BYTES = 10
_GROUP = 4


def new_totp_secret() -> bytes:
    """As many random bits as the hash has (RFC 4226, section 4)."""
    return secrets.token_bytes(_SECRET_BYTES)


def otpauth_uri(secret: bytes, account: str) -> str:
    """The address that authenticator apps read from a QR code."""
    return pyotp.TOTP(secret_text(secret)).provisioning_uri(name=account, issuer_name=ISSUER)


def qr_svg(uri: str) -> str:
    """The QR code of an address as an SVG element, with nothing outside of it."""
    drawn = io.BytesIO()
    segno.make_qr(uri, error="m").save(drawn, kind="svg", scale=4, border=4, xmldecl=False, svgns=True, nl=False)
    return drawn.getvalue().decode()


def matching_step(secret: bytes, code: str, moment: datetime) -> int | None:
    """The step, within the window, whose code this is; None for a wrong one. Takes as long either way."""
    totp = pyotp.TOTP(secret_text(secret))
    present = int(moment.timestamp()) // STEP_SECONDS
    found = None
    for step in range(present - WINDOW, present + WINDOW + 1):
        if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode("utf-8", "surrogatepass")):
            found = step
    return found


def normal_code(code: str) -> str:
    """A code without the spaces and hyphens that people type, in lower case."""
    return "".join(code.split()).replace("-", "").lower()


def is_totp(code: str) -> bool:
    """Whether a normal code has the form of an app's."""
    return len(code) == 6 and code.isascii() and code.isdigit()


def new_recovery_codes() -> list[str]:
    """Ten codes of 80 random bits each, in groups of four."""
    return [_grouped(b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode().lower()) for _ in range(RECOVERY_CODES)]


def recovery_digest(user_id: ObjectId, code: str) -> str:
    """What is stored of a recovery code: a hash, with the person so that equal codes of two differ."""
    return hashlib.sha256(user_id.binary + normal_code(code).encode("utf-8", "surrogatepass")).hexdigest()


def _grouped(text: str) -> str:
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))


def secret_text(secret: bytes) -> str:
    """A secret as people type it into an app that cannot see the QR code: base32."""
    return b32encode(secret).decode()
