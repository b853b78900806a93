"""Outgoing mail: over SMTP (RFC 5321, with STARTTLS of RFC 3207 outside of this machine), or into files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from email_validator import validate_email

from app.addresses import is_loopback
from app.integrations.delivery import DeliveryFailed
from app.integrations.files import drop_file
from app.late import late

if TYPE_CHECKING:
    import aiosmtplib
else:
    aiosmtplib = late("aiosmtplib")

TIMEOUT = 20.0
"""Seconds that each step of a conversation with the server may take; the outbox bounds the whole."""
_PORTS = {"smtp": 587, "smtps": 465}
_BREAK = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Mail:
    """One message to one address. `sender_name` stands before our own address; `message_id` has no brackets."""

    to: str
    subject: str
    text: str
    html: str
    sender_name: str
    message_id: str
    language: str = "en"


class MailTransport(Protocol):
    """Takes a message for delivery. Raises `DeliveryFailed`."""

    async def send(self, mail: Mail) -> None: ...


def mail_transport(url: str, sender: str) -> MailTransport:
    """The transport of a `MAIL_URL` that the settings accept. `sender` is the address that messages come from."""
    if url.startswith("file:"):
        return FileMail(Path(url.removeprefix("file:")), sender)
    parts = urlsplit(url)
    return SmtpMail(
        host=parts.hostname or "",
        port=parts.port or _PORTS[parts.scheme],
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=parts.scheme == "smtps",
        sender=sender,
    )


def composed(mail: Mail, sender: str) -> EmailMessage:
    """The message as it goes out. Raises ValueError for a line break or control character in a header."""
    for value in (mail.to, mail.subject, mail.sender_name, mail.message_id, mail.language):
        if _BREAK.search(value):
            raise ValueError("a header holds a line break or a control character")
    message = EmailMessage(policy=SMTP)
    message["Message-ID"] = f"<{mail.message_id}>"
    message["Date"] = datetime.now(UTC)
    message["From"] = Address(display_name=mail.sender_name, addr_spec=sender)
    message["To"] = Address(addr_spec=on_the_wire(mail.to))
    message["Subject"] = mail.subject
    message["Content-Language"] = mail.language
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    return message


def on_the_wire(address: str) -> str:
    """An address with its domain as DNS has it (RFC 5890). Raises ValueError when what is before the `@` is not ASCII,
    which few servers take (RFC 6531)."""
    ascii_form = validate_email(address, check_deliverability=False).ascii_email
    if ascii_form is None:
        raise ValueError("the address needs SMTPUTF8")
    return ascii_form


@dataclass(frozen=True, slots=True)
class FileMail:
    """One `.eml` per message, named by its Message-ID, so that a message sent twice is one file."""

    folder: Path
    sender: str

    async def send(self, mail: Mail) -> None:
        name = re.sub(r"[^A-Za-z0-9.-]", "_", mail.message_id.partition("@")[0])
        await drop_file(self.folder, f"{name}.eml", composed(mail, self.sender).as_bytes())


class SmtpMail:
    """One conversation per message. Outside of this machine nothing is said before TLS, and certificates count."""

    def __init__(
        self, *, host: str, port: int, username: str | None, password: str | None, tls: bool, sender: str
    ) -> None:
        self._sender = sender
        start_tls = False if tls else (None if is_loopback(host) else True)
        where, login = {"hostname": host, "port": port}, {"username": username, "password": password}
        self._options: dict[str, Any] = {**where, **login, "use_tls": tls, "start_tls": start_tls, "timeout": TIMEOUT}

    async def send(self, mail: Mail) -> None:
        message = composed(mail, self._sender)
        recipients = [on_the_wire(mail.to)]
        try:
            await aiosmtplib.send(message, sender=self._sender, recipients=recipients, **self._options)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise _failure(error) from None


def _failure(error: Exception) -> DeliveryFailed:
    """5yz after MAIL, RCPT or DATA is final (RFC 5321, 4.2.1); a refused sign-in is our own fault, so it is not."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused) and error.recipients:
        error = error.recipients[0]
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return DeliveryFailed(type(error).__name__)
    code = error.code if isinstance(error, aiosmtplib.SMTPResponseException) else None
    taken_up = isinstance(
        error, aiosmtplib.SMTPSenderRefused | aiosmtplib.SMTPRecipientRefused | aiosmtplib.SMTPDataError
    )
    name = type(error).__name__
    return DeliveryFailed(f"{name} {code}" if code else name, final=taken_up and code is not None and code >= 500)
