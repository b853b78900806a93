"""A laboratory as its software would be written from our documentation: it signs with the standard library alone."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx

from tests.fixtures.clinics import Client, Clinic, Server

ROUTE = "/api/lab-results/third-party/webhook"
CREATE = """mutation($input: CreateLabConnectionInput!) {
    createLabConnection(input: $input) { secret connection { id version keyId name enabled } } }"""
RESULTS = """query($filter: LabResultFilter) { labResults(first: 100, filter: $filter) { totalCount edges { node {
    id version accession reportVersion status current supersededAt orderNumber comment performedAt
    panel { loinc name } observations { loinc name value unit referenceRange flag comment }
    history { action status by { name } } patient { id } } } } }"""
QUARANTINE = """{ labQuarantine(first: 100) { totalCount edges { node {
    id version eventId status reason report { patient { code birthDate } accession reportVersion } } } } }"""

Body = dict[str, Any]


def report(code: str, **changes: Any) -> Body:
    """An event about the patient with that code."""
    moment = datetime.now(UTC) - timedelta(hours=1)
    return {
        "eventId": f"evt-{uuid4().hex}",
        "patient": {"code": code},
        "accession": f"A-{uuid4().hex[:10]}",
        "version": 1,
        "panel": {"loinc": "24323-8", "name": "Comprehensive metabolic panel"},
        "performedAt": moment.isoformat(),
        "reportedAt": (moment + timedelta(minutes=5)).isoformat(),
        "observations": [
            {
                "loinc": "2345-7",
                "name": "Glucose",
                "value": "5.40",
                "unit": "mmol/L",
                "referenceRange": "3.9-5.5",
                "flag": "normal",
            }
        ],
        **changes,
    }


@dataclass(slots=True)
class Lab:
    """One connection: what it needs to deliver to one clinic."""

    server: Server
    host: str
    key_id: str
    secret: str
    connection: Body

    def headers(self, body: bytes, *, at: float | None = None, nonce: str | None = None) -> dict[str, str]:
        timestamp = str(int(time.time() if at is None else at))
        nonce = nonce or secrets.token_urlsafe(18)
        message = f"v1\n{timestamp}\n{nonce}\n".encode() + body
        signature = hmac.new(self.secret.encode(), message, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json",
            "X-Lab-Key": self.key_id,
            "X-Lab-Timestamp": timestamp,
            "X-Lab-Nonce": nonce,
            "X-Lab-Signature": f"v1={signature}",
        }

    async def send(self, event: Body | bytes, **headers: str) -> httpx.Response:
        """Delivers, freshly signed; `headers` overwrite (names with `_` for `-`)."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.post(body, {**self.headers(body), **changed})

    async def post(self, body: bytes, headers: dict[str, str], host: str | None = None) -> httpx.Response:
        return await self.server.client(host or self.host).http.post(ROUTE, content=body, headers=headers)


async def connect(server: Server, clinic: Clinic, admin: Client, name: str = "Acme Labs") -> Lab:
    answer = await admin.gql(CREATE, input={"name": name})
    made = answer.data["createLabConnection"]
    return Lab(server, clinic.host, made["connection"]["keyId"], made["secret"], made["connection"])


async def results(client: Client, **filter: Any) -> list[Body]:
    page = (await client.gql(RESULTS, filter=filter)).data["labResults"]
    return [edge["node"] for edge in page["edges"]]


async def quarantined(client: Client, event_id: str) -> Body | None:
    page = (await client.gql(QUARANTINE)).data["labQuarantine"]
    return next((edge["node"] for edge in page["edges"] if edge["node"]["eventId"] == event_id), None)
