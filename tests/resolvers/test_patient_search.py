"""Finding patients: by name, code, phone, e-mail, day of birth, and likeness."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from app.tenancy.crossing import tenant_scope
from models import AuditEntry
from tests.fixtures.clinics import Client, MakeClinic, Server
from tests.resolvers.patient_calls import ARCHIVE, DUPLICATES, LIST, found, register


@pytest.mark.parametrize("name", ["Nguyễn", "李", "Жуков", "O'Brien", "Ω.*+?[(", "$ne", "Straße", "İnan", "عمر", "Zoë"])
async def test_names_of_any_script_are_found_by_either_beginning(admin: Client, name: str) -> None:
    mark = uuid4().hex[:8]
    made = await register(admin, givenName=f"{name} {mark}", familyName=f"Q{mark}")

    assert made["id"] in await found(admin, f"{name} {mark[:6]}")
    assert made["id"] in await found(admin, f"q{mark} {name}")
    assert made["id"] in await found(admin, f"{name} {mark} Q{mark}")


async def test_case_and_accents_do_not_matter(admin: Client) -> None:
    mark = uuid4().hex[:8]
    made = await register(admin, familyName=f"García {mark}")

    assert await found(admin, f"  GARCIA   {mark} ") == [made["id"]]
    assert await found(admin, f"garcía {mark} an") == [made["id"]]
    assert await found(admin, f"arcía {mark}") == []


async def test_code_phone_and_email_find_a_patient(make_clinic: MakeClinic, server: Server) -> None:
    admin = await server.sign_in(await make_clinic())
    made = await register(admin, phone="+1 (212) 555-0199", email="Find.Me@Example.com")
    await register(admin, phone="+44 20 7946 0958", email="other@example.com")

    numbers = ("+1 212 555 01", "12125550199", "212555", "(212) 555-0199")  # the clinic is in New York
    for search in ("P-000001", "p-000001", *numbers, "FIND.ME@", "find.me@example.com"):
        assert await found(admin, search) == [made["id"]]
    for search in ("P-00000", "P-000003", "2125559", "ind.me@", "@"):
        assert await found(admin, search) == []


async def test_days_of_birth_and_statuses_narrow_the_list(make_clinic: MakeClinic, server: Server) -> None:
    admin = await server.sign_in(await make_clinic())
    leap, other = await register(admin, birthDate="1984-02-29"), await register(admin, birthDate="1984-03-01")
    await admin.gql(ARCHIVE, input={"id": other["id"]})

    assert await found(admin, birthDate="1984-02-29") == [leap["id"]]
    assert await found(admin, birthDate="1984-03-01") == []
    assert await found(admin, status="ARCHIVED") == [other["id"]]
    assert await found(admin, status="ACTIVE") == [leap["id"]]


@pytest.mark.parametrize(
    "text", [".*", "^F", '{"$gt":""}', "$where", "' || 1==1", "\x00", "\\", "%", "_", "\U0010ffff"]
)
async def test_what_looks_like_a_query_finds_nobody(admin: Client, text: str) -> None:
    await register(admin)

    assert await found(admin, text) == []


async def test_a_search_too_long_is_refused_and_a_blank_one_lists_all(admin: Client) -> None:
    made = await register(admin, familyName=f"000 {uuid4().hex}")

    answer = await admin.gql(LIST, filter={"search": "x" * 101})

    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["filter.search"])
    assert made["id"] in await found(admin, " \u0301 ")


async def test_orders(make_clinic: MakeClinic, server: Server) -> None:
    admin = await server.sign_in(await make_clinic())
    ids = [(await register(admin, familyName=name))["id"] for name in ("b", "C", "á")]

    async def order(sort: str) -> list[int]:
        edges = (await admin.gql(LIST, sort=sort)).data["patients"]["edges"]
        return [ids.index(edge["node"]["id"]) for edge in edges]

    assert await order("NAME_ASC") == [2, 0, 1]
    assert await order("NAME_DESC") == [1, 0, 2]
    assert await order("OLDEST") == [0, 1, 2]
    assert await order("NEWEST") == [2, 1, 0]


async def test_duplicates_are_told_by_phone_email_or_name_with_birth_date(
    make_clinic: MakeClinic, server: Server
) -> None:
    admin, other = await server.sign_in(await make_clinic()), await server.sign_in(await make_clinic())
    known = {
        "givenName": "Ana",
        "familyName": "Doble",
        "birthDate": "1990-01-01",
        "phone": "+1 212 555 0123",
        "email": "d@example.com",
    }
    made = await register(admin, **known)

    async def alike(client: Client, **values: Any) -> list[str]:
        asked = {"givenName": "X", "familyName": "Y", **values}
        return [one["id"] for one in (await client.gql(DUPLICATES, input=asked)).data["possibleDuplicates"]]

    same_name = {"givenName": "ANA", "familyName": "Doblé"}
    assert await alike(admin, phone="+1 (212) 555-0123") == [made["id"]]
    assert await alike(admin, email="D@example.com") == [made["id"]]
    assert await alike(admin, **same_name, birthDate="1990-01-01") == [made["id"]]
    assert await alike(admin, **same_name) == []
    assert await alike(admin, **same_name, birthDate="1990-01-02") == []
    assert await alike(other, **known) == []


PAGES = """query($filter: PatientFilter, $sort: PatientSort!, $after: String) {
    patients(first: 3, filter: $filter, sort: $sort, after: $after) {
      totalCount totalCountIsExact edges { node { id } } pageInfo { hasNextPage endCursor } } }"""


@pytest.mark.parametrize("few", [0, 4, 1_000], ids=["walked", "some of each", "sorted"])
@pytest.mark.parametrize("sort", ["NAME_ASC", "NAME_DESC", "NEWEST", "OLDEST"])
async def test_pages_of_those_with_either_name_follow_each_other_however_they_are_found(
    make_clinic: MakeClinic, server: Server, monkeypatch: pytest.MonkeyPatch, few: int, sort: str
) -> None:
    """`few` that match are sorted, more are met along the list: nobody is shown twice, left out or in another place."""
    monkeypatch.setattr("app.graphql.ways.FEW", few)
    admin = await server.sign_in(await make_clinic())
    names = [("Mara", "Adams"), ("Zoe", "Martin"), ("Mary", "Marsh"), ("Ali", "Bell"), ("Marc", "Young")]
    names += [("Mar", "Lee"), ("Abe", "Marble"), ("Marla", "Mars"), ("Joan", "Reed")]
    made = [(await register(admin, givenName=given, familyName=family))["id"] for given, family in names]
    wanted = [at for at, both in enumerate(names) if any(name.startswith("Mar") for name in both)]
    by_name = sorted(wanted, key=lambda at: (names[at][1].lower(), names[at][0].lower()))
    orders = {"NAME_ASC": by_name, "NAME_DESC": by_name[::-1], "NEWEST": wanted[::-1], "OLDEST": wanted}

    shown: list[str] = []
    given: dict[str, Any] = {"filter": {"search": "mar"}, "sort": sort, "after": None}
    while True:
        page = (await admin.gql(PAGES, **given)).data["patients"]
        shown += [edge["node"]["id"] for edge in page["edges"]]
        assert (page["totalCount"], page["totalCountIsExact"]) == (len(wanted), True)
        if not page["pageInfo"]["hasNextPage"]:
            break
        given["after"] = page["pageInfo"]["endCursor"]

    assert shown == [made[at] for at in orders[sort]]


async def test_a_search_tells_the_audit_of_those_on_its_page_and_the_next_one_alone(
    make_clinic: MakeClinic, server: Server
) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    made = [(await register(admin, givenName="Mara", familyName=f"Mar {at}"))["id"] for at in range(6)]
    answer = await admin.gql(PAGES, filter={"search": "mar"}, sort="NAME_ASC")
    async with tenant_scope(clinic.ref):
        [entry] = await AuditEntry.rows({"request_id": answer.response.headers["x-request-id"]})
    assert sorted(map(str, entry["patient_ids"])) == sorted(made[:4]), "three, and the one that tells of a next page"


async def test_a_search_counts_up_to_a_bound_and_says_so(
    make_clinic: MakeClinic, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.graphql.paging.SEARCH_COUNT_CAP", 3)
    admin = await server.sign_in(await make_clinic())
    for at in range(4):
        await register(admin, givenName="Mara", familyName=f"Bound {at}")
        page = (await admin.gql(PAGES, filter={"search": "mar"}, sort="NAME_ASC")).data["patients"]
        assert (page["totalCount"], page["totalCountIsExact"]) == (min(at + 1, 3), at < 3)


async def test_an_archived_patient_is_found_by_each_search_among_those_archived_alone(
    make_clinic: MakeClinic, server: Server
) -> None:
    admin = await server.sign_in(await make_clinic())
    away = await register(admin, givenName="Mara", familyName="Away", email="mara@example.com", phone="+12125550188")
    here = await register(admin, givenName="Mara", familyName="Here")
    await admin.gql(ARCHIVE, input={"id": away["id"]})

    for search in ("mara", "away", "mara@", "212555", "P-000001"):
        assert await found(admin, search, status="ARCHIVED") == [away["id"]], search
    assert await found(admin, "mara") == [here["id"]]
