"""Invoices and receipts as PDF: what stands on them, for whom they are, and how many are drawn at once."""

from __future__ import annotations

import asyncio
import io
import logging
from datetime import UTC, datetime
from decimal import Decimal
from threading import Event
from typing import Any

import httpx
import pytest
from bson import ObjectId
from pypdf import PdfReader

from app.errors import Unavailable
from app.services.billing import paper
from app.services.billing.formats import Formats
from app.services.billing.glyphs import fonts_for, writable
from app.services.billing.paper import MOST_WAITING, Paper, drawn
from app.tenancy.crossing import tenant_scope
from models import AuditEntry, Patient
from models.tenant import ClinicSettings, CurrencyPosition, Language, TimeFormat
from models.values import DATE_FORMATS, NumberFormat
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.tills import Cashier, usd


async def get(client: Client, path: str) -> httpx.Response:
    client.http.cookies.clear()  # this client keeps its token itself
    headers = {"Authorization": f"Bearer {client.token}"} if client.token else {}
    return await client.http.get(path, headers=headers)


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return " ".join(page.extract_text() for page in PdfReader(io.BytesIO(answer.content)).pages).replace("\xa0", " ")


async def test_an_invoice_is_a_paper_to_take_along(cashier: Cashier) -> None:
    made = await cashier.draft(
        {"description": "Consultation", "quantity": "2", "unitPrice": usd("1085.50"), "taxRate": "7"},
        {"description": "Bandage", "unitPrice": usd("4.00"), "discount": {"percent": "25"}},
    )
    invoice = await cashier.done("issueInvoice", "id number", id=made["id"], version=1)
    await cashier.paid(invoice, "100.00")

    answer = await get(cashier.client, f"/api/invoices/{invoice['id']}/pdf")

    text = text_of(answer)
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"] == f'attachment; filename="{invoice["number"]}.pdf"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "no-store" in answer.headers["cache-control"]
    for part in ("Invoice", invoice["number"], cashier.clinic.tenant.name, "Pia", "Consultation", "USD 1,085.50"):
        assert part in text
    for part in ("-USD 1.00", "7%", "USD 2,174.00", "USD 151.97", "USD 2,325.97", "USD 100.00", "USD 2,225.97"):
        assert part in text


async def test_a_receipt_tells_what_came_and_what_is_left(cashier: Cashier) -> None:
    invoice = await cashier.issued("100.00")
    payment = await cashier.paid(invoice, "30.00", method="CARD", reference="T-77")
    answer = await get(cashier.client, f"/api/payments/{payment['id']}/receipt")
    assert answer.headers["content-disposition"] == f'attachment; filename="{payment["number"]}.pdf"'
    for part in ("Receipt", payment["number"], invoice["number"], "Card", "T-77", "USD 30.00", "USD 70.00", "Pia"):
        assert part in text_of(answer)


async def test_it_is_written_as_the_clinic_writes(make_clinic: MakeClinic, server: Server) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    settings = {
        "version": 1, "currency": "EUR", "currencySymbol": "€", "currencyPosition": "AFTER", "language": "ES",
        "numberFormat": {"decimalSeparator": ",", "thousandsSeparator": "."}, "dateFormat": "DD.MM.YYYY",
    }  # fmt: skip
    changed = await admin.gql(
        "mutation($input: UpdateSettingsInput!) { updateSettings(input: $input) { version } }", input=settings
    )
    assert not changed.errors
    async with tenant_scope(clinic.ref):
        patient = await Patient(given_name="محمد", family_name="Łukasiński").keyed().insert()
    cashier = Cashier(clinic, admin, str(patient.id))
    made = await cashier.draft({"description": "Consulta", "unitPrice": {"amount": "1234.50", "currency": "EUR"}})
    invoice = await cashier.done("issueInvoice", "id", id=made["id"], version=1)

    text = text_of(await get(admin, f"/api/invoices/{invoice['id']}/pdf"))

    assert "Factura" in text
    assert "1.234,50 €" in text
    assert "Łukasiński" in text
    assert any(letter in text for letter in "محمد")


async def test_a_draft_is_no_paper_and_a_void_one_says_so(cashier: Cashier) -> None:
    draft = await cashier.draft({"description": "Visit", "unitPrice": usd("5.00")})
    refused = await get(cashier.client, f"/api/invoices/{draft['id']}/pdf")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "INVALID_STATE")
    issued = await cashier.issued()
    await cashier.done("voidInvoice", "id", id=issued["id"], version=2, reason="Wrong patient")
    assert "VOID" in text_of(await get(cashier.client, f"/api/invoices/{issued['id']}/pdf"))


async def test_nobody_gets_a_paper_who_may_not_see_it(server: Server, cashier: Cashier, clinic_a: Clinic) -> None:
    invoice = await cashier.issued()
    payment = await cashier.paid(invoice, "1.00")
    nurse = await server.sign_in(clinic_a, "nurse")
    for path in (f"/api/invoices/{invoice['id']}/pdf", f"/api/payments/{payment['id']}/receipt"):
        for client, status in ((nurse, 403), (server.client(clinic_a.host), 401)):
            answer = await get(client, path)
            assert answer.status_code == status
            assert b"%PDF" not in answer.content


async def test_another_clinics_papers_are_as_none(cashier: Cashier, cashier_b: Cashier) -> None:
    theirs = await cashier_b.issued()
    payment = await cashier_b.paid(theirs, "1.00")
    paths = [f"/api/invoices/{id}/pdf" for id in (theirs["id"], str(ObjectId()), "nonsense")]
    paths += [f"/api/payments/{id}/receipt" for id in (payment["id"], str(ObjectId()), "nonsense")]
    answers = [await get(cashier.client, path) for path in paths]
    said = [(one.status_code, one.json()["error"]["code"], one.json()["error"]["fields"]) for one in answers]
    assert said == [(404, "NOT_FOUND", [{"path": "id", "message": "Not found."}])] * 6


async def test_a_paper_is_a_look_at_the_patient(cashier: Cashier) -> None:
    invoice = await cashier.issued()
    await get(cashier.client, f"/api/invoices/{invoice['id']}/pdf")
    async with tenant_scope(cashier.clinic.ref):
        named = {"action": "/api/invoices/{id}/pdf", "patient_ids": ObjectId(cashier.patient)}
        [entry] = await AuditEntry.rows(named)
    assert {"invoices", "patients"} <= set(entry["collections"])


# --- drawing ----------------------------------------------------------------------------------------------------------


def sheet(*recipient: str) -> Paper:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    return Paper("en", "Receipt", "R-1", ["Clinic"], recipient, [], [("Received", "USD 1.00")], moment)


@pytest.mark.parametrize(
    ("name", "fonts"),
    [
        ("Łukasz Ñandú Ελένη Иван", ["NotoSans"]),
        ("محمد", ["NotoSans", "NotoSansArabic"]),
        ("שלום สมชาย", ["NotoSans", "NotoSansHebrew", "NotoSansThai"]),
        ("अमित क्षत्रिय", ["NotoSans", "NotoSansDevanagari"]),
        ("王小明", ["NotoSans"]),
        ("\U0001f600", ["NotoSans"]),
    ],
)
async def test_each_script_has_its_font_and_what_none_has_is_no_failure(
    name: str, fonts: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert set(fonts_for(name)) == set(fonts)
    with caplog.at_level(logging.DEBUG):
        content = await drawn(sheet(name))
    assert content.startswith(b"%PDF")
    assert not [one for one in caplog.messages if any(letter in one for letter in name if letter > "\x7f")]


def test_only_what_no_font_has_is_replaced() -> None:
    assert writable("José 王\n") == {ord("王"): "?"}


async def test_so_many_are_drawn_or_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = Event()

    def slow(_: Paper) -> bytes:
        go_on.wait(10)
        return b"%PDF"

    monkeypatch.setattr(paper, "_draw", slow)
    running = [asyncio.create_task(drawn(sheet())) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await drawn(sheet())
    go_on.set()
    assert await asyncio.gather(*running) == [b"%PDF"] * MOST_WAITING
    assert await drawn(sheet()) == b"%PDF"


# --- writing ----------------------------------------------------------------------------------------------------------


SWISS = NumberFormat(decimal_separator=",", thousands_separator="'")
PLAIN = NumberFormat(thousands_separator="", decimal_places=0)


def formats(**more: Any) -> Formats:
    return Formats(ClinicSettings(**more))


@pytest.mark.parametrize(
    ("settings", "amount", "currency", "written"),
    [
        ({}, "1234.5", "USD", "USD\xa01,234.50"),
        ({"currency_symbol": "$"}, "-1234.5", "USD", "-$1,234.50"),
        ({"currency_symbol": "$"}, "5", "EUR", "EUR\xa05.00"),
        ({"currency": "JPY", "currency_symbol": "¥"}, "1234567", "JPY", "¥1,234,567"),
        ({"currency_position": CurrencyPosition.AFTER}, "0", "KWD", "0.000\xa0KWD"),
        ({"number_format": SWISS}, "1e6", "USD", "USD\xa01'000'000,00"),
        ({"number_format": PLAIN}, "1234.05", "USD", "USD\xa01234.05"),
        ({}, "33.335", "USD", "USD\xa033.335"),
    ],
)  # fmt: skip
def test_money_is_written_as_the_clinic_does(settings: Any, amount: str, currency: str, written: str) -> None:
    assert formats(**settings).money(Decimal(amount), currency) == written


@pytest.mark.parametrize(
    ("pattern", "language", "written"),
    [
        ("MM/DD/YYYY", Language.EN, "03/09/2026"),
        ("D MMM YYYY", Language.ES, "9 mar 2026"),
        ("MMM D, YYYY", Language.EN, "Mar 9, 2026"),
        ("YYYY-MM-DD", Language.ES, "2026-03-09"),
    ],
)
def test_days_and_times_are_the_clinics(pattern: str, language: Language, written: str) -> None:
    given = {"date_format": pattern, "language": language, "timezone": "America/New_York"}
    moment = datetime(2026, 3, 10, 3, 59, tzinfo=UTC)
    assert formats(**given).on(moment) == written
    assert formats(**given).at(moment) == f"{written} 11:59 PM"
    assert formats(**given, time_format=TimeFormat.H24).at(moment) == f"{written} 23:59"


def test_every_pattern_of_days_can_be_written() -> None:
    for pattern in DATE_FORMATS:
        assert formats(date_format=pattern).on(datetime(2026, 3, 10, tzinfo=UTC))
