"""Pushed messages: encrypted as the standard's own example, and taken by a push service that speaks the protocol."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.integrations.delivery import DeliveryFailed
from app.integrations.push import Push, PushGone, PushKey, bytes_of, encrypted, keys_fault, push, text_of
from app.services.dispatching import dispatch_outbox
from app.services.talk.channels import use_channels
from app.tenancy.crossing import tenant_scope
from models import OutboxMessage, PushSubscription
from tests.fixtures.clinics import MakeClinic, Server

KEY = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
SUBSCRIBE = "mutation($input: SubscribePushInput!) { subscribePush(input: $input) { id } }"
UNSUBSCRIBE = "mutation($input: UnsubscribePushInput!) { unsubscribePush(input: $input) { id } }"
CHOOSE = """mutation($input: ChooseNotificationChannelsInput!) {
    chooseNotificationChannels(input: $input) { email sms push } }"""
START = "mutation($input: StartConversationInput!) { startConversation(input: $input) { id } }"


@dataclass
class Browser:
    """A browser: its keys, and what it makes of a body that its push service hands it."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    auth: bytes = b"0123456789abcdef"

    @property
    def point(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def keys(self) -> dict[str, str]:
        return {"p256dh": text_of(self.point), "auth": text_of(self.auth)}

    def opened(self, body: bytes) -> bytes:
        salt, size, length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
        sender, record = body[21 : 21 + length], body[21 + length :]
        assert len(record) <= size
        shared = self.key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender))
        info = b"WebPush: info\0" + self.point + sender
        material = HKDF(SHA256(), 32, salt=self.auth, info=info).derive(shared)
        content_key = HKDF(SHA256(), 16, salt=salt, info=b"Content-Encoding: aes128gcm\0").derive(material)
        nonce = HKDF(SHA256(), 12, salt=salt, info=b"Content-Encoding: nonce\0").derive(material)
        plain = AESGCM(content_key).decrypt(nonce, record, None)
        return plain.rstrip(b"\0").removesuffix(b"\x02")


@dataclass
class Service:
    """A push service on this machine; `status` is what it answers."""

    url: str = ""
    status: int = 201
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(made.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}/push/abc"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_example_of_the_standard_comes_out() -> None:
    """RFC 8291, section 5."""
    key = ec.derive_private_key(int.from_bytes(bytes_of(KEY), "big"), ec.SECP256R1())
    browser = bytes_of("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4")
    body = encrypted(
        b"When I grow up, I want to be a watermelon",
        browser,
        bytes_of("BTBZMqHH6r4Tts7J_aSIgg"),
        salt=bytes_of("DGv6ra1nlYgDCS1FRnbzlw"),
        key=key,
    )
    assert text_of(body) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl"
        "7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


async def test_a_message_is_for_the_browser_alone_and_signed_as_ours(service: Service) -> None:
    browser, key = Browser(), PushKey(KEY, "ops@example.org")
    await push(Push(service.url, **browser.keys(), payload=b"Hello"), key, loopback=True)
    [(headers, body)] = service.taken
    assert browser.opened(body) == b"Hello"
    assert (headers["content-encoding"], headers["ttl"]) == ("aes128gcm", "86400")
    token, _, public = headers["authorization"].removeprefix("vapid t=").partition(", k=")
    verifier = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), urlsafe_b64decode(public + "="))
    origin = service.url.removesuffix("/push/abc")
    claims = jwt.decode(token, verifier, algorithms=["ES256"], audience=origin)
    assert claims["sub"] == "mailto:ops@example.org"
    assert public == key.public


@pytest.mark.parametrize(
    ("status", "final"), [(404, True), (410, True), (400, True), (413, True), (429, False), (500, False)]
)
async def test_a_refusal_is_final_or_not(service: Service, status: int, final: bool) -> None:
    service.status = status
    with pytest.raises(DeliveryFailed) as failed:
        await push(Push(service.url, **Browser().keys(), payload=b"x"), PushKey(KEY, "a@b.org"), loopback=True)
    assert failed.value.final is final
    assert isinstance(failed.value, PushGone) is (status in (404, 410))


async def test_nothing_is_pushed_into_our_own_network(service: Service) -> None:
    with pytest.raises(DeliveryFailed):
        await push(Push(service.url, **Browser().keys(), payload=b"x"), PushKey(KEY, "a@b.org"), loopback=False)
    assert service.taken == []


def test_keys_that_are_none_are_refused() -> None:
    good = Browser().keys()
    assert keys_fault(**good) is None
    for wrong in ({"p256dh": "AAAA"}, {"auth": "AAAA"}, {"p256dh": "ä"}, {"p256dh": good["auth"]}):
        assert keys_fault(**{**good, **wrong}) is not None
    for private in ("", "AAAA", "x" * 44):
        with pytest.raises(ValueError, match="32 bytes"):
            PushKey(private, "a@b.org")


async def test_people_are_told_in_the_ways_that_they_chose(
    server: Server, make_clinic: MakeClinic, service: Service
) -> None:
    clinic = await make_clinic()
    variant = server.variant(push_key=KEY)
    use_channels(variant.settings)
    try:
        doctor = await server.sign_in(clinic, "doctor")
        nurse = await variant.sign_in(clinic, "nurse")
        browser, ids = Browser(), set()
        assert (await nurse.gql("{ pushKey }")).data["pushKey"] == PushKey(KEY, "x@y.org").public
        for _ in range(2):  # the same browser again is one browser
            asked = {"endpoint": service.url, **browser.keys()}
            ids.add((await nurse.gql(SUBSCRIBE, input=asked)).data["subscribePush"]["id"])
        chosen = (await nurse.gql(CHOOSE, input={"email": ["MESSAGE"]})).data["chooseNotificationChannels"]
        assert (chosen["email"], chosen["sms"], "MESSAGE" in chosen["push"]) == (["MESSAGE"], [], True)

        said = {"subject": "Secret", "body": "Nobody may know", "staffIds": [str(clinic.staff["nurse"].id)]}
        await doctor.gql(START, input=said)
        rows = await OutboxMessage.rows({"clinic_id": clinic.tenant.id}, sort=[("_id", 1)])
        assert [row["channel"] for row in rows] == ["mail", "push"]
        await dispatch_outbox(variant.settings)
        [(_, body)] = service.taken
        payload = browser.opened(body).decode()
        assert clinic.tenant.name in payload
        assert "Secret" not in payload

        service.status = 410
        await doctor.gql(START, input=said)
        await dispatch_outbox(variant.settings)
        async with tenant_scope(clinic.ref):
            assert await PushSubscription.guarded().count_documents({}) == 0
        for id in ids:
            assert (await nurse.gql(UNSUBSCRIBE, input={"id": id})).codes == ["NOT_FOUND"]
    finally:
        use_channels(server.settings)


async def test_a_browser_at_an_address_of_our_own_network_is_refused(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    client = await server.variant(push_key=KEY, loopback_providers=False).sign_in(clinic, "nurse")
    for url in ("http://127.0.0.1/x", "https://10.0.0.1/x", "https://169.254.169.254/x", "ftp://example.org"):
        answer = await client.gql(SUBSCRIBE, input={"endpoint": url, **Browser().keys()})
        assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.endpoint"])
    off = await (await server.sign_in(clinic, "nurse")).gql(
        SUBSCRIBE, input={"endpoint": "https://push.example.org/x", **Browser().keys()}
    )
    assert off.codes == ["INVALID_STATE"]
