"""`POST /api/tenants/onboard` and `GET /api/tenants/public`, over HTTP against a real database."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient

from app.config import Settings
from app.http.onboarding import onboarding_specs
from app.services import onboarding
from app.tenancy.scope import Scope, open_scope
from models import ALL_DOCUMENTS, Tenant, Tombstone
from models.tenant import TenantStatus
from models.values import now
from tests.fixtures.clinics import PASSWORD, Clinic, MakeClinic, Server
from tests.server_process import server_process

Body = dict[str, Any]
ROUTE = "/api/tenants/onboard"


def fresh_name() -> str:
    return f"o{uuid4().hex[:10]}"


def body_for(name: str, /, **changes: Any) -> Body:
    admin = {"name": "Ada Admin", "email": f"admin@{name}.example.com", "password": PASSWORD}
    return {"name": f"Clinic {name}", "subdomain": name, "admin": admin, **changes}


def with_admin(name: str, /, **changes: Any) -> Body:
    body = body_for(name)
    return {**body, "admin": {**body["admin"], **changes}}


class Stranger:
    """Somebody at an address of their own, on the system's own host unless told otherwise."""

    def __init__(self, server: Server, host: str = "polyclinic.test") -> None:
        address = f"10.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(1, 255)}"
        transport = httpx.ASGITransport(server.app, raise_app_exceptions=False, client=(address, 4711))
        self.http = httpx.AsyncClient(transport=transport, base_url=f"http://{host}")

    async def opens(self, body: Any) -> httpx.Response:
        return await self.http.post(ROUTE, json=body)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Any]:
    """The database as nobody but a test sees it, without guard or wall."""
    async with AsyncMongoClient[dict[str, Any]](settings.mongodb_uri, tz_aware=True) as client:
        yield client[settings.mongodb_database]


async def written_for(database: Any, *tenants: ObjectId) -> dict[str, int]:
    """How many documents per collection name one of these clinics."""
    found = {}
    either: list[Body] = [{field: {"$in": list(tenants)}} for field in ("tenant_id", "tenant_ids", "clinic_id", "_id")]
    for model in ALL_DOCUMENTS:
        name = model.get_settings().name
        if count := await database[str(name)].count_documents({"$or": either}):
            found[str(name)] = count
    return found


def paths(answer: httpx.Response) -> list[str]:
    return [field["path"] for field in answer.json()["error"]["fields"]]


# --- the documented answer ------------------------------------------------------------------------------------------


async def test_opening_a_clinic_answers_as_documented(server: Server) -> None:
    name = fresh_name()
    answer = await Stranger(server).opens(body_for(name.upper(), name="Sunshine Clinic"))
    assert answer.status_code == 200
    body = answer.json()
    ends = body["subscription"].pop("expiresAt")
    assert body == {
        "success": True,
        "message": "Tenant created successfully with seed data",
        "name": "Sunshine Clinic",
        "subdomain": name,
        "status": "active",
        "adminEmail": f"admin@{name}.example.com",
        "seedData": {"roles": 6, "permissions": 108, "settings": True},
        "subscription": {"plan": "trial", "status": "active"},
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", ends)
    assert abs(datetime.fromisoformat(ends) - now() - timedelta(days=7)) < timedelta(minutes=1)


async def test_everything_sent_is_stored_and_the_admin_can_sign_in(server: Server, database: Any) -> None:
    name = fresh_name()
    body = body_for(
        name,
        displayName="Sunshine",
        email="Desk@Sunshine.Example.com",
        phone="+1 212 555 0100",
        address={"street": "1 Main St", "city": "Springfield", "state": "NY", "zipCode": "10001", "country": "US"},
        settings={"timezone": "Asia/Manila", "currency": "PHP", "dateFormat": "YYYY-MM-DD"},
    )
    assert (await Stranger(server).opens(body)).status_code == 200
    tenant = await database["tenants"].find_one({"subdomain": name})
    assert (tenant["display_name"], tenant["email"]) == ("Sunshine", "desk@sunshine.example.com")
    assert tenant["address"]["zip_code"] == "10001"
    assert (tenant["settings"]["timezone"], tenant["settings"]["currency"]) == ("Asia/Manila", "PHP")
    assert tenant["settings"]["date_format"] == "YYYY-MM-DD"
    assert await written_for(database, tenant["_id"]) == {
        "tenants": 1,
        "roles": 6,
        "permissions": 108,
        "staff": 1,
        "memberships": 1,
        "settings": 1,
        "audit_entries": 1,
    }
    signed_in = await server.sign_in(Clinic(Tenant(**tenant), {"admin": f"admin@{name}.example.com"}))
    assert (await signed_in.gql("{ viewer { name } }")).data["viewer"]["name"] == "Ada Admin"


async def test_optional_parts_may_be_null(server: Server) -> None:
    absent = dict.fromkeys(("displayName", "email", "phone", "address", "settings"))
    assert (await Stranger(server).opens(body_for(fresh_name(), **absent))).status_code == 200


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["admin.email", "admin.name", "admin.password", "name", "subdomain"]),
        (body_for("okay", name="x"), ["name"]),
        (body_for("okay", name=7), ["name"]),
        (body_for("okay", name="a\u202eb"), ["name"]),
        (body_for("okay", subdomain="a"), ["subdomain"]),
        (body_for("okay", subdomain="a" * 64), ["subdomain"]),
        (body_for("okay", subdomain="-edge"), ["subdomain"]),
        (body_for("okay", subdomain="edge-"), ["subdomain"]),
        (body_for("okay", subdomain="under_score"), ["subdomain"]),
        (body_for("okay", subdomain="a.b"), ["subdomain"]),
        (body_for("okay", subdomain="zażółć"), ["subdomain"]),
        (body_for("okay", subdomain="a---b"), ["subdomain"]),
        (body_for("okay", subdomain=["okay"]), ["subdomain"]),
        (body_for("okay", subdomain={"$ne": ""}), ["subdomain"]),
        (body_for("okay", settings={"timezone": "Mars/Olympus"}), ["settings.timezone"]),
        (body_for("okay", settings={"currency": "usd"}), ["settings.currency"]),
        (body_for("okay", settings={"dateFormat": "yy"}), ["settings.dateFormat"]),
        (body_for("okay", settings="UTC"), ["settings"]),
        (body_for("okay", address={"planet": "Mars"}), ["address.planet"]),
        (body_for("okay", email="nobody"), ["email"]),
        (body_for("okay", status="suspended"), ["status"]),
        (with_admin("okay", email="nobody"), ["admin.email"]),
        (with_admin("okay", password="1234567"), ["admin.password"]),
        (with_admin("okay", password="password123"), ["admin.password"]),
        (with_admin("okay", password=None), ["admin.password"]),
        (with_admin("okay", role="super"), ["admin.role"]),
        (body_for("okay", admin=[]), ["admin"]),
    ],
)
async def test_wrong_values_are_named_by_field_and_nothing_is_written(
    server: Server, database: Any, body: Body, expected: list[str]
) -> None:
    before = await database["tenants"].count_documents({}), await database["users"].count_documents({})
    answer = await Stranger(server).opens(body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], sorted(paths(answer))) == ("VALIDATION_FAILED", expected)
    assert all(field["message"] for field in error["fields"])
    assert PASSWORD not in answer.text
    after = await database["tenants"].count_documents({}), await database["users"].count_documents({})
    assert after == before


@pytest.mark.parametrize("name", ["www", "API", "admin", "demo", "test"])
async def test_reserved_subdomains_are_refused(server: Server, name: str) -> None:
    answer = await Stranger(server).opens(body_for(fresh_name(), subdomain=name))
    assert (answer.status_code, paths(answer)) == (400, ["subdomain"])
    assert answer.json()["error"]["fields"][0]["message"] == "is reserved"


@pytest.mark.parametrize("sent", [b"", b"{", b"[]", b'"text"', b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_refused(server: Server, sent: bytes) -> None:
    answer = await Stranger(server).http.post(ROUTE, content=sent, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "VALIDATION_FAILED")


async def test_a_taken_subdomain_is_refused_in_any_spelling(server: Server, database: Any) -> None:
    name = fresh_name()
    assert (await Stranger(server).opens(body_for(name))).status_code == 200
    answer = await Stranger(server).opens(
        {**with_admin(name, email=f"other@{name}.example.com"), "subdomain": f" {name.upper()} "}
    )
    assert (answer.status_code, paths(answer)) == (400, ["subdomain"])
    assert await database["users"].count_documents({"email": f"other@{name}.example.com"}) == 0


async def test_the_subdomain_of_a_deleted_clinic_stays_taken(server: Server) -> None:
    name = fresh_name()
    with open_scope(Scope(request_id="test")):
        await Tombstone(subdomain=name, tenant_id_was=ObjectId(), name="Gone").insert()
    answer = await Stranger(server).opens(body_for(name))
    assert (answer.status_code, paths(answer)) == (400, ["subdomain"])


# --- people who are known already -----------------------------------------------------------------------------------


async def test_a_known_person_with_the_right_password_gets_a_second_clinic(server: Server, database: Any) -> None:
    first, second = fresh_name(), fresh_name()
    email = f"admin@{first}.example.com"
    await Stranger(server).opens(body_for(first))
    answer = await Stranger(server).opens(with_admin(second, email=email.upper(), name="Ada At Second"))
    assert (answer.status_code, answer.json().get("adminEmail")) == (200, email)
    people = await database["users"].find({"email": email}).to_list()
    assert [person["name"] for person in people] == ["Ada Admin"]
    assert await database["memberships"].count_documents({"user_id": people[0]["_id"]}) == 2
    profile = await database["staff"].find_one({"name": "Ada At Second"})
    assert profile["user_id"] == people[0]["_id"]


async def test_a_known_person_with_a_wrong_password_is_refused_and_nothing_written(
    server: Server, database: Any
) -> None:
    first, second = fresh_name(), fresh_name()
    email = f"admin@{first}.example.com"
    await Stranger(server).opens(body_for(first))
    answer = await Stranger(server).opens(with_admin(second, email=email, password="quite another 7"))
    assert (answer.status_code, paths(answer)) == (400, ["admin.email"])
    assert await database["tenants"].count_documents({"subdomain": second}) == 0
    person = await database["users"].find_one({"email": email})
    assert await database["memberships"].count_documents({"user_id": person["_id"]}) == 1


# --- many at once, and failures in the middle -----------------------------------------------------------------------


async def test_twenty_at_once_for_one_subdomain_make_one_clinic_and_no_orphans(server: Server, database: Any) -> None:
    name = fresh_name()
    people = [f"person{number}@{name}.example.com" for number in range(20)]
    answers = await asyncio.gather(*(Stranger(server).opens(with_admin(name, email=email)) for email in people))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 19
    assert {path for answer in answers if answer.status_code == 400 for path in paths(answer)} == {"subdomain"}
    tenants = await database["tenants"].find({"subdomain": name}).to_list()
    assert len(tenants) == 1
    winner = next(answer.json()["adminEmail"] for answer in answers if answer.status_code == 200)
    stored = await database["users"].find({"email": {"$in": people}}).to_list()
    assert [person["email"] for person in stored] == [winner]
    living = [tenant["_id"] async for tenant in database["tenants"].find({}, {"_id": 1})]
    for collection in ("roles", "permissions", "staff", "settings"):
        mine = {"tenant_id": tenants[0]["_id"]}
        assert await database[collection].count_documents(mine) > 0
    assert await database["memberships"].count_documents({"user_id": stored[0]["_id"]}) == 1
    assert await database["staff"].count_documents({"email": {"$in": people}, "tenant_id": {"$nin": living}}) == 0


async def test_one_new_person_opening_two_clinics_at_once_is_one_person_with_two(server: Server, database: Any) -> None:
    names = [fresh_name() for _ in range(5)]
    email = f"ada@{names[0]}.example.com"
    answers = await asyncio.gather(*(Stranger(server).opens(with_admin(name, email=email)) for name in names))
    assert [answer.status_code for answer in answers] == [200] * 5
    people = await database["users"].find({"email": email}).to_list()
    assert len(people) == 1
    assert await database["memberships"].count_documents({"user_id": people[0]["_id"]}) == 5


async def test_a_failure_in_the_middle_leaves_nothing(
    server: Server, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings come near the end; a row that is in their way stops a clinic of a known id there."""
    name, doomed = fresh_name(), ObjectId()
    in_the_way = {"_id": ObjectId(), "tenant_id": doomed}
    await database["settings"].insert_one(in_the_way)
    people_before = await database["users"].count_documents({})
    monkeypatch.setattr(onboarding, "ObjectId", lambda: doomed)
    answer = await Stranger(server).opens(body_for(name))
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "INTERNAL")
    assert await written_for(database, doomed) == {"settings": 1}
    assert await database["tenants"].count_documents({"subdomain": name}) == 0
    assert await database["users"].count_documents({}) == people_before
    monkeypatch.undo()
    await database["settings"].delete_one({"_id": in_the_way["_id"]})
    assert (await Stranger(server).opens(body_for(name))).status_code == 200


# --- where and how often --------------------------------------------------------------------------------------------


async def test_clinics_are_opened_on_the_root_host_alone(server: Server, clinic_a: Clinic) -> None:
    answer = await Stranger(server, clinic_a.host).opens(body_for(fresh_name()))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


def test_opening_can_be_switched_off(settings: Settings) -> None:
    closed = settings.model_copy(update={"allow_onboarding": False})
    assert [spec.path for spec in onboarding_specs(closed)] == ["/api/tenants/public"]


async def test_a_session_cookie_and_a_foreign_origin_do_not_matter(server: Server) -> None:
    stranger = Stranger(server)
    headers = {"origin": "https://elsewhere.example", "cookie": "session=nonsense"}
    answer = await stranger.http.post(ROUTE, json=body_for(fresh_name()), headers=headers)
    assert answer.status_code == 200


async def test_of_twenty_tries_at_once_five_pass_and_every_try_counts(server: Server) -> None:
    stranger = Stranger(server)
    answers = await asyncio.gather(*(stranger.opens({"name": "nonsense"}) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [400] * 5 + [429] * 15
    limited = next(answer for answer in answers if answer.status_code == 429)
    assert limited.json()["error"]["code"] == "RATE_LIMITED"
    assert 0 < int(limited.headers["retry-after"]) <= 900
    assert (await stranger.opens(body_for(fresh_name()))).status_code == 429
    assert (await Stranger(server).opens(body_for(fresh_name()))).status_code == 200


async def test_the_limit_holds_over_processes_and_restarts(server: Server, settings: Settings) -> None:
    """Two servers share five tries; a third, started later, remembers."""
    with ExitStack() as running:
        addresses = [running.enter_context(server_process(settings)) for _ in range(2)]
        statuses = await tries(addresses * 10)
    assert sorted(statuses) == [400] * 5 + [429] * 15
    with server_process(settings) as address:
        assert await tries([address]) == [429]


async def tries(addresses: list[str]) -> list[int]:
    async with httpx.AsyncClient(headers={"host": "polyclinic.test"}, timeout=30) as client:
        urls = [f"{address}{ROUTE}" for address in addresses]
        answers = await asyncio.gather(*(client.post(url, json={}) for url in urls))
    return [answer.status_code for answer in answers]


# --- the public list ------------------------------------------------------------------------------------------------


async def public(server: Server, **asked: Any) -> httpx.Response:
    return await Stranger(server).http.get("/api/tenants/public", params=asked)


async def test_one_clinic_shows_its_public_fields_and_no_other(server: Server) -> None:
    name = fresh_name()
    await Stranger(server).opens(
        body_for(name, displayName="Sunny", email="desk@sunny.example.com", address={"zipCode": "10001"})
    )
    answer = await public(server, subdomain=name.upper())
    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "tenant": {
            "name": f"Clinic {name}",
            "displayName": "Sunny",
            "subdomain": name,
            "email": "desk@sunny.example.com",
            "phone": None,
            "address": {"street": None, "city": None, "state": None, "zipCode": "10001", "country": None},
        },
    }


@pytest.mark.parametrize("status", [TenantStatus.INACTIVE, TenantStatus.SUSPENDED])
async def test_a_clinic_that_is_not_active_looks_like_none(
    server: Server, database: Any, make_clinic: MakeClinic, status: TenantStatus
) -> None:
    subdomain = (await make_clinic()).tenant.subdomain
    await database["tenants"].update_one({"subdomain": subdomain}, {"$set": {"status": status.value}})
    answer, unknown = await public(server, subdomain=subdomain), await public(server, subdomain="nowhere")
    assert answer.status_code == unknown.status_code == 404
    assert {**answer.json()["error"], "requestId": ""} == {**unknown.json()["error"], "requestId": ""}
    assert subdomain not in [one["subdomain"] for one in await all_pages(server)]


async def all_pages(server: Server, first: int = 100) -> list[Body]:
    found: list[Body] = []
    after: dict[str, str] = {}
    while True:
        page = (await public(server, first=first, **after)).json()
        assert len(page["tenants"]) <= first
        found += page["tenants"]
        if not page["pageInfo"]["hasNextPage"]:
            return found
        after = {"after": page["pageInfo"]["endCursor"]}


async def test_pages_show_each_active_clinic_once(server: Server, make_clinic: MakeClinic) -> None:
    mine = {(await make_clinic()).tenant.subdomain for _ in range(3)}
    shown = [one["subdomain"] for one in await all_pages(server, first=2)]
    assert mine <= set(shown)
    assert shown == sorted(set(shown))


async def test_a_page_has_twenty_unless_asked_otherwise(server: Server, make_clinic: MakeClinic) -> None:
    await make_clinic()
    page = (await public(server)).json()
    assert 1 <= len(page["tenants"]) <= 20
    assert "_id" not in page["tenants"][0]


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"first": "0"}, "first"),
        ({"first": "101"}, "first"),
        ({"first": "many"}, "first"),
        ({"first": "-1"}, "first"),
        ({"first": "²"}, "first"),
        ({"after": "%%%"}, "after"),
        ({"after": "_w=="}, "after"),
        ({"after": "ż"}, "after"),
    ],
)
async def test_a_wrong_page_is_refused(server: Server, asked: Body, path: str) -> None:
    answer = await public(server, **asked)
    assert (answer.status_code, paths(answer)) == (400, [path])


async def test_the_list_is_shown_on_a_clinics_host_too(server: Server, clinic_a: Clinic) -> None:
    answer = await Stranger(server, clinic_a.host).http.get("/api/tenants/public")
    assert answer.status_code == 200


async def test_a_repeat_with_its_key_gets_the_first_answer_and_opens_nothing(server: Server) -> None:
    name, key = fresh_name(), {"Idempotency-Key": uuid4().hex}
    http = Stranger(server).http

    answers = await asyncio.gather(*(http.post(ROUTE, json=body_for(name), headers=key) for _ in range(3)))
    later = await Stranger(server).http.post(ROUTE, json=body_for(name), headers=key)

    assert [answer.status_code for answer in (*answers, later)] == [200] * 4
    assert all(answer.json() == later.json() for answer in answers)
    assert await Tenant.find({"subdomain": name}).count() == 1


async def test_a_repeat_is_known_by_its_key_and_everything_that_it_says(server: Server) -> None:
    name, key = fresh_name(), {"Idempotency-Key": uuid4().hex}
    assert (await Stranger(server).http.post(ROUTE, json=body_for(name), headers=key)).status_code == 200

    others: list[tuple[Body, dict[str, str]]] = [
        (body_for(name), {}),
        (body_for(name), {"Idempotency-Key": "another"}),
        ({**body_for(name), "name": "Another"}, key),
        (with_admin(name, email=f"other@{name}.example.com"), key),
        (with_admin(name, password="another passphrase entirely 93"), key),
    ]
    http = [Stranger(server).http for _ in others]
    answers = [await one.post(ROUTE, json=body, headers=headers) for one, (body, headers) in zip(http, others)]  # noqa: B905

    assert [answer.status_code for answer in answers] == [400] * 5
    assert await Tenant.find({"subdomain": name}).count() == 1


@pytest.mark.parametrize("keys", [[""], ["x" * 201], ["one", "two"]])
async def test_a_key_is_one_of_some_length(server: Server, keys: list[str]) -> None:
    headers = [("Idempotency-Key", key) for key in keys]
    answer = await Stranger(server).http.post(ROUTE, json=body_for(fresh_name()), headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["fields"][0]["path"] == "Idempotency-Key"
