"""Outgoing text messages: over Twilio's REST API, or into files.

https://www.twilio.com/docs/messaging/api/message-resource
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from app.addresses import TWILIO
from app.integrations.delivery import DeliveryFailed
from app.integrations.files import drop_file
from app.late import late

if TYPE_CHECKING:
    import httpx
else:
    httpx = late("httpx")

TIMEOUT = (5.0, 15.0, 15.0, 15.0)
"""Seconds to connect, to read, to write and to wait for a connection."""


@dataclass(frozen=True, slots=True)
class Sms:
    """One text to one phone. `to` is E.164 (`+12125550100`)."""

    to: str
    text: str
    message_id: str


class SmsTransport(Protocol):
    """Takes a text for delivery. Raises `DeliveryFailed`."""

    async def send(self, sms: Sms) -> None: ...


def sms_transport(url: str) -> SmsTransport:
    """The transport of an `SMS_URL` that the settings accept."""
    if url.startswith("file:"):
        return FileSms(Path(url.removeprefix("file:")))
    parts = urlsplit(url)
    base = parse_qs(parts.query).get("base", [TWILIO])[0]
    account, token = unquote(parts.username or ""), unquote(parts.password or "")
    return TwilioSms(account, token, unquote(parts.hostname or ""), base)


@dataclass(frozen=True, slots=True)
class FileSms:
    """One JSON file per text, named by its id, so that a text sent twice is one file."""

    folder: Path

    async def send(self, sms: Sms) -> None:
        content = json.dumps({"to": sms.to, "text": sms.text}, ensure_ascii=False)
        await drop_file(self.folder, f"{re.sub(r'[^A-Za-z0-9.-]', '_', sms.message_id)}.json", content.encode())


@dataclass(frozen=True, slots=True)
class TwilioSms:
    """`POST /2010-04-01/Accounts/{account}/Messages.json` with basic authentication."""

    account: str
    token: str
    sender: str
    base: str

    def __repr__(self) -> str:
        return f"TwilioSms({self.sender})"

    async def send(self, sms: Sms) -> None:
        path = f"{self.base.rstrip('/')}/2010-04-01/Accounts/{self.account}/Messages.json"
        body = {"To": sms.to, "From": self.sender, "Body": sms.text}
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False, trust_env=False) as client:
                answer = await client.post(path, data=body, auth=(self.account, self.token))
        except httpx.HTTPError as error:
            raise DeliveryFailed(type(error).__name__) from None
        if answer.status_code != httpx.codes.CREATED:
            final = answer.status_code in (400, 404)  # the number or the text; 401 and 403 are our own account
            raise DeliveryFailed(f"HTTP {answer.status_code}", final=final)
