"""Finding patients: by name, code, phone, e-mail, day of birth, and likeness."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

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
