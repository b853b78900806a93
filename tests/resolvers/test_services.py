"""Services and their prices. What they share with other named things is in `test_catalog`."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from bson import Decimal128, ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from app.tenancy.crossing import tenant_scope
from models import Service
from models.service import Price
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.commands import Commands

FIELDS = """{ id version name code description durationMinutes price { amount currency }
    specialization { name } }"""
CREATE = f"mutation($input: CreateServiceInput!) {{ createService(input: $input) {FIELDS} }}"
UPDATE = f"mutation($input: UpdateServiceInput!) {{ updateService(input: $input) {FIELDS} }}"


def valid(**changes: Any) -> dict[str, Any]:
    price = {"amount": "80.50", "currency": "USD"}
    return {"name": f"Check-up {uuid4().hex[:12]}", "durationMinutes": 30, "price": price, **changes}


def usd(amount: Any) -> dict[str, Any]:
    return {"price": {"amount": amount, "currency": "USD"}}


async def create(client: Client, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = (await client.gql(CREATE, input=valid(**changes))).data["createService"]
    return made


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("0.10", "0.10"),
        ("19.9999", "19.9999"),
        ("1E+3", "1000"),
        ("1000000000", "1000000000"),
        (12.5, "12.5"),
        (80, "80"),
    ],
)
async def test_a_price_is_kept_to_the_digit(admin: Client, clinic_a: Clinic, sent: Any, shown: str) -> None:
    made = await create(admin, **usd(sent))

    assert made["price"] == {"amount": shown, "currency": "USD"}
    async with tenant_scope(clinic_a.ref):
        (row,) = await Service.rows({"_id": ObjectId(made["id"])})
    assert row["price"] == {"amount": Decimal128(shown), "currency": "USD"}
    listed = await admin.gql("query($id: ID!) { service(id: $id) { price { amount } } }", id=made["id"])
    assert listed.data["service"]["price"]["amount"] == shown


@settings(max_examples=200)
@given(st.decimals(min_value=0, max_value=1_000_000_000, allow_nan=False, places=4))
def test_no_amount_changes_its_value_or_shows_an_exponent(amount: Decimal) -> None:
    kept = Price(amount=amount, currency="USD").amount

    assert kept == amount
    assert "E" not in str(kept)


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"durationMinutes": 0}, "input.durationMinutes"),
        ({"durationMinutes": 7}, "input.durationMinutes"),
        ({"durationMinutes": 725}, "input.durationMinutes"),
        ({"durationMinutes": 2**40}, "input.durationMinutes"),
        ({"durationMinutes": 30.5}, "input.durationMinutes"),
        (usd("-0.01"), "input.price.amount"),
        (usd("0.00001"), "input.price.amount"),
        (usd("1000000000.01"), "input.price.amount"),
        (usd("1E+999999"), "input.price.amount"),
        (usd("NaN"), "input.price.amount"),
        (usd("Infinity"), "input.price.amount"),
        (usd("ten"), "input.price.amount"),
        (usd(True), "input.price.amount"),
        (usd(None), "input.price.amount"),
        ({"price": {"amount": "1", "currency": "EUR"}}, "input.price.currency"),
        ({"price": {"amount": "1", "currency": "usd"}}, "input.price.currency"),
        ({"price": {"amount": "1"}}, "input.price.currency"),
        ({"price": None}, "input.price"),
        ({"code": "a\tb"}, "input.code"),
    ],
)
async def test_wrong_input_is_told_by_path_and_writes_nothing(
    admin: Client, commands: Commands, wrong: dict[str, Any], path: str
) -> None:
    created = await admin.gql(CREATE, input=valid(**wrong))
    assert (created.codes, created.paths) == (["VALIDATION_FAILED"], [path])

    changed = await admin.gql(UPDATE, input={"id": "0123456789abcdef01234567", "version": 1, **wrong})
    assert (changed.codes, changed.paths) == (["VALIDATION_FAILED"], [path])
    assert commands.writes() == []


async def test_absent_values_stay_and_null_clears(admin: Client) -> None:
    made = await create(admin, code="C1", description="Long")

    changed = await admin.gql(UPDATE, input={"id": made["id"], "version": 1, "code": None, **usd("5")})

    assert changed.data["updateService"] == {
        **made,
        "version": 2,
        "code": None,
        "price": {"amount": "5", "currency": "USD"},
    }


async def test_prices_follow_the_clinics_currency(make_clinic: MakeClinic, server: Server) -> None:
    admin = await server.sign_in(await make_clinic())
    await admin.gql('mutation { updateSettings(input: {version: 1, currency: "JPY"}) { version } }')

    made = await admin.gql(CREATE, input=valid(price={"amount": "8000", "currency": "JPY"}))
    refused = await admin.gql(CREATE, input=valid())

    assert made.data["createService"]["price"] == {"amount": "8000", "currency": "JPY"}
    assert (refused.codes, refused.paths) == (["VALIDATION_FAILED"], ["input.price.currency"])


async def test_a_service_belongs_to_a_specialization_of_its_own_clinic(admin: Client, stranger: Client) -> None:
    mutation = "mutation($input: CreateSpecializationInput!) { createSpecialization(input: $input) { id } }"
    name = f"Field {uuid4().hex[:8]}"
    ours = (await admin.gql(mutation, input={"name": name})).data["createSpecialization"]["id"]
    theirs = (await stranger.gql(mutation, input={"name": name})).data["createSpecialization"]["id"]

    made = await create(admin, specializationId=ours)

    assert made["specialization"] == {"name": name}
    for id in (theirs, "0123456789abcdef01234567", "nonsense"):
        for answer in (
            await admin.gql(CREATE, input=valid(specializationId=id)),
            await admin.gql(UPDATE, input={"id": made["id"], "version": 1, "specializationId": id}),
        ):
            assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.specializationId"])
    query = "query($id: ID) { services(filter: {specializationId: $id}) { edges { node { id } } } }"
    assert [e["node"]["id"] for e in (await admin.gql(query, id=ours)).data["services"]["edges"]] == [made["id"]]
    assert (await admin.gql(query, id=theirs)).data["services"]["edges"] == []


async def test_an_accountant_keeps_the_catalogue_and_a_doctor_reads_it(server: Server, clinic_a: Clinic) -> None:
    accountant = await server.sign_in(clinic_a, "accountant")
    doctor = await server.sign_in(clinic_a, "doctor")

    made = await create(accountant)

    assert (await doctor.gql("query($id: ID!) { service(id: $id) { name } }", id=made["id"])).data["service"]
    assert (await doctor.gql(CREATE, input=valid())).codes == ["FORBIDDEN"]
