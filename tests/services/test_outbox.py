"""The outbox: what is announced is sent, at least once, in turn, and nothing of it can be read while it waits."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId
from pydantic import SecretStr
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import Conflict, InvalidState
from app.integrations.delivery import DeliveryFailed
from app.integrations.mail import FileMail, Mail, composed, mail_transport
from app.integrations.sms import Sms, sms_transport
from app.services.dispatching import LEASE, MAX_TRIES, Dispatcher, delay_after, retry_dead
from app.services.mailing import Letter, letter
from app.services.outbox import discard_mail, enqueue_mail, enqueue_sms
from app.tenancy.scope import Scope, TenantRef, open_scope
from models import OutboxMessage
from models.outbox import OutboxStatus
from models.tenant import Language
from models.values import now
from tests.fixtures.clinics import Clinic, Server
from tests.fixtures.mailbox import Mailbox, parsed, smtp_server, text_of
from tests.scripts.commands import environment

LETTER = letter(
    Language.EN, "Hello", ["First <b>", "Second"], link=("Go", "https://x.test/a#token=s3cret"), signed="Us"
)
MAIL = Mail("pia@example.com", "Hello", "text", "<p>text</p>", "Clinic", "1@polyclinic.test")


@pytest_asyncio.fixture(autouse=True)
async def _empty(server: Server) -> AsyncIterator[None]:
    """Each test has the outbox to itself."""
    with open_scope(Scope(request_id="test")):
        await OutboxMessage.guarded().delete_many({})
        yield
        await OutboxMessage.guarded().delete_many({})


async def put(server: Server, to: str = "pia@example.com", tenant: TenantRef | None = None, **options: Any) -> None:
    async def work(session: AsyncClientSession) -> None:
        await enqueue_mail(
            LETTER, to=to, kind="test", tenant=tenant, settings=server.settings, session=session, **options
        )

    await in_transaction(work)


async def only() -> dict[str, Any]:
    [row] = await OutboxMessage.rows({})
    return row


async def due_now() -> None:
    """Lets the time pass that lies before the next try."""
    await OutboxMessage.guarded().update_many({}, {"$set": {"next_at": now()}})


def over_smtp(server: Server, port: int, **changes: Any) -> Dispatcher:
    settings = server.settings.model_copy(update={"mail_url": SecretStr(f"smtp://127.0.0.1:{port}"), **changes})
    return Dispatcher(settings)


# --- the transaction ----------------------------------------------------------------------------------------------


async def test_a_change_that_is_not_made_announces_nothing(server: Server, mailbox: Mailbox) -> None:
    async def work(session: AsyncClientSession) -> None:
        await enqueue_mail(
            LETTER, to="pia@example.com", kind="test", tenant=None, settings=server.settings, session=session
        )
        raise Conflict

    with pytest.raises(Conflict):
        await in_transaction(work)
    assert await mailbox.arrived("pia@example.com") == []
    assert await OutboxMessage.rows({}) == []


async def test_what_waits_shows_neither_address_nor_link_and_what_is_sent_keeps_neither(
    server: Server, mailbox: Mailbox
) -> None:
    await put(server)
    waiting = await only()
    assert b"pia" not in waiting["sealed"]
    assert "s3cret" not in str(waiting)
    [message] = await mailbox.arrived("pia@example.com")
    assert "https://x.test/a#token=s3cret" in text_of(message)
    sent = await only()
    assert (sent["status"], sent["sealed"]) == ("sent", None)


async def test_a_sealed_message_cannot_be_moved_into_another(server: Server, mailbox: Mailbox) -> None:
    await put(server, "pia@example.com")
    await put(server, "eve@example.com")
    pia, eve = await OutboxMessage.rows({}, sort=[("_id", 1)])
    await OutboxMessage.guarded().update_one({"_id": eve["_id"]}, {"$set": {"sealed": pia["sealed"]}})
    assert len(await mailbox.arrived("pia@example.com")) == 1
    [dead] = await OutboxMessage.rows({"_id": eve["_id"]})
    assert (dead["status"], dead["error"]) == ("dead", "Unsealable")


async def test_a_discarded_mail_is_written_like_another_and_never_sent(server: Server, mailbox: Mailbox) -> None:
    async def work(session: AsyncClientSession) -> None:
        await discard_mail(LETTER, to="a@b.co", kind="test", tenant=None, settings=server.settings, session=session)

    await in_transaction(work)
    assert await mailbox.arrived("a@b.co") == []
    assert (await only())["purge_at"] is not None


# --- over SMTP ----------------------------------------------------------------------------------------------------


async def test_a_mail_arrives_over_smtp_in_the_clinics_name(server: Server, clinic_a: Clinic) -> None:
    await put(server, tenant=clinic_a.ref)
    async with smtp_server() as smtp:
        url = SecretStr(f"smtp://desk:p%40ss@127.0.0.1:{smtp.port}")
        assert await over_smtp(server, smtp.port, mail_url=url).dispatch_due() == {"sent": 1}
    [message] = smtp.received
    assert message["From"].addresses[0].display_name == clinic_a.ref.name
    assert message["From"].addresses[0].addr_spec == "no-reply@polyclinic.test"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "<no-reply@polyclinic.test>" in smtp.heard("MAIL")[0]
    assert "<pia@example.com>" in smtp.heard("RCPT")[0]
    assert len(smtp.heard("AUTH")) == 1
    html = message.get_body(("html",))
    assert html is not None
    assert "First &lt;b&gt;" in html.get_content()


async def test_an_address_of_an_international_domain_is_written_as_dns_has_it(server: Server) -> None:
    await put(server, "pia@bücher.example")
    async with smtp_server() as smtp:
        assert await over_smtp(server, smtp.port).dispatch_due() == {"sent": 1}
    [said] = smtp.heard("RCPT")
    assert "<pia@xn--bcher-kva.example>" in said
    assert smtp.received[0]["To"] == "pia@xn--bcher-kva.example"


async def test_a_server_that_is_down_is_tried_again_and_the_mail_then_arrives_once(server: Server) -> None:
    await put(server)
    async with smtp_server() as gone:
        pass
    assert await over_smtp(server, gone.port).dispatch_due() == {"retry": 1}
    row = await only()
    assert (row["status"], row["tries"]) == ("waiting", 1)
    assert row["next_at"] > now() + timedelta(seconds=20)
    async with smtp_server() as smtp:
        assert await over_smtp(server, smtp.port).dispatch_due() == {}
        await due_now()
        assert await over_smtp(server, smtp.port).dispatch_due() == {"sent": 1}
        await due_now()
        assert await over_smtp(server, smtp.port).dispatch_due() == {}
    assert len(smtp.received) == 1


@pytest.mark.parametrize(
    ("verb", "reply", "outcome", "error"),
    [
        ("RCPT", "550 no such mailbox", "dead", "SMTPRecipientRefused 550"),
        ("RCPT", "450 busy", "retry", "SMTPRecipientRefused 450"),
        ("MAIL", "451 later", "retry", "SMTPSenderRefused 451"),
        ("DATA", "554 spam", "dead", "SMTPDataError 554"),
    ],
)
async def test_what_the_server_refuses_for_good_is_not_tried_again(
    server: Server, verb: str, reply: str, outcome: str, error: str
) -> None:
    await put(server)
    async with smtp_server(refuse={verb: reply}) as smtp:
        assert await over_smtp(server, smtp.port).dispatch_due() == {outcome: 1}
    row = await only()
    assert row["error"] == error, "the type and the code, and not the server's text"
    assert smtp.received == []


async def test_a_message_that_breaks_its_sender_cuts_no_other_off(server: Server) -> None:
    """Were the round to end with it, the others being sent would be cut off each time, and sent again."""
    delivered: list[str] = []

    class Breaking:
        async def send(self, mail: Mail) -> None:
            if mail.to.startswith("poison"):
                raise KeyError(mail.to)
            await asyncio.sleep(0.2)
            delivered.append(mail.to)

    dispatcher = Dispatcher(server.settings, mail=Breaking())
    for to in ("poison@example.com", *(f"p{number}@example.com" for number in range(5))):
        await put(server, to)

    assert await dispatcher.dispatch_due() == {"sent": 5, "retry": 1}

    assert sorted(delivered) == [f"p{number}@example.com" for number in range(5)]
    [row] = await OutboxMessage.rows({"status": OutboxStatus.WAITING.value})
    assert row["error"] == "KeyError", "the type, and not the address that the error tells"


async def test_a_dead_message_keeps_its_content_no_longer_than_it_is_worth_sending(
    server: Server, mailbox: Mailbox
) -> None:
    await put(server)
    dead = {"status": OutboxStatus.DEAD.value, "purge_at": now() + timedelta(days=30)}
    await OutboxMessage.guarded().update_many({}, {"$set": dead})
    await mailbox.dispatcher.dispatch_due()
    assert (await only())["sealed"] is not None, "it may be revived"
    await OutboxMessage.guarded().update_many({}, {"$set": {"expires_at": now()}})
    await mailbox.dispatcher.dispatch_due()
    assert (await only())["sealed"] is None


async def test_after_enough_failures_a_message_is_dead_and_can_be_revived(server: Server) -> None:
    await put(server, lasts=timedelta(days=3))
    async with smtp_server(refuse={"MAIL": "451 later"}) as smtp:
        dispatcher = over_smtp(server, smtp.port)
        for _ in range(MAX_TRIES):
            await dispatcher.dispatch_due()
            await due_now()
    assert (await only())["status"] == "dead"
    assert await retry_dead() == 1
    async with smtp_server() as smtp:
        assert await over_smtp(server, smtp.port).dispatch_due() == {"sent": 1}


async def test_a_server_that_falls_silent_holds_up_only_its_message(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.dispatching.SEND_SECONDS", 0.3)
    await put(server)
    async with smtp_server(stall="RCPT") as smtp:
        assert await over_smtp(server, smtp.port).dispatch_due() == {"retry": 1}
    assert (await only())["error"] == "TimeoutError"


async def test_outside_of_this_machine_nothing_is_said_before_tls() -> None:
    """The stand-in offers no STARTTLS; a server that is not this machine must then get neither password nor mail."""
    async with smtp_server() as smtp:
        transport: Any = mail_transport(f"smtp://desk:secret@mail.example.org:{smtp.port}", "a@b.co")
        transport._options["hostname"] = "127.0.0.1"
        with pytest.raises(DeliveryFailed) as failed:
            await transport.send(MAIL)
    assert not failed.value.final
    assert (smtp.received, smtp.heard("AUTH"), smtp.heard("MAIL")) == ([], [], [])


async def test_a_mail_that_was_taken_but_never_confirmed_comes_again_under_the_same_id(server: Server) -> None:
    await put(server)
    async with smtp_server(drops=True) as smtp:
        assert await over_smtp(server, smtp.port).dispatch_due() == {"retry": 1}
        smtp.drops = False
        await due_now()
        assert await over_smtp(server, smtp.port).dispatch_due() == {"sent": 1}
    first, second = smtp.received
    assert first["Message-ID"] == second["Message-ID"] == f"<{(await only())['_id']}@polyclinic.test>"


_SENDER = """
import asyncio, sys
from app.config import get_settings
from app.db.client import make_client
from app.db.documents import init_documents
from app.services.dispatching import dispatch_outbox
async def main():
    settings = get_settings()
    async with make_client(settings) as client:
        await init_documents(client[settings.mongodb_database])
        await dispatch_outbox(settings)
asyncio.run(main())
"""


async def test_a_sender_killed_in_the_middle_loses_nothing(server: Server) -> None:
    await put(server)
    settings = server.settings
    async with smtp_server(stall="after DATA") as smtp:
        chosen = environment(settings, MAIL_URL=f"smtp://127.0.0.1:{smtp.port}")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _SENDER, env=chosen, stdout=subprocess.DEVNULL
        )
        await asyncio.wait_for(smtp.taken.wait(), 30)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        row = await only()
        assert (row["status"], row["tries"]) == ("waiting", 1)
        assert await over_smtp(server, smtp.port).dispatch_due() == {}, "the lease still holds"
        assert row["next_at"] <= now() + LEASE
        await due_now()
        smtp.stall = None
        assert await over_smtp(server, smtp.port).dispatch_due() == {"sent": 1}
    ids = {str(message["Message-ID"]) for message in smtp.received}
    assert len(smtp.received) == 2
    assert len(ids) == 1, "the receiver can tell that both are one"


# --- many at once -------------------------------------------------------------------------------------------------


async def test_several_processes_send_each_message_once(server: Server, tmp_path: Path) -> None:
    for number in range(30):
        await put(server, f"p{number}@example.com")
    async with smtp_server() as smtp:
        outcomes = await asyncio.gather(*(over_smtp(server, smtp.port).dispatch_due() for _ in range(4)))
    assert sum(outcome.get("sent", 0) for outcome in outcomes) == 30
    assert len({str(message["To"]) for message in smtp.received}) == len(smtp.received) == 30


async def test_a_clinic_with_a_thousand_messages_does_not_hold_up_another(
    server: Server, clinic_a: Clinic, clinic_b: Clinic
) -> None:
    await put(server, "flood@example.com", clinic_a.ref)
    row = await only()
    await OutboxMessage.guarded().insert_many([{**row, "_id": ObjectId()} for _ in range(300)])
    await put(server, "urgent@example.com", clinic_b.ref)
    order: list[Any] = []

    class Watching:
        async def send(self, mail: Mail) -> None:
            order.append(mail.to)

    await Dispatcher(server.settings, mail=Watching()).dispatch_due()
    assert order.index("urgent@example.com") < 20


async def test_a_message_that_is_too_late_is_not_sent(server: Server, mailbox: Mailbox) -> None:
    await put(server, lasts=timedelta(seconds=-1))
    assert await mailbox.arrived("pia@example.com") == []
    row = await only()
    assert (row["status"], row["sealed"]) == (OutboxStatus.EXPIRED.value, None)


def test_the_waits_grow_and_are_bounded() -> None:
    waits = [delay_after(tries) for tries in range(1, 12)]
    assert timedelta(seconds=24) <= waits[0] <= timedelta(seconds=36)
    assert waits[3] > 3 * waits[0]
    assert max(waits) <= timedelta(minutes=72)


async def test_a_running_server_sends_by_itself(server: Server, tmp_path: Path) -> None:
    await put(server)
    folder = tmp_path / "mail"
    dispatcher = Dispatcher(server.settings.model_copy(update={"outbox_seconds": 1}), mail=FileMail(folder, "a@b.co"))
    await dispatcher.start()
    try:
        async with asyncio.timeout(5):
            while not list(folder.glob("*.eml")):
                await asyncio.sleep(0.02)
    finally:
        await dispatcher.stop()
    [path] = folder.glob("*.eml")
    assert path.stat().st_mode & 0o077 == 0


# --- headers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["to", "subject", "sender_name", "message_id"])
@pytest.mark.parametrize("evil", ["x\r\nBcc: eve@example.com", "x\nBcc: eve@example.com", "x\x00", "x\u2028y"])
def test_no_header_takes_a_line_break(field: str, evil: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        composed(replace(MAIL, **{field: evil}), "no-reply@polyclinic.test")


def test_names_of_any_script_stand_in_the_headers() -> None:
    mail = replace(MAIL, subject="Invitación ✓", sender_name='Clínica "Ñ", S.A.')
    seen = parsed(composed(mail, "no-reply@polyclinic.test").as_bytes())
    assert seen["Subject"] == "Invitación ✓"
    assert seen["From"].addresses[0].display_name == 'Clínica "Ñ", S.A.'


# --- texts to phones ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def twilio(status: int) -> AsyncIterator[tuple[int, list[bytes]]]:
    """An HTTP server that answers each request with `status`."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])  # type: ignore[index]
        requests.append(head + await reader.readexactly(length))
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], requests
    finally:
        server.close()


@pytest.mark.parametrize(("status", "final"), [(201, None), (400, True), (401, False), (429, False), (500, False)])
async def test_a_text_goes_to_twilio_and_its_answer_counts(status: int, final: bool | None) -> None:
    async with twilio(status) as (port, requests):
        transport = sms_transport(f"twilio://AC1:tok%2Fen@+15005550006?base=http://127.0.0.1:{port}")
        failure: DeliveryFailed | None = None
        try:
            await transport.send(Sms("+12125550100", "Code 123456", "1"))
        except DeliveryFailed as error:
            failure = error
    assert (failure.final if failure else None) is final
    [request] = requests
    assert request.startswith(b"POST /2010-04-01/Accounts/AC1/Messages.json HTTP/1.1\r\n")
    assert b"Authorization: Basic QUMxOnRvay9lbg==" in request
    assert request.endswith(b"To=%2B12125550100&From=%2B15005550006&Body=Code+123456")
    assert "tok" not in repr(transport)


async def test_a_text_travels_through_the_outbox(server: Server, mailbox: Mailbox) -> None:
    async def work(session: AsyncClientSession) -> None:
        await enqueue_sms(
            "Code 1", to="+12125550100", kind="code", tenant=None, settings=server.settings, session=session
        )

    await in_transaction(work)
    await mailbox.dispatcher.dispatch_due()
    [path] = (mailbox.folder.parent / "sms").glob("*.json")
    assert json.loads(path.read_text()) == {"to": "+12125550100", "text": "Code 1"}


async def test_without_a_way_for_texts_none_is_promised(server: Server) -> None:
    settings = server.settings.model_copy(update={"environment": "production"})

    async def work(session: AsyncClientSession) -> None:
        await enqueue_sms("Code 1", to="+12125550100", kind="code", tenant=None, settings=settings, session=session)

    with pytest.raises(InvalidState):
        await in_transaction(work)


def test_a_letter_escapes_what_it_is_told() -> None:
    made: Letter = letter(Language.ES, "S", ['<script>"&'], link=("<i>", 'https://x.test/"><b>'), signed="<Clinic>")
    assert "<script>" not in made.html
    assert "<b>" not in made.html
    assert "<i>" not in made.html
    assert 'lang="es"' in made.html
