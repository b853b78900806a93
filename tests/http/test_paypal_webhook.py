"""PayPal's events over HTTP: which are believed, and that each has one effect, by what PayPal says when it is asked."""

from __future__ import annotations

import asyncio
import json
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from app.http.paypal_webhook import MAX_BODY_BYTES, PATH
from app.integrations import paypal_signatures
from app.services import inbox
from app.services.subscription import events, settling
from app.services.subscription.truth import truth_of
from app.tenancy.scope import Scope, open_scope
from models import PaypalEvent
from models.subscription import EventState
from models.values import now
from scripts.paypal.app import CLIENT_ID, CLIENT_SECRET, WEBHOOK_ID
from scripts.paypal.certificates import make_chain
from scripts.paypal.webhooks import Event, Outlet, event_of
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.paypal import STATUS, Till, set_up, settings_for, simulated, till_for
from tests.server_process import server_process

Json = dict[str, Any]
COPIES = 60


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture
async def boss(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic)


async def row_of(event: Event) -> Json | None:
    rows = await PaypalEvent.rows({"_id": event.id})
    return rows[0] if rows else None


async def approved(till: Till, boss: Client) -> tuple[Json, Event]:
    """An order to which the payer agreed, and the event that tells it."""
    made = await till.order(boss)
    await till.agree(made)
    [event] = till.events("CHECKOUT.ORDER.APPROVED", made["paypalId"])
    return made, event


# --- what an event does -----------------------------------------------------------------------------------------------


async def test_an_event_is_stored_answered_and_then_handled(till: Till, boss: Client, clinic: Clinic) -> None:
    """The payer has agreed and closed the browser: the money is taken all the same."""
    _, event = await approved(till, boss)
    answer = await till.deliver(event)
    assert (answer.status_code, answer.json()) == (200, {"success": True, "duplicate": False})
    row = await row_of(event)
    assert row is not None
    assert row["status"] == "waiting"
    assert (await till.status(boss))["status"] == "TRIAL"
    await till.handle()
    row = await row_of(event)
    assert row is not None
    assert (row["status"], row["clinic_id"]) == ("handled", clinic.tenant.key)
    shown = await till.status(boss)
    assert (shown["plan"], shown["status"]) == ("PRO", "ACTIVE")


async def test_sixty_copies_at_once_have_one_effect(till: Till, boss: Client) -> None:
    made, event = await approved(till, boss)
    answers = await asyncio.gather(*(till.deliver(event) for _ in range(COPIES)))
    assert {one.status_code for one in answers} == {200}
    assert [one.json()["duplicate"] for one in answers].count(False) == 1
    await asyncio.gather(*(_handled(till, event) for _ in range(COPIES)))
    assert len(await till.payments(boss)) == 1
    captures = [one for one in till.paypal.calls if one.endswith(f"{made['paypalId']}/capture")]
    assert len(captures) == 1
    shown = await till.status(boss)
    assert [step["status"] for step in shown["history"]] == ["ACTIVE"]


async def _handled(till: Till, event: Event) -> None:
    with open_scope(Scope(request_id=uuid4().hex)):
        await events.handle(event.id, till.server.settings)


async def test_many_events_about_one_order_at_once_have_one_effect(till: Till, boss: Client) -> None:
    made, event = await approved(till, boss)
    order = till.paypal.ledger.order(made["paypalId"])
    copies = [event, *(event_of("CHECKOUT.ORDER.APPROVED", order) for _ in range(COPIES - 1))]
    answers = await asyncio.gather(*(till.deliver(one) for one in copies))
    assert {one.status_code for one in answers} == {200}
    await asyncio.gather(*(_handled(till, one) for one in copies))
    await till.handle()
    assert len(await till.payments(boss)) == 1
    assert {(await row_of(one) or {})["status"] for one in copies} <= {"handled", "waiting"}


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
async def test_in_whatever_order_events_come_they_lead_to_the_same(
    till: Till, boss: Client, order: tuple[int, ...]
) -> None:
    """All three were sent before any of them is handled; what they tell is long over."""
    made = await till.order(boss)
    await till.agree(made)
    till.paypal.ledger.capture(made["paypalId"])
    till.paypal.ledger.refund(made["paypalId"])
    capture = till.paypal.ledger.order(made["paypalId"])["purchase_units"][0]["payments"]["captures"][0]["id"]
    come = [
        till.events("CHECKOUT.ORDER.APPROVED", made["paypalId"])[0],
        till.events("PAYMENT.CAPTURE.COMPLETED", capture)[0],
        till.events("PAYMENT.CAPTURE.REFUNDED", capture)[0],
    ]
    for place in order:
        assert (await till.deliver(come[place])).status_code == 200
        await till.handle()
    [payment] = await till.payments(boss)
    assert (payment["state"], payment["refunded"]["amount"]) == ("REFUNDED", "149.00")
    assert (await till.status(boss))["status"] == "TRIAL"


async def test_an_older_reading_does_not_overwrite_a_later_one(
    till: Till, boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One handler reads that all is paid and rests; meanwhile the money is given back, and another one stores that."""
    made = await till.pay(boss)
    capture = (await till.payments(boss))[0]["transactionId"]
    [paid] = till.events("PAYMENT.CAPTURE.COMPLETED", capture)
    read, go_on = asyncio.Event(), asyncio.Event()

    async def resting(row: Json, settings: Any) -> Any:
        found = await truth_of(row, settings)
        if not read.is_set():
            read.set()
            await go_on.wait()
        return found

    await till.deliver(paid)
    monkeypatch.setattr(settling, "truth_of", resting)
    monkeypatch.setattr(settling, "_turns", {})  # as two processes have it
    slow = asyncio.create_task(_handled(till, paid))
    await read.wait()
    monkeypatch.setattr(settling, "_turns", {})
    till.paypal.ledger.refund(made["paypalId"])
    [refunded] = till.events("PAYMENT.CAPTURE.REFUNDED", capture)
    await till.deliver(refunded)
    await _handled(till, refunded)
    go_on.set()
    await slow
    [payment] = await till.payments(boss)
    assert payment["state"] == "REFUNDED"


async def test_an_event_is_not_believed_about_what_it_says_itself(till: Till, boss: Client, stranger: Client) -> None:
    """Signed by PayPal, but about an order that was not paid; and it names another clinic's."""
    made = await till.order(boss)
    claimed = {
        "id": made["paypalId"],
        "status": "COMPLETED",
        "custom_id": "000000000000000000000000",
        "purchase_units": [{"amount": {"currency_code": "USD", "value": "149.00"}}],
        "supplementary_data": {"related_ids": {"order_id": made["paypalId"]}},
    }
    event = event_of("CHECKOUT.ORDER.COMPLETED", claimed)
    assert (await till.deliver(event)).status_code == 200
    await till.handle()
    assert (await till.status(boss))["status"] == "TRIAL"
    assert await till.payments(boss) == []
    assert await till.payments(stranger) == []


async def test_an_event_about_nothing_of_ours_is_ignored(till: Till) -> None:
    event = event_of("CHECKOUT.ORDER.APPROVED", {"id": "SOMEBODYELSES"})
    assert (await till.deliver(event)).status_code == 200
    await till.handle()
    row = await row_of(event)
    assert row is not None
    assert (row["status"], row["clinic_id"]) == ("ignored", None)


async def test_of_an_event_its_ids_are_kept_and_nothing_else(till: Till, boss: Client) -> None:
    _, event = await approved(till, boss)
    await till.deliver(event)
    assert b"payer@example.com" in event.body
    assert "payer@example.com" not in str(await row_of(event))


# --- what is not believed ---------------------------------------------------------------------------------------------


async def refused(till: Till, event: Event, body: bytes, headers: Json) -> Json:
    answer = await till.post(body, headers)
    assert answer.status_code == 401, answer.text
    assert await row_of(event) is None
    told: Json = answer.json()["error"]
    assert told.pop("requestId")
    return told


async def test_whatever_is_wrong_with_the_proof_the_answer_is_the_same(till: Till, boss: Client) -> None:
    _, event = await approved(till, boss)
    good = till.outlet.headers(event)
    forger = Outlet(till.paypal.url, make_chain(), WEBHOOK_ID)
    other = Outlet(till.paypal.url, till.paypal.chain, "ANOTHERWEBHOOK")
    url = good["PayPal-Cert-Url"]
    flipped = ("A" if good["PayPal-Transmission-Sig"][0] != "A" else "B") + good["PayPal-Transmission-Sig"][1:]
    old = datetime.now(UTC) - paypal_signatures.OLDEST - timedelta(minutes=1)
    ahead = datetime.now(UTC) + paypal_signatures.CLOCKS + timedelta(minutes=1)
    attempts: dict[str, tuple[bytes, Json]] = {
        "no headers": (event.body, {"Content-Type": "application/json"}),
        "changed body": (event.body.replace(b"149.00", b"999.00"), good),
        "changed signature": (event.body, {**good, "PayPal-Transmission-Sig": flipped}),
        "signature that is none": (event.body, {**good, "PayPal-Transmission-Sig": "?!"}),
        "another transmission": (event.body, {**good, "PayPal-Transmission-Id": "another-transmission"}),
        "old": (event.body, till.outlet.headers(event, at=old)),
        "from the future": (event.body, till.outlet.headers(event, at=ahead)),
        "no time": (event.body, {**good, "PayPal-Transmission-Time": "yesterday"}),
        "another algorithm": (event.body, {**good, "PayPal-Auth-Algo": "SHA1withRSA"}),
        "for another webhook": (event.body, other.headers(event)),
        "signed by somebody else": (event.body, forger.headers(event)),
        "certificate at another host": (event.body, {**good, "PayPal-Cert-Url": url.replace("127.0.0.1", "127.0.0.2")}),
        "certificate at PayPal itself": (
            event.body,
            {**good, "PayPal-Cert-Url": "https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1"},
        ),
        "certificate elsewhere": (event.body, {**good, "PayPal-Cert-Url": f"{till.paypal.url}/v2/checkout/orders"}),
        "certificate that is not there": (event.body, {**good, "PayPal-Cert-Url": f"{url}0"}),
        "certificate by a file": (event.body, {**good, "PayPal-Cert-Url": "file:///etc/passwd"}),
    }
    answers = {name: await refused(till, event, *attempt) for name, attempt in attempts.items()}
    assert {json.dumps(one, sort_keys=True) for one in answers.values()} == {
        json.dumps({"code": "UNAUTHENTICATED", "message": "The event is not proven to be PayPal's.", "fields": []},
                   sort_keys=True)
    }  # fmt: skip
    assert (await till.post(event.body, good)).status_code == 200, "the very same one, as it was signed, is taken"


@pytest.mark.parametrize("wrong", ["chain", "name", "expired"])
async def test_a_certificate_that_is_not_paypals_proves_nothing(
    boss: Client, server: Server, tmp_path: Path, wrong: str
) -> None:
    """It is served where PayPal's would be, and the signature is its own."""
    ended = datetime.now(UTC) - timedelta(days=1)
    chains = {"name": make_chain("www.example.com"), "expired": make_chain(ends=ended)}
    chain = chains.get(wrong) or make_chain()
    with simulated(chain=chain) as other:
        there = till_for(server, other, tmp_path)
        if wrong == "chain":
            roots = tmp_path / "others.pem"
            roots.write_bytes(make_chain().root)
            chosen = {**settings_for(other, tmp_path), "paypal_roots": roots}
            there = Till(set_up(server, **chosen), other)
        event = event_of("CHECKOUT.ORDER.APPROVED", {"id": "X"})
        assert (await there.deliver(event)).status_code == 401
        assert await row_of(event) is None


LIVE = {
    "paypal_client_id": CLIENT_ID,
    "paypal_client_secret": SecretStr(CLIENT_SECRET),
    "paypal_webhook_id": WEBHOOK_ID,
}


@pytest.mark.parametrize(
    ("paypal", "url"),
    [
        ("https://api-m.paypal.com", "http://api.paypal.com/v1/notifications/certs/CERT-1"),
        ("https://api-m.paypal.com", "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1"),
        ("https://api-m.paypal.com", "https://api.paypal.com:8443/v1/notifications/certs/CERT-1"),
        ("https://api-m.paypal.com", "https://api.paypal.com@evil.example/v1/notifications/certs/CERT-1"),
        ("https://api-m.paypal.com", "https://api.paypal.com/v1/notifications/certs/../../x"),
        ("https://api-m.paypal.com", "https://api.paypal.com/v1/notifications/certs/CERT-1?x=1"),
        ("https://api-m.paypal.com", "https://evilapi.paypal.com/v1/notifications/certs/CERT-1"),
        ("https://api-m.paypal.com", "https://[api.paypal.com/v1/notifications/certs/CERT-1"),
        ("https://api-m.sandbox.paypal.com", "https://api.paypal.com/v1/notifications/certs/CERT-1"),
    ],
)
async def test_a_certificate_is_fetched_from_paypals_own_hosts_alone(
    server: Server, till: Till, monkeypatch: pytest.MonkeyPatch, paypal: str, url: str
) -> None:
    async def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was fetched")

    monkeypatch.setattr(paypal_signatures, "fetch", never)
    there = Till(set_up(server, **LIVE, paypal_url=paypal), till.paypal)
    event = event_of("CHECKOUT.ORDER.APPROVED", {"id": "X"})
    assert (await there.deliver(event, PayPal_Cert_Url=url)).status_code == 401


async def test_a_root_of_a_simulator_does_not_count_for_paypal_itself(
    server: Server, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate would be the simulator's: the public roots do not know it."""
    from app.integrations.outbound import Reached

    async def answer(*_: Any, **__: Any) -> Reached:
        return Reached(200, till.paypal.chain.chain)

    monkeypatch.setattr(paypal_signatures, "fetch", answer)
    there = Till(set_up(server, **LIVE, paypal_url="https://api-m.sandbox.paypal.com"), till.paypal)
    event = event_of("CHECKOUT.ORDER.APPROVED", {"id": "X"})
    url = f"https://api.sandbox.paypal.com/v1/notifications/certs/CERT-{uuid4().hex}"
    assert (await there.deliver(event, PayPal_Cert_Url=url)).status_code == 401


async def test_paypal_can_be_asked_instead(server: Server, boss: Client, till: Till, tmp_path: Path) -> None:
    chosen = {**settings_for(till.paypal, tmp_path), "paypal_verification": "postback"}
    there = Till(set_up(server, **chosen), till.paypal)
    _, event = await approved(there, boss)
    good = there.outlet.headers(event)
    changed = event.body.replace(b"149.00", b"999.00")
    assert zlib.crc32(changed) != zlib.crc32(event.body)
    await refused(there, event, changed, good)
    assert (await there.post(event.body, good)).status_code == 200


async def test_guessing_is_limited_and_good_events_use_nothing_up(
    till: Till, boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "TRIES", replace(events.TRIES, tries=3))
    client = till.server.client("polyclinic.test", address="203.0.113.77").http
    _, event = await approved(till, boss)
    forged = {**till.outlet.headers(event), "PayPal-Transmission-Id": "another"}
    good = [await client.post(PATH, content=event.body, headers=till.outlet.headers(event)) for _ in range(5)]
    bad = [await client.post(PATH, content=event.body, headers=forged) for _ in range(5)]
    assert [one.status_code for one in good] == [200] * 5
    assert [one.status_code for one in bad] == [401] * 3 + [429] * 2


async def test_where_no_webhook_is_set_up_nothing_is_taken(server: Server, till: Till) -> None:
    event = event_of("CHECKOUT.ORDER.APPROVED", {"id": "X"})
    assert (await Till(server, till.paypal).deliver(event)).status_code == 503


async def test_a_clinics_host_has_no_such_route(till: Till, clinic: Clinic) -> None:
    event = event_of("CHECKOUT.ORDER.APPROVED", {"id": "X"})
    assert (await till.post(event.body, till.outlet.headers(event), clinic.host)).status_code == 404


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"nonsense", b'{"id": "WH-1"}', b'{"id": "WH-1", "event_type": 3, "resource": {}}']
)
async def test_what_is_signed_and_no_event_is_said_to_be_none(till: Till, body: bytes) -> None:
    event = Event("WH-1", "", body)
    assert (await till.deliver(event)).status_code == 400


async def test_what_is_too_long_is_not_read(till: Till) -> None:
    event = Event("WH-2", "", b"{" + b" " * MAX_BODY_BYTES + b"}")
    assert (await till.deliver(event)).status_code == 413


# --- dead letters -----------------------------------------------------------------------------------------------------


async def test_what_cannot_be_handled_now_is_tried_again_and_given_up_at_last(
    till: Till, boss: Client, clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, event = await approved(till, boss)

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug of tomorrow")

    await till.deliver(event)
    with monkeypatch.context() as patched:
        patched.setattr(events, "bring", broken)
        patched.setattr(inbox, "FIRST_DELAY", timedelta(0))
        for _ in range(inbox.MAX_TRIES):
            await _handled(till, event)
    row = await row_of(event)
    assert row is not None
    assert (row["status"], row["clinic_id"], row["error"]) == ("dead", clinic.tenant.key, "RuntimeError")
    with open_scope(Scope(request_id="test")):
        assert event.id in {one["_id"] for one in await events.listed([EventState.DEAD])}
        assert await events.replay(event.id, "PayPal answers again") == 1
    await till.handle()
    assert (await till.status(boss))["status"] == "ACTIVE"


async def test_an_event_whose_handler_died_is_handled_by_another(till: Till, boss: Client) -> None:
    _, event = await approved(till, boss)
    await till.deliver(event)
    dead = {"$set": {"next_at": now() + timedelta(seconds=30), "tries": 1}}
    await PaypalEvent.guarded().update_one({"_id": event.id}, dead)
    await _handled(till, event)
    assert (await row_of(event) or {})["status"] == "waiting", "its lease has not ended"
    await PaypalEvent.guarded().update_one({"_id": event.id}, {"$set": {"next_at": now()}})
    await _handled(till, event)
    assert (await till.status(boss))["status"] == "ACTIVE"


async def test_an_order_that_is_another_at_paypal_makes_a_dead_letter(till: Till, boss: Client, clinic: Clinic) -> None:
    made, event = await approved(till, boss)
    till.paypal.ledger.orders[made["paypalId"]]["purchase_units"][0]["amount"] = {
        "currency_code": "USD",
        "value": "1.00",
    }
    await till.deliver(event)
    await till.handle()
    row = await row_of(event)
    assert row is not None
    assert (row["status"], row["error"], row["clinic_id"]) == ("dead", "Mismatch", clinic.tenant.key)


# --- all of it, in processes of their own -----------------------------------------------------------------------------


async def test_a_server_and_paypal_talk_by_sockets_alone(
    clinic: Clinic, boss: Client, server: Server, tmp_path: Path
) -> None:
    """Events come twice and shuffled, calls fail now and then; the payer presses one button, and the plan is paid."""
    with simulated() as paypal:
        chosen = settings_for(paypal, tmp_path)
        told = {name.upper(): _text(value) for name, value in chosen.items()}
        with server_process(server.settings, **told, PAYPAL_INBOX_SECONDS="1") as address:
            paypal.outlet.target = f"{address}/api/subscription/webhook"
            paypal.outlet.copies, paypal.outlet.shuffled = 3, True
            paypal.outlet.host = "polyclinic.test"
            here = till_for(server, paypal, tmp_path)
            made = await here.order(boss)
            paypal.faults.failures = 0.2
            await here.agree(made)
            async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as client:
                headers = {
                    "Host": clinic.host,
                    "Authorization": f"Bearer {boss.token}",
                    "X-Polyclinic-Client": "tests",
                }
                while True:
                    shown = await client.post(f"{address}/graphql", json={"query": STATUS}, headers=headers)
                    if shown.json()["data"]["subscriptionStatus"]["status"] == "ACTIVE":
                        break
                    await asyncio.sleep(0.1)
            paypal.faults.failures = 0.0
            assert len(await here.payments(boss)) == 1


def _text(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
