"""The clinic of a host, and its settings."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.tenancy.crossing import tenant_scope
from models import Settings, Tenant
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.commands import Commands
from tests.fixtures.people import SignedIn

CLINIC_FIELDS = """{ subdomain name displayName email phone address { street city state zipCode country }
    regional { timezone currency currencySymbol currencyPosition dateFormat timeFormat language logo primaryColor
        secondaryColor numberFormat { decimalSeparator thousandsSeparator decimalPlaces } } }"""
CLINIC = f"{{ clinic {CLINIC_FIELDS} }}"
FIELDS = f"{{ version slotMinutes bookingHorizonDays patientCodePrefix clinic {CLINIC_FIELDS} }}"
SETTINGS = f"{{ settings {FIELDS} }}"
UPDATE = f"mutation($input: UpdateSettingsInput!) {{ updateSettings(input: $input) {FIELDS} }}"


async def stored(clinic: Clinic) -> tuple[dict[str, Any], dict[str, Any]]:
    async with tenant_scope(clinic.ref):
        (own,) = await Settings.rows({})
    (tenant,) = await Tenant.rows({"_id": clinic.tenant.id})
    return own, tenant


async def test_anybody_sees_the_public_face_of_the_clinic_on_its_host(server: Server, clinic_a: Clinic) -> None:
    shown = (await server.client(clinic_a.host).gql(CLINIC)).data["clinic"]

    assert (shown["subdomain"], shown["name"]) == (clinic_a.tenant.subdomain, clinic_a.tenant.name)
    assert shown["regional"]["timezone"] == "America/New_York"
    assert (await server.client().gql(CLINIC)).data["clinic"] is None


async def test_the_public_face_has_no_more_than_that(server: Server, clinic_a: Clinic) -> None:
    for field in ("status", "subscription", "version", "settings", "createdAt", "deletionStartedAt"):
        answer = await server.client(clinic_a.host).gql(f"{{ clinic {{ {field} }} }}")
        assert (answer.status, answer.codes) == (400, ["VALIDATION_FAILED"])


async def test_a_new_clinic_has_settings(make_clinic: MakeClinic, server: Server) -> None:
    clinic = await make_clinic()

    shown = (await (await server.sign_in(clinic)).gql(SETTINGS)).data["settings"]

    assert (shown["version"], shown["slotMinutes"], shown["bookingHorizonDays"]) == (1, 15, 180)
    assert shown["clinic"]["subdomain"] == clinic.tenant.subdomain


async def test_one_change_reaches_rules_profile_and_regional_settings(make_clinic: MakeClinic, server: Server) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    before = (await admin.gql(SETTINGS)).data["settings"]

    changed = await admin.gql(
        UPDATE,
        input={
            "version": 1,
            "slotMinutes": 20,
            "patientCodePrefix": " mrn ",
            "name": "Clínica Nueva",
            "phone": "+1 212 555 0100",
            "address": {"city": "Quito"},
            "timezone": "America/Guayaquil",
            "currency": "EUR",
            "timeFormat": "H24",
            "numberFormat": {"decimalSeparator": ",", "thousandsSeparator": ".", "decimalPlaces": 0},
        },
    )

    shown = changed.data["updateSettings"]
    assert (shown["version"], shown["slotMinutes"], shown["patientCodePrefix"]) == (2, 20, "MRN")
    assert shown["bookingHorizonDays"] == before["bookingHorizonDays"]
    face = shown["clinic"]
    assert (face["name"], face["phone"], face["email"]) == (
        "Clínica Nueva",
        "+1 212 555 0100",
        before["clinic"]["email"],
    )
    assert face["address"] == {"street": None, "city": "Quito", "state": None, "zipCode": None, "country": None}
    regional = {**before["clinic"]["regional"], "timezone": "America/Guayaquil", "currency": "EUR", "timeFormat": "H24"}
    number_format = {"decimalSeparator": ",", "thousandsSeparator": ".", "decimalPlaces": 0}
    assert face["regional"] == {**regional, "numberFormat": number_format}
    assert (await admin.gql(SETTINGS)).data["settings"] == shown


async def test_null_clears_what_may_be_empty(make_clinic: MakeClinic, server: Server) -> None:
    admin = await server.sign_in(await make_clinic())
    given = {
        "displayName": "Shown",
        "currencySymbol": "€",
        "logo": "https://example.com/a.png",
        "primaryColor": "#00ff00",
    }
    await admin.gql(UPDATE, input={"version": 1, **given})

    cleared = await admin.gql(UPDATE, input={"version": 2, "displayName": None, "currencySymbol": None, "logo": None})

    face = cleared.data["updateSettings"]["clinic"]
    assert (face["displayName"], face["regional"]["currencySymbol"], face["regional"]["logo"]) == (None, None, None)
    assert face["regional"]["primaryColor"] == "#00ff00"


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"slotMinutes": 7}, "input.slotMinutes"),
        ({"slotMinutes": 0}, "input.slotMinutes"),
        ({"slotMinutes": None}, "input.slotMinutes"),
        ({"bookingHorizonDays": 731}, "input.bookingHorizonDays"),
        ({"patientCodePrefix": "1A"}, "input.patientCodePrefix"),
        ({"patientCodePrefix": "TOOLONG"}, "input.patientCodePrefix"),
        ({"name": "x"}, "input.name"),
        ({"name": None}, "input.name"),
        ({"displayName": "a\u202eb"}, "input.displayName"),
        ({"email": "nope"}, "input.email"),
        ({"phone": "nope"}, "input.phone"),
        ({"address": {"city": "\x00"}}, "input.address.city"),
        ({"timezone": "Mars/Olympus"}, "input.timezone"),
        ({"timezone": "../etc/passwd"}, "input.timezone"),
        ({"timezone": None}, "input.timezone"),
        ({"currency": "usd"}, "input.currency"),
        ({"currency": "XXX"}, "input.currency"),
        ({"currencySymbol": "€€€€€€€"}, "input.currencySymbol"),
        ({"currencySymbol": "\u202e"}, "input.currencySymbol"),
        ({"dateFormat": "%d"}, "input.dateFormat"),
        ({"timeFormat": "H25"}, "input.timeFormat"),
        ({"numberFormat": {"decimalPlaces": 5}}, "input.numberFormat.decimalPlaces"),
        ({"numberFormat": {"decimalSeparator": "x"}}, "input.numberFormat.decimalSeparator"),
        ({"logo": "http://example.com/a.png"}, "input.logo"),
        ({"logo": "javascript:alert(1)"}, "input.logo"),
        ({"primaryColor": "red"}, "input.primaryColor"),
        ({"subdomain": "other"}, "input.subdomain"),
        ({"status": "ACTIVE"}, "input.status"),
    ],
)
async def test_wrong_changes_are_told_by_path_and_change_nothing(
    admin: Client, commands: Commands, wrong: dict[str, Any], path: str
) -> None:
    answer = await admin.gql(UPDATE, input={"version": 1, "slotMinutes": 10, **wrong})

    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])
    assert commands.writes() == []


async def test_all_or_nothing_across_both_documents(make_clinic: MakeClinic, server: Server) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    before = await stored(clinic)

    wrong = await admin.gql(UPDATE, input={"version": 1, "slotMinutes": 3, "currency": "doubloons", "name": "New name"})
    stale = await admin.gql(UPDATE, input={"version": 9, "slotMinutes": 10, "name": "New name"})

    assert wrong.paths == ["input.slotMinutes", "input.currency"]
    assert (stale.codes, stale.paths) == (["CONFLICT"], ["input.version"])
    assert await stored(clinic) == before


async def test_of_changes_to_one_version_at_once_one_wins_whole(make_clinic: MakeClinic, server: Server) -> None:
    admin = await server.sign_in(await make_clinic())
    slots = [5, 10, 15, 20]

    answers = await asyncio.gather(
        *(admin.gql(UPDATE, input={"version": 1, "slotMinutes": n, "name": f"Clinic of {n}"}) for n in slots)
    )

    assert sorted(code for answer in answers for code in answer.codes) == ["CONFLICT"] * 3
    shown = (await admin.gql(SETTINGS)).data["settings"]
    assert (shown["version"], shown["clinic"]["name"]) == (2, f"Clinic of {shown['slotMinutes']}")


async def test_another_clinics_settings_are_untouched(make_clinic: MakeClinic, server: Server) -> None:
    ours, theirs = await make_clinic(), await make_clinic()
    before = await stored(theirs)

    await (await server.sign_in(ours)).gql(UPDATE, input={"version": 1, "name": "Ours", "slotMinutes": 60})

    assert await stored(theirs) == before


async def test_rights_decide_who_reads_and_who_changes(
    signed_in: SignedIn, clinic_a: Clinic, commands: Commands
) -> None:
    receptionist, nurse = await signed_in(clinic_a, "receptionist"), await signed_in(clinic_a, "nurse")
    commands.clear()

    assert (await receptionist.gql(SETTINGS)).data["settings"]["slotMinutes"] == 15
    assert (await nurse.gql(SETTINGS)).codes == ["FORBIDDEN"]
    assert (await receptionist.gql(UPDATE, input={"version": 1, "slotMinutes": 30})).codes == ["FORBIDDEN"]
    assert commands.writes() == []
