"""Passkeys, driven by a real authenticator in software: what signs in, and what a tampered answer must not do."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.auth.passkeys import Assertion, BadPasskey, Registration, Site
from app.services import passkeys
from models import Passkey, PasskeyChallenge, User
from models.values import now
from tests.authenticator import PRESENT, VERIFIED, Authenticator, Lies, text
from tests.fixtures.clinics import PASSWORD, Answer, Client, Clinic, MakeClinic, Server
from tests.resolvers.second_factor_calls import FACTORS, VIEWER, log_in
from tests.resolvers.test_session import PATIENTS

BEGIN = "mutation($input: PasswordInput!) { beginPasskeyRegistration(input: $input) }"
FINISH = """mutation($input: FinishPasskeyRegistrationInput!) { finishPasskeyRegistration(input: $input) {
    passkey { id name backedUp createdAt lastUsedAt }
    secondFactor { recoveryCodes signIn { token viewer { role secondFactor } } }
} }"""
DELETE = "mutation($input: DeletePasskeyInput!) { deletePasskey(input: $input) }"
BEGIN_SIGN_IN = "mutation { beginPasskeySignIn }"
FINISH_SIGN_IN = """mutation($input: FinishPasskeySignInInput!) { finishPasskeySignIn(input: $input) {
    token viewer { email role secondFactor clinic { subdomain } }
} }"""


def origin_of(clinic: Clinic) -> str:
    return f"http://{clinic.host}"


def visitor(server: Server, clinic: Clinic) -> Client:
    return server.client(clinic.host, address=f"2001:db8:4:{clinic.tenant.subdomain[1:5]}::1")


async def offered(client: Client) -> str:
    options: str = (await client.gql(BEGIN, input={"password": PASSWORD})).data["beginPasskeyRegistration"]
    return options


async def register(client: Client, clinic: Clinic, device: Authenticator, name: str = "Phone") -> Any:
    answer = device.create(await offered(client), origin_of(clinic))
    told = (await client.gql(FINISH, input={"name": name, "credential": answer})).data["finishPasskeyRegistration"]
    client.token = told["secondFactor"]["signIn"]["token"]
    return told


async def challenge(client: Client) -> str:
    options: str = (await client.gql(BEGIN_SIGN_IN)).data["beginPasskeySignIn"]
    return options


async def finish(client: Client, credential: str) -> Answer:
    return await client.gql(FINISH_SIGN_IN, input={"credential": credential})


# --- registering ------------------------------------------------------------------------------------------------------


async def test_browsers_are_asked_for_a_verified_person_and_a_key_for_all_clinics(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic)
    device = Authenticator()
    await register(client, clinic, device)

    creation, request = json.loads(await offered(client)), json.loads(await challenge(visitor(server, clinic)))

    assert creation["rp"]["id"] == request["rpId"] == "polyclinic.test"
    assert creation["authenticatorSelection"]["userVerification"] == request["userVerification"] == "required"
    assert creation["authenticatorSelection"]["residentKey"] == "required"
    assert creation["attestation"] == "none"
    assert [one["id"] for one in creation["excludeCredentials"]] == [text(device.credentials[0].id)]
    assert request["allowCredentials"] == [], "the answer tells nobody who has which passkey"


async def test_the_first_passkey_gives_recovery_codes_and_renews_the_session(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    client, other = await server.sign_in(clinic), await server.sign_in(clinic)
    old = server.client(clinic.host, client.token)

    first = await register(client, clinic, Authenticator())
    second = await register(client, clinic, Authenticator(), "Key ring")

    assert len(first["secondFactor"]["recoveryCodes"]) == 10
    assert second["secondFactor"]["recoveryCodes"] is None
    assert first["secondFactor"]["signIn"]["viewer"] == {"role": "admin", "secondFactor": True}
    assert (await old.gql(VIEWER)).data == (await other.gql(VIEWER)).data == {"viewer": None}
    shown = (await client.gql(FACTORS)).data["secondFactors"]
    assert [one["name"] for one in shown["passkeys"]] == ["Phone", "Key ring"]
    bare = await log_in(server, clinic)
    assert bare.errors[0]["extensions"]["secondFactor"] == ["passkey", "recovery_code"]
    assert (await log_in(server, clinic, code=first["secondFactor"]["recoveryCodes"][0])).status == 200


async def test_registrations_begun_side_by_side_keep_no_more_passkeys_than_the_most(
    server: Server, make_clinic: MakeClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list shows so many: one more would sign in for its owner unseen."""
    monkeypatch.setattr(passkeys, "MOST", 2)
    clinic = await make_clinic()
    client = await server.sign_in(clinic)
    devices = [Authenticator() for _ in range(3)]
    answers = [device.create(await offered(client), origin_of(clinic)) for device in devices]
    codes = []
    for answer in answers:
        told = await client.gql(FINISH, input={"name": "Phone", "credential": answer})
        codes.append(told.codes)
        if not told.codes:
            client.token = told.data["finishPasskeyRegistration"]["secondFactor"]["signIn"]["token"]

    assert codes == [[], [], ["INVALID_STATE"]]
    assert await Passkey.guarded().count_documents({"user_id": (await person(clinic, "admin")).key}) == 2
    assert (await client.gql(VIEWER)).data["viewer"] is not None, "what was refused ended no session"


async def test_registering_needs_the_password(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic)

    assert (await client.gql(BEGIN, input={"password": "wrong password"})).paths == ["input.password"]
    assert (await visitor(server, clinic).gql(BEGIN, input={"password": PASSWORD})).codes == ["UNAUTHENTICATED"]


@pytest.mark.parametrize(
    "lies",
    [
        pytest.param(Lies(origin="http://evil.polyclinic.test"), id="a sibling's page"),
        pytest.param(Lies(origin="https://polyclinic.test.evil.org"), id="a foreign page"),
        pytest.param(Lies(rp_id="evil.org"), id="for another site"),
        pytest.param(Lies(flags=PRESENT), id="person not verified"),
        pytest.param(Lies(flags=VERIFIED), id="person not present"),
        pytest.param(Lies(type="webauthn.get"), id="another act"),
        pytest.param(Lies(challenge=text(b"made up by the page")), id="a challenge of one's own"),
        pytest.param(Lies(cross_origin=True), id="embedded in another page"),
    ],
)
async def test_a_registration_that_is_not_quite_right_keeps_nothing(
    server: Server, make_clinic: MakeClinic, lies: Lies
) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic)
    answer = Authenticator().create(await offered(client), origin_of(clinic), lies)

    refused = await client.gql(FINISH, input={"name": "Phone", "credential": answer})

    assert (refused.codes, refused.paths) == (["VALIDATION_FAILED"], ["input.credential"])
    assert (await client.gql(FACTORS)).data["secondFactors"]["passkeys"] == []
    assert (await client.gql(VIEWER)).data["viewer"]["secondFactor"] is False


async def test_a_challenge_registers_once_and_for_whom_it_was_made(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    client, nurse = await server.sign_in(clinic), await server.sign_in(clinic, "nurse")
    device = Authenticator()
    answer = device.create(await offered(client), origin_of(clinic))

    stolen = await nurse.gql(FINISH, input={"name": "Mine", "credential": answer})
    assert stolen.paths == ["input.credential"]
    good = await client.gql(FINISH, input={"name": "Phone", "credential": answer})
    client.token = good.data["finishPasskeyRegistration"]["secondFactor"]["signIn"]["token"]
    replayed = await client.gql(FINISH, input={"name": "Phone", "credential": answer})

    assert replayed.paths == ["input.credential"]
    assert len((await client.gql(FACTORS)).data["secondFactors"]["passkeys"]) == 1


async def test_a_credential_belongs_to_one_person(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    client, nurse = await server.sign_in(clinic), await server.sign_in(clinic, "nurse")
    device = Authenticator()
    await register(client, clinic, device)
    taken = device.credentials[0]
    thief = Authenticator()

    copied = thief.create(await offered(nurse), origin_of(clinic), Lies(credential_id=taken.id))
    refused = await nurse.gql(FINISH, input={"name": "Copy", "credential": copied})
    honest = Authenticator()
    renamed = honest.create(await offered(nurse), origin_of(clinic))
    renamed = renamed.replace(text(honest.credentials[0].id), text(taken.id))
    mixed = await nurse.gql(FINISH, input={"name": "Copy", "credential": renamed})

    assert (refused.codes, mixed.codes) == (["CONFLICT"], ["VALIDATION_FAILED"])
    assert (await nurse.gql(VIEWER)).data["viewer"]["secondFactor"] is False
    assert [one.user_id for one in await Passkey.find({"credential_id": taken.id}).to_list()] == [
        (await person(clinic, "admin")).id
    ]


async def person(clinic: Clinic, role: str) -> User:
    found = await User.find_one({"email": clinic.emails[role]})
    assert found is not None
    return found


# --- signing in -------------------------------------------------------------------------------------------------------


async def test_a_passkey_signs_in_without_a_password_and_counts_as_second_factor(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    device = Authenticator()
    await register(await server.sign_in(clinic, "doctor"), clinic, device)
    client = visitor(server, clinic)

    answer = await finish(client, device.get(await challenge(client), origin_of(clinic)))

    told = answer.data["finishPasskeySignIn"]
    assert told["viewer"] == {
        "email": clinic.emails["doctor"],
        "role": "doctor",
        "secondFactor": True,
        "clinic": {"subdomain": clinic.tenant.subdomain},
    }
    client.token = told["token"]
    assert (await client.gql(PATIENTS)).status == 200
    assert answer.response.headers["set-cookie"].startswith("session=ey")


async def test_one_passkey_serves_every_clinics_host(server: Server, make_clinic: MakeClinic) -> None:
    clinic, other = await make_clinic(), await make_clinic()
    device = Authenticator()
    await register(await server.sign_in(clinic, "doctor"), clinic, device)
    elsewhere, root = visitor(server, other), server.client(address="2001:db8:5::1")

    there = await finish(elsewhere, device.get(await challenge(elsewhere), origin_of(other)))
    above = await finish(root, device.get(await challenge(root), "http://polyclinic.test"))

    assert there.data["finishPasskeySignIn"]["viewer"]["clinic"] is None, "they do not work there"
    assert above.data["finishPasskeySignIn"]["viewer"]["email"] == clinic.emails["doctor"]


@pytest.mark.parametrize(
    "lies",
    [
        pytest.param(Lies(origin="http://evil.polyclinic.test"), id="a sibling's page"),
        pytest.param(Lies(origin="https://evil.org"), id="a foreign page"),
        pytest.param(Lies(rp_id="evil.org"), id="for another site"),
        pytest.param(Lies(flags=PRESENT), id="person not verified"),
        pytest.param(Lies(flags=VERIFIED), id="person not present"),
        pytest.param(Lies(type="webauthn.create"), id="another act"),
        pytest.param(Lies(challenge=text(b"made up by the page")), id="a challenge of one's own"),
        pytest.param(Lies(cross_origin=True), id="embedded in another page"),
        pytest.param(Lies(user_handle=b"somebody else"), id="of somebody else"),
        pytest.param(Lies(user_handle=b""), id="of nobody"),
        pytest.param(Lies(credential_id=b"x" * 32), id="an unknown passkey"),
        pytest.param(Lies(signature=b"\x30\x06\x02\x01\x01\x02\x01\x01"), id="a wrong signature"),
        pytest.param(Lies(signature=b"no signature"), id="no signature"),
    ],
)
async def test_an_answer_that_is_not_quite_right_signs_nobody_in(
    server: Server, make_clinic: MakeClinic, lies: Lies
) -> None:
    clinic = await make_clinic()
    device = Authenticator()
    await register(await server.sign_in(clinic), clinic, device)
    client = visitor(server, clinic)

    answer = await finish(client, device.get(await challenge(client), origin_of(clinic), lies))

    assert (answer.status, answer.codes) == (401, ["UNAUTHENTICATED"])
    assert answer.errors[0]["message"] == "The passkey was not accepted."
    assert "set-cookie" not in answer.response.headers


async def test_a_challenge_is_answered_once_whatever_comes_of_it(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    device = Authenticator(step=0)
    await register(await server.sign_in(clinic), clinic, device)
    client = visitor(server, clinic)
    options = await challenge(client)
    answers = [device.get(options, origin_of(clinic)) for _ in range(4)]

    raced = await asyncio.gather(*(finish(client, answer) for answer in answers))
    assert sorted(one.status for one in raced) == [200, 401, 401, 401]

    options = await challenge(client)
    assert (await finish(client, device.get(options, origin_of(clinic), Lies(flags=PRESENT)))).status == 401
    assert (await finish(client, device.get(options, origin_of(clinic)))).status == 401, "it was used up"


async def test_a_challenge_of_one_host_is_not_answered_on_another(server: Server, make_clinic: MakeClinic) -> None:
    clinic, other = await make_clinic(), await make_clinic()
    device = Authenticator()
    await register(await server.sign_in(clinic), clinic, device)

    options = await challenge(visitor(server, other))

    assert (await finish(visitor(server, clinic), device.get(options, origin_of(clinic)))).status == 401


async def test_a_challenge_for_registering_signs_nobody_in(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    device = Authenticator()
    admin = await server.sign_in(clinic)
    await register(admin, clinic, device)
    creation = json.loads(await offered(admin))
    options = json.dumps({"challenge": creation["challenge"], "rpId": creation["rp"]["id"]})

    assert (await finish(visitor(server, clinic), device.get(options, origin_of(clinic)))).status == 401


async def test_a_challenge_runs_out(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    device = Authenticator()
    await register(await server.sign_in(clinic), clinic, device)
    client = visitor(server, clinic)
    options = await challenge(client)
    await PasskeyChallenge.guarded().update_many({"user_id": None}, {"$set": {"expires_at": now()}})

    assert (await finish(client, device.get(options, origin_of(clinic)))).status == 401


async def test_a_counter_that_goes_back_means_a_copy_and_is_refused(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    device = Authenticator()
    await register(await server.sign_in(clinic), clinic, device)
    client = visitor(server, clinic)
    for _ in range(2):
        assert (await finish(client, device.get(await challenge(client), origin_of(clinic)))).status == 200

    for behind in (1, 2):  # the device goes one step further with each signature
        device.credentials[0].count -= behind
        answer = await finish(client, device.get(await challenge(client), origin_of(clinic)))
        assert answer.status == 401

    device.credentials[0].count = 10
    assert (await finish(client, device.get(await challenge(client), origin_of(clinic)))).status == 200


async def test_another_persons_key_does_not_answer_for_ones_own(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    mine, theirs = Authenticator(), Authenticator()
    await register(await server.sign_in(clinic, "nurse"), clinic, mine)
    await register(await server.sign_in(clinic, "admin"), clinic, theirs)
    client, target = visitor(server, clinic), theirs.credentials[0]

    for lies in (
        Lies(user_handle=target.user_handle),
        Lies(credential_id=target.id),
        Lies(credential_id=target.id, user_handle=target.user_handle),
    ):
        answer = await finish(client, mine.get(await challenge(client), origin_of(clinic), lies))
        assert answer.status == 401, lies


async def test_a_deleted_passkey_and_a_disabled_person_do_not_sign_in(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    device, nurses = Authenticator(), Authenticator()
    admin, nurse = await server.sign_in(clinic), await server.sign_in(clinic, "nurse")
    passkey = (await register(admin, clinic, device))["passkey"]["id"]
    await register(nurse, clinic, nurses)
    client = visitor(server, clinic)

    foreign = await nurse.gql(DELETE, input={"passkeyId": passkey, "password": PASSWORD})
    assert (foreign.codes, foreign.paths) == (["NOT_FOUND"], ["input.passkeyId"])
    assert (await admin.gql(DELETE, input={"passkeyId": passkey, "password": "wrong one"})).paths == ["input.password"]
    assert (await finish(client, device.get(await challenge(client), origin_of(clinic)))).status == 200
    assert (await admin.gql(DELETE, input={"passkeyId": passkey, "password": PASSWORD})).data == {"deletePasskey": True}
    await User.find_one({"email": clinic.emails["nurse"]}).update({"$set": {"status": "disabled"}})

    for known in (device, nurses):
        assert (await finish(client, known.get(await challenge(client), origin_of(clinic)))).status == 401
    assert (await log_in(server, clinic)).data["login"]["viewer"]["secondFactor"] is False
    assert (await admin.gql(VIEWER)).data["viewer"]["secondFactor"] is False


@pytest.mark.parametrize(
    "credential",
    ["", "null", "[]", "{}", "{", "[" * 5_000, '{"id": 1}', "x" * 20_000, '{"id":"a","rawId":"a","response":{}}'],
)
async def test_what_is_no_answer_at_all_is_refused_like_a_wrong_one(
    server: Server, clinic_a: Clinic, credential: str
) -> None:
    answer = await finish(server.client(clinic_a.host, address="2001:db8:6::1"), credential)

    assert answer.codes == ["UNAUTHENTICATED"]


_SITE = Site("polyclinic.test", "http://north.polyclinic.test")
_BYTES = st.binary(max_size=300)


@given(_BYTES, _BYTES, _BYTES, st.sampled_from(["webauthn.get", "webauthn.create", ""]))
@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_bytes_break_the_parsers(state: bytes, signature: bytes, more: bytes, type_: str) -> None:
    client = json.dumps({"type": type_, "challenge": text(more), "origin": _SITE.origin}).encode()
    for name in ("authenticatorData", "attestationObject"):
        response = {"clientDataJSON": text(client), name: text(state), "signature": text(signature)}
        answer = {"id": text(more), "rawId": text(more), "type": "public-key", "response": response}
        try:
            if name == "attestationObject":
                Registration.read(json.dumps(answer)).verified(_SITE)
            else:
                Assertion.read(json.dumps(answer)).verified(_SITE, public_key=state, sign_count=0)
        except BadPasskey:
            continue
        raise AssertionError("it held")
