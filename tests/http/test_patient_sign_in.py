"""Signing in by a QR code, the patient's cookie, and how it lives beside that of staff."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from app.auth.cookies import patient_cookie, set_patient_cookie
from app.config import Settings
from app.services.portal.sign_in import QR_BY_NETWORK
from app.tenancy.crossing import tenant_scope
from models import AuditEntry, PortalSession, PortalTicket
from models.values import now
from tests.fixtures.clinics import Client, Clinic, Server
from tests.fixtures.portal import Visit, Visitor

QR = "/api/patients/qr-login"
CREATE = "mutation($input: PortalPatientInput!) { createPatientQr(input: $input) { link svg png expiresAt } }"
OWN = "mutation { patientCreateQr { link svg png expiresAt } }"
ME = "{ patientMe { id } }"
BOTH = "{ viewer { id } patientMe { id } patients { totalCount } }"
CLIENT = {"X-Polyclinic-Client": "tests"}


async def ticket(admin: Client, visitor: Visitor) -> str:
    answer = await admin.gql(CREATE, input={"patientId": str(visitor.patient_id)})
    return secret_in(answer.data["createPatientQr"]["link"])


def secret_in(link: str) -> str:
    return urlsplit(link).fragment.removeprefix("token=")


async def present(
    server: Server, clinic: Clinic, secret: Any, *, address: str = "127.0.0.40", **headers: str
) -> httpx.Response:
    client = server.client(clinic.host, address=address)
    return await client.http.post(QR, json={"ticket": secret}, headers=headers)


async def sessions(visitor: Visitor) -> int:
    async with tenant_scope(visitor.clinic.ref):
        return await PortalSession.guarded().count_documents({"patient_id": visitor.patient_id})


def told(answer: httpx.Response) -> tuple[int, Any]:
    body = answer.json()
    body["error"].pop("requestId")
    return answer.status_code, body


# --- the QR code ------------------------------------------------------------------------------------------------------


async def test_the_secret_of_a_qr_code_stands_where_no_server_sees_it(
    clinic_a: Clinic, visit: Visit, admin: Client
) -> None:
    visitor = await visit(clinic_a)
    answer = await admin.gql(CREATE, input={"patientId": str(visitor.patient_id)})
    made = answer.data["createPatientQr"]

    parts = urlsplit(made["link"])
    assert parts.hostname == clinic_a.host
    assert not parts.query
    secret = secret_in(made["link"])
    assert len(secret) == 43
    assert made["svg"].startswith("data:image/svg+xml")
    kind, _, data = made["png"].partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG")
    async with tenant_scope(clinic_a.ref):
        [row] = await PortalTicket.rows({"patient_id": visitor.patient_id})
    assert secret not in str(row)
    assert timedelta(minutes=4) < row["expires_at"] - now() <= timedelta(minutes=5)


async def test_a_browser_is_signed_in_by_a_cookie_and_never_told_the_token(
    clinic_a: Clinic, visit: Visit, admin: Client, server: Server
) -> None:
    visitor = await visit(clinic_a)

    answer = await present(server, clinic_a, await ticket(admin, visitor))

    assert answer.status_code == 200
    assert answer.json().keys() == {"success", "expiresAt"}
    assert answer.headers["cache-control"] == "no-store"
    cookie = answer.headers["set-cookie"]
    value = cookie.partition(";")[0]
    assert cookie.lower().split("; ")[1:] == ["path=/", "httponly", "samesite=lax", "max-age=43200"]
    me = await ask(server, clinic_a, ME, cookie=value)
    assert me["data"]["patientMe"]["id"] == str(visitor.patient_id)


async def test_an_api_client_is_told_the_token(clinic_a: Clinic, visit: Visit, admin: Client, server: Server) -> None:
    visitor = await visit(clinic_a)
    answer = await present(server, clinic_a, await ticket(admin, visitor), **CLIENT)
    client = server.client(clinic_a.host, answer.json()["token"])
    assert (await client.gql(ME)).data["patientMe"]["id"] == str(visitor.patient_id)


async def test_a_patient_signs_another_device_in(clinic_a: Clinic, visit: Visit, server: Server) -> None:
    visitor = await visit(clinic_a)
    made = (await visitor.client.gql(OWN)).data["patientCreateQr"]
    answer = await present(server, clinic_a, secret_in(made["link"]))
    assert answer.status_code == 200
    assert await sessions(visitor) == 2


async def test_of_twenty_who_use_one_ticket_at_once_one_gets_in(
    clinic_a: Clinic, visit: Visit, admin: Client, server: Server
) -> None:
    visitor = await visit(clinic_a)
    secret = await ticket(admin, visitor)

    answers = await asyncio.gather(*(present(server, clinic_a, secret, address="127.0.0.41") for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 19
    assert await sessions(visitor) == 2, "the one of the test, and one more"


async def test_a_ticket_that_is_not_good_here_is_answered_as_an_unknown_one(
    clinic_a: Clinic, clinic_b: Clinic, visit: Visit, admin: Client, server: Server
) -> None:
    visitor, off = await visit(clinic_a), await visit(clinic_a)
    unknown = told(await present(server, clinic_a, "x" * 43))
    replaced, secret = await ticket(admin, visitor), await ticket(admin, visitor)
    shut_out = await ticket(admin, off)
    disable = "mutation($input: PortalPatientInput!) { disablePortal(input: $input) { id } }"
    await admin.gql(disable, input={"patientId": str(off.patient_id)})

    assert told(await present(server, clinic_b, secret)) == unknown, "another clinic's host"
    assert told(await present(server, clinic_a, replaced)) == unknown, "a newer one was made"
    assert told(await present(server, clinic_a, shut_out)) == unknown, "the portal was switched off"
    assert (await present(server, clinic_a, secret)).status_code == 200, "none of that used it up"
    assert told(await present(server, clinic_a, secret)) == unknown, "used"
    old = await ticket(admin, visitor)
    async with tenant_scope(clinic_a.ref):
        await PortalTicket.guarded().update_many(
            {"patient_id": visitor.patient_id}, {"$set": {"expires_at": now() - timedelta(seconds=1)}}
        )
    assert told(await present(server, clinic_a, old)) == unknown, "too old"
    assert unknown[0] == 401
    assert await sessions(visitor) == 2


async def test_the_root_host_knows_no_tickets(server: Server) -> None:
    answer = await server.client().http.post(QR, json={"ticket": "x" * 43})
    assert answer.status_code == 404


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data"])
async def test_a_form_of_another_site_signs_nobody_in(
    clinic_a: Clinic, visit: Visit, admin: Client, server: Server, content_type: str
) -> None:
    visitor = await visit(clinic_a)
    secret = await ticket(admin, visitor)
    client = server.client(clinic_a.host, address="127.0.0.42")
    answer = await client.http.post(
        QR, content=f'{{"ticket": "{secret}"}}', headers={"content-type": content_type, "origin": "https://evil.test"}
    )
    assert answer.status_code == 415
    assert "set-cookie" not in answer.headers
    assert await sessions(visitor) == 1


@pytest.mark.parametrize("given", [None, 1, "", "x" * 201, ["x"], {"$gt": ""}])
async def test_what_is_no_ticket_is_told_so(clinic_a: Clinic, server: Server, given: Any) -> None:
    answer = await present(server, clinic_a, given, address="127.0.0.43")
    assert answer.status_code == 400
    assert answer.json()["error"]["fields"][0]["path"] == "ticket"


async def test_guessing_tickets_is_stopped(clinic_a: Clinic, server: Server) -> None:
    for _ in range(QR_BY_NETWORK.tries):
        await present(server, clinic_a, "y" * 43, address="127.0.0.44")
    answer = await present(server, clinic_a, "y" * 43, address="127.0.0.44")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0


# --- the cookies ------------------------------------------------------------------------------------------------------


async def ask(server: Server, clinic: Clinic, query: str, *, cookie: str = "", **headers: str) -> dict[str, Any]:
    """A query as a page of the clinic's own host sends it."""
    own = {"origin": f"http://{clinic.host}", "cookie": cookie, **headers}
    client = server.client(clinic.host, address="127.0.0.45")
    answer = await client.http.post("/graphql", json={"query": query}, headers=own)
    body: dict[str, Any] = answer.json()
    return body


async def test_both_may_be_signed_in_in_one_browser_and_each_counts_for_its_own(
    clinic_a: Clinic, visit: Visit, admin: Client, server: Server
) -> None:
    visitor = await visit(clinic_a)
    both = f"session={admin.token}; patient_session={visitor.token}"

    answer = await ask(server, clinic_a, BOTH, cookie=both)

    assert "errors" not in answer
    assert answer["data"]["patientMe"]["id"] == str(visitor.patient_id)
    assert answer["data"]["patients"]["totalCount"] > 0
    async with tenant_scope(clinic_a.ref):
        mine = await AuditEntry.rows({"action": "patientMe", "patient_ids": visitor.patient_id})
        theirs = await AuditEntry.rows({"action": "patients", "request_id": mine[0]["request_id"]})
    assert [(row["user_id"], row["by_patient"]) for row in mine] == [(None, visitor.patient_id)]
    assert theirs
    assert all(row["user_id"] is not None and row["by_patient"] is None for row in theirs)


async def test_signing_the_patient_out_leaves_staff_signed_in(
    clinic_a: Clinic, visit: Visit, admin: Client, server: Server
) -> None:
    visitor = await visit(clinic_a)
    both = f"session={admin.token}; patient_session={visitor.token}"
    await ask(server, clinic_a, "mutation { patientLogout }", cookie=both)
    answer = await ask(server, clinic_a, BOTH, cookie=both)
    assert answer["data"]["viewer"] is not None
    assert answer["data"]["patientMe"] is None


async def test_a_token_in_the_other_ones_cookie_counts_for_nothing(
    clinic_a: Clinic, visit: Visit, admin: Client, server: Server
) -> None:
    visitor = await visit(clinic_a)
    swapped = f"session={visitor.token}; patient_session={admin.token}"
    answer = await ask(server, clinic_a, BOTH, cookie=swapped)
    assert answer["data"] == {"viewer": None, "patientMe": None, "patients": None}


async def test_a_cookie_together_with_a_bearer_token_is_refused(
    clinic_a: Clinic, visit: Visit, admin: Client, server: Server
) -> None:
    visitor = await visit(clinic_a)
    bearer = f"Bearer {admin.token}"
    answer = await ask(server, clinic_a, BOTH, cookie=f"patient_session={visitor.token}", authorization=bearer)
    assert answer["errors"][0]["extensions"]["code"] == "VALIDATION_FAILED"
    assert "data" not in answer


async def test_another_sites_request_with_the_patients_cookie_is_refused(
    clinic_a: Clinic, visit: Visit, server: Server
) -> None:
    visitor = await visit(clinic_a)
    for origin in ("https://evil.test", "http://polyclinic.test", f"http://other.{clinic_a.host}"):
        answer = await ask(
            server, clinic_a, "mutation { signOutPatientEverywhere }",
            cookie=f"patient_session={visitor.token}", origin=origin,
        )  # fmt: skip
        assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert not (await visitor.client.gql(ME)).errors


async def test_signing_in_and_out_over_graphql_sets_and_takes_the_cookie(
    clinic_a: Clinic, visit: Visit, admin: Client, server: Server
) -> None:
    visitor = await visit(clinic_a)
    issue = "mutation($input: PortalPatientInput!) { issuePatientCode(input: $input) { code } }"
    code = (await admin.gql(issue, input={"patientId": str(visitor.patient_id)})).data["issuePatientCode"]["code"]
    login = f'mutation {{ patientLogin(input: {{patientCode: "{visitor.code}", code: "{code}"}}) {{ token }} }}'
    client = server.client(clinic_a.host, address="127.0.0.46")
    own = {"origin": f"http://{clinic_a.host}"}

    signed_in = await client.http.post("/graphql", json={"query": login}, headers=own)

    assert signed_in.json()["data"]["patientLogin"]["token"] is None, "a browser is not told the token"
    value = signed_in.headers["set-cookie"].partition(";")[0]
    assert value.startswith("patient_session=")
    out = await client.http.post("/graphql", json={"query": "mutation { patientLogout }"}, headers=own)
    assert "patient_session=;" in out.headers["set-cookie"]
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert (await ask(server, clinic_a, ME, cookie=value))["data"]["patientMe"] is None


def test_in_production_browsers_keep_the_cookie_to_its_host_and_to_tls(settings: Settings) -> None:
    class Production:
        cookie_secure = True
        cookie_domain = ".polyclinic.test"
        patient_session_hours = 12

    cookie = set_patient_cookie(Production(), "abc")  # type: ignore[arg-type]
    assert cookie == ("__Host-patient_session=abc; Path=/; HttpOnly; SameSite=Lax; Max-Age=43200; Secure"), (
        "the prefix asks for Secure, Path=/ and no Domain"
    )
    assert patient_cookie(settings) == "patient_session"
