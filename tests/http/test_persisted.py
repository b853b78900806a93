"""Documents by their hash: kept once they have passed all checks, for their own clinic; registered for everybody."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import ValidationError

from app.errors import PersistedQueryRequired
from app.graphql.persisted import CHARACTERS_OF_ONE, CLINICS, FRESH_SECONDS, Documents, Mode, Texts
from app.services.persisted_documents import Registered, register
from app.tenancy.scope import Scope, open_scope
from models import PersistedDocument
from tests.fixtures.clinics import Answer, Client, Clinic, Server
from tests.fixtures.people import SignedIn

HEADERS = {"X-Polyclinic-Client": "tests"}


def fresh(selection: str = "viewer { role }", kind: str = "query") -> str:
    return f"{kind} Q{uuid4().hex} {{ {selection} }}"


def hashed(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def apollo(text: str) -> dict[str, Any]:
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hashed(text)}}}


async def post(client: Client, body: dict[str, Any]) -> Answer:
    client.http.cookies.clear()  # as `Client.gql` does
    headers = {**HEADERS, **({"Authorization": f"Bearer {client.token}"} if client.token else {})}
    return Answer(await client.http.post("/graphql", json=body, headers=headers))


async def get(client: Client, headers: dict[str, str] | None = None, **parameters: Any) -> httpx.Response:
    client.http.cookies.clear()
    given = {name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()}
    sent = {**(HEADERS if headers is None else headers), "Authorization": f"Bearer {client.token}"}
    return await client.http.get("/graphql", params=given, headers=sent)


async def keep(*texts: str, client: str = "tests", prune: bool = False) -> None:
    with open_scope(Scope(request_id="test")):
        await register([Registered(text, ()) for text in texts], client, prune=prune)


# --- automatic --------------------------------------------------------------------------------------------------------


async def test_a_hash_is_not_found_until_its_document_came_once(admin: Client) -> None:
    """As Apollo's clients know it: message, code, and a status that they read."""
    text = fresh()
    unknown = await post(admin, apollo(text))
    brought = await post(admin, {"query": text, **apollo(text)})
    known = await post(admin, apollo(text))

    assert unknown.status == 200
    assert "data" not in unknown.body
    assert unknown.errors[0]["message"] == "PersistedQueryNotFound"
    assert unknown.codes == ["PERSISTED_QUERY_NOT_FOUND"]
    assert brought.data == known.data == {"viewer": {"role": "admin"}}


async def test_a_hash_of_another_document_is_refused_and_neither_is_kept(admin: Client) -> None:
    one, other = fresh(), fresh()
    answer = await post(admin, {"query": one, **apollo(other)})

    assert (answer.status, answer.codes) == (400, ["VALIDATION_FAILED"])
    for text in (one, other):
        assert (await post(admin, apollo(text))).codes == ["PERSISTED_QUERY_NOT_FOUND"]


@pytest.mark.parametrize("text", ["{ nowhere }", "{", "{ " + "a " * 3_000 + "}"])
async def test_only_documents_that_passed_all_checks_are_kept(admin: Client, text: str) -> None:
    assert (await post(admin, {"query": text, **apollo(text)})).status == 400
    assert (await post(admin, apollo(text))).codes == ["PERSISTED_QUERY_NOT_FOUND"]


async def test_what_one_clinic_brought_is_not_known_at_another(admin: Client, stranger: Client) -> None:
    text = fresh()
    await post(admin, {"query": text, **apollo(text)})

    assert (await post(stranger, apollo(text))).codes == ["PERSISTED_QUERY_NOT_FOUND"]


async def test_a_kept_document_asks_for_the_same_rights(server: Server, clinic_a: Clinic, admin: Client) -> None:
    text = fresh("rooms { totalCount }")
    await post(admin, {"query": text, **apollo(text)})
    nobody = server.client(clinic_a.host)

    assert (await post(nobody, apollo(text))).codes == ["UNAUTHENTICATED"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"extensions": 5}, "extensions"),
        ({"extensions": {"persistedQuery": 5}}, "extensions.persistedQuery"),
        ({"extensions": {"persistedQuery": {"version": 2, "sha256Hash": "0" * 64}}}, "extensions.persistedQuery"),
        ({"extensions": {"persistedQuery": {"version": 1}}}, "extensions.persistedQuery.sha256Hash"),
        ({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "x"}}}, "extensions.persistedQuery.sha256Hash"),
        ({"documentId": 5}, "documentId"),
        ({"documentId": ""}, "documentId"),
        ({"documentId": "a b"}, "documentId"),
        ({"documentId": {"$ne": ""}}, "documentId"),
        ({"documentId": "0" * 64, **apollo("{ a }")}, "documentId"),
        ({"query": 5, "documentId": "0" * 64}, "query"),
        ({}, "query"),
    ],
)
async def test_what_is_no_hash_is_told_by_its_path(admin: Client, body: dict[str, Any], path: str) -> None:
    answer = await post(admin, body)

    assert (answer.status, answer.paths) == (400, [path])


def test_memory_is_bounded_for_each_clinic_and_over_all() -> None:
    texts: Texts[int] = Texts(100)
    for number in range(50):
        texts.put(number, "x" * 30)
    assert texts.characters == 90
    assert [texts.get(number) is not None for number in (46, 47, 49)] == [False, True, True]

    documents = Documents(Mode.AUTOMATIC)
    for clinic in range(CLINICS + 20):
        for _ in range(3):
            documents.keep(clinic, hashed(uuid4().hex), "x" * (CHARACTERS_OF_ONE // 2))
    kept = documents._brought
    assert len(kept) == CLINICS
    assert all(one.characters <= CHARACTERS_OF_ONE for one in kept.values())


# --- registered -------------------------------------------------------------------------------------------------------


async def test_a_registered_document_runs_by_id_in_every_process_at_once(
    server: Server, clinic_a: Clinic, admin: Client
) -> None:
    text = fresh()
    other_process = server.variant().client(clinic_a.host, admin.token)
    for client in (admin, other_process):
        assert (await post(client, {"documentId": hashed(text)})).codes == ["PERSISTED_QUERY_NOT_FOUND"]
    await keep(text)

    for client in (admin, other_process):
        for body in ({"documentId": hashed(text)}, {"documentId": f"sha256:{hashed(text)}"}, apollo(text)):
            assert (await post(client, body)).data == {"viewer": {"role": "admin"}}


async def test_where_only_registered_documents_run_no_other_does(
    server: Server, clinic_a: Clinic, admin: Client
) -> None:
    known, unknown = fresh(), fresh()
    await keep(known)
    strict = server.variant(persisted_queries="required", introspection=True).client(clinic_a.host, admin.token)

    for body in ({"documentId": hashed(known)}, apollo(known), {"query": known}, {"query": known, **apollo(known)}):
        assert (await post(strict, body)).data == {"viewer": {"role": "admin"}}
    for body in (
        {"query": unknown},
        apollo(unknown),
        {"query": unknown, **apollo(unknown)},
        {"documentId": hashed(unknown)},
        {"query": "{ __schema { queryType { name } } }"},
        {"query": "{ nonsense"},
        {"query": known + " "},
    ):
        answer = await post(strict, body)
        assert (answer.status, answer.codes) == (403, ["PERSISTED_QUERY_REQUIRED"])
        assert "introspection" in answer.errors[0]["message"]
        assert "data" not in answer.body


async def test_where_none_are_kept_a_hash_says_so(server: Server, clinic_a: Clinic, admin: Client) -> None:
    text = fresh()
    await keep(text)
    client = server.variant(persisted_queries="off").client(clinic_a.host, admin.token)

    assert (await post(client, {"query": text, **apollo(text)})).status == 200
    answer = await post(client, apollo(text))
    assert (answer.status, answer.codes) == (200, ["PERSISTED_QUERY_NOT_SUPPORTED"])
    assert answer.errors[0]["message"] == "PersistedQueryNotSupported"


async def test_a_dropped_document_stops_running_within_seconds() -> None:
    seconds, stored = [1_000.0], {"id": "{ a }"}

    async def find(name: str) -> str | None:
        return stored.get(name)

    documents = Documents(Mode.REQUIRED, find=find, clock=lambda: seconds[0])
    assert await documents.text_of(None, None, "id") == "{ a }"
    stored.clear()
    assert await documents.text_of(None, None, "id") == "{ a }"
    seconds[0] += FRESH_SECONDS
    with pytest.raises(PersistedQueryRequired):
        await documents.text_of(None, None, "id")


async def test_pruning_drops_what_one_front_end_no_longer_has_and_leaves_the_others(server: Server) -> None:
    shared, mine, theirs, new = (fresh() for _ in range(4))
    await keep(shared, mine, client="web")
    await keep(shared, theirs, client="app")
    await keep(new, client="web", prune=True)

    rows = {row["_id"]: row["clients"] for row in await PersistedDocument.rows({})}
    assert rows.get(hashed(mine)) is None
    assert rows[hashed(shared)] == ["app"]
    assert rows[hashed(theirs)] == ["app"]
    assert rows[hashed(new)] == ["web"]


def test_the_setting_knows_three_words(server: Server) -> None:
    with pytest.raises(ValidationError):
        type(server.settings)(**{**server.settings.model_dump(), "persisted_queries": "sometimes"})


# --- GET --------------------------------------------------------------------------------------------------------------


async def test_a_persisted_query_is_read_by_get_and_stored_by_nobody(admin: Client) -> None:
    text = "query Get($n: Int) { viewer { role } rooms(first: $n) { totalCount } } # " + uuid4().hex
    await keep(text)
    answer = await get(admin, documentId=hashed(text), variables={"n": 3}, operationName="Get")

    assert answer.status_code == 200
    assert answer.json()["data"]["viewer"] == {"role": "admin"}
    assert answer.headers["cache-control"] == "no-store"
    by_apollo = await get(admin, extensions=apollo(text)["extensions"])
    assert by_apollo.json()["data"]["viewer"] == {"role": "admin"}


async def test_a_change_is_never_made_by_get(admin: Client) -> None:
    name = f"Room {uuid4().hex}"
    text = f'mutation M {{ createRoom(input: {{name: "{name}"}}) {{ id }} }}'
    await keep(text)
    answer = await get(admin, documentId=hashed(text))

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["errors"][0]["extensions"]["code"] == "VALIDATION_FAILED"
    assert (await admin.gql("query($s: String) { rooms(filter: {search: $s}) { totalCount } }", s=name)).data == {
        "rooms": {"totalCount": 0}
    }


async def test_get_takes_persisted_queries_alone(admin: Client) -> None:
    text = fresh()
    assert (await get(admin, query=text)).status_code == 400
    assert (await get(admin, query=text, extensions=apollo(text)["extensions"])).status_code == 400
    assert (await get(admin)).status_code == 404
    assert (await get(admin, documentId=hashed(text), variables="[]")).status_code == 400
    assert (await get(admin, documentId=hashed(text), variables="{")).status_code == 400
    twice = await admin.http.get(f"/graphql?documentId={hashed(text)}&documentId=x", headers=HEADERS)
    assert twice.status_code == 400


async def test_a_link_on_a_foreign_page_cannot_make_a_browser_ask(admin: Client, signed_in: SignedIn) -> None:
    text = fresh()
    await keep(text)
    answer = await get(admin, headers={}, documentId=hashed(text))

    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (403, "FORBIDDEN")


async def test_the_query_page_and_persisted_queries_share_their_path(
    server: Server, clinic_a: Clinic, admin: Client
) -> None:
    text = fresh()
    await keep(text)
    client = server.variant(graphql_ide=True).client(clinic_a.host, admin.token)

    page = await client.http.get("/graphql", headers={"accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert (await get(client, documentId=hashed(text))).json()["data"] == {"viewer": {"role": "admin"}}
