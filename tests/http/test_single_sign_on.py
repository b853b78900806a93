"""Signing in by a clinic's identity provider over real HTTP, and everything that a provider or a stranger may try."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.responses import JSONResponse, RedirectResponse

from app.graphql.access import Level
from app.integrations.oidc import Providers
from app.services import single_sign_on
from app.services.identity_providers import providers
from app.services.rate_limits import Limit
from app.tenancy.crossing import tenant_scope
from models import ExternalIdentity, Membership, OidcFlow, Session, User
from models.user import MembershipStatus
from models.values import now
from tests.contracts._schema import root_fields
from tests.contracts._values import variables
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.mailbox import Mailbox
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, Claims, Provider, ec_key, rsa_key, running_provider

START, CALLBACK = "/auth/oidc/start", "/auth/oidc/callback"
SET = "mutation($input: SetIdentityProviderInput!) { setIdentityProvider(input: $input) { version issuer } }"
CONFIRM = "mutation($input: ConfirmExternalIdentityInput!) { confirmExternalIdentity(input: $input) }"
VIEWER = "{ viewer { email role clinic { subdomain } } }"
REMOVE = "mutation($input: RemoveIdentityProviderInput!) { removeIdentityProvider(input: $input) }"
PATIENTS = "{ patients { totalCount } }"
_addresses = (f"127.3.{number // 250}.{number % 250 + 1}" for number in count())


@dataclass(slots=True)
class Desk:
    """A clinic with its provider set, on an application that lets providers be on this machine."""

    server: Server
    clinic: Clinic
    provider: Provider
    mailbox: Mailbox

    def browser(self) -> httpx.AsyncClient:
        return self.server.client(self.clinic.host, address=next(_addresses)).http

    def person(self, role: str = "nurse", **more: Any) -> dict[str, Any]:
        return {"sub": f"subject of {role}", "email": self.clinic.emails[role], "email_verified": True, **more}

    async def leave(self, browser: httpx.AsyncClient, **asked: str) -> str:
        """Starts in the browser, signs in at the provider, and gives the address that it sends the browser back to."""
        started = await browser.get(START, params=asked)
        assert started.status_code == 303, started.text
        async with httpx.AsyncClient() as outside:
            answer = await outside.get(started.headers["location"])
        assert answer.status_code == 303, answer.text
        back = answer.headers["location"]
        assert back.startswith(f"http://{self.clinic.host}{CALLBACK}?")
        return str(back)

    async def come_back(self, browser: httpx.AsyncClient, **asked: str) -> httpx.Response:
        return await browser.get(await self.leave(browser, **asked))

    async def known(self, role: str = "nurse", **more: Any) -> None:
        """Makes somebody of the clinic a person whom the provider knows, by their own agreement."""
        self.provider.person = self.person(role, **more)
        first = await self.come_back(self.browser())
        assert (first.status_code, first.headers.get("location")) == (303, "/login?notice=confirm-by-mail"), first.text
        token = await self.mailbox.token(self.clinic.emails[role])
        answer = await self.client().gql(CONFIRM, input={"token": token})
        assert answer.data == {"confirmExternalIdentity": True}

    async def signed_in(self, role: str = "nurse") -> Client:
        await self.known(role)
        done = await self.come_back(self.browser())
        return self.client(session_of(done))

    def client(self, token: str | None = None, clinic: Clinic | None = None) -> Client:
        return self.server.client((clinic or self.clinic).host, token, address=next(_addresses))

    async def set(self, **values: Any) -> Any:
        admin = await self.server.sign_in(self.clinic)
        return await admin.gql(SET, input=values)


def session_of(response: httpx.Response) -> str:
    """The session token in a `Set-Cookie`."""
    found = [one for one in response.headers.get_list("set-cookie") if one.startswith("session=")]
    assert len(found) == 1, response.headers
    return found[0].split(";")[0].removeprefix("session=")


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    """The provider as it is when nobody told it to lie."""
    fresh = Provider(key=running.key, url=running.url)
    for name in Provider.__slots__:
        setattr(running, name, getattr(fresh, name))
    providers(loopback=True)._known.clear()
    return running


@pytest.fixture
async def desk(server: Server, make_clinic: MakeClinic, provider: Provider, mailbox: Mailbox) -> Desk:
    desk = Desk(server, await make_clinic(), provider, mailbox)
    await set_up(desk)
    return desk


async def set_up(desk: Desk, **more: Any) -> None:
    answer = await desk.set(
        issuer=desk.provider.url,
        clientId=CLIENT_ID,
        clientSecret=CLIENT_SECRET,
        emailDomains=[f"{desk.clinic.tenant.subdomain}.example.com"],
        **more,
    )
    assert answer.data["setIdentityProvider"] == {"version": 1, "issuer": desk.provider.url}


async def refused(desk: Desk, response: httpx.Response, status: int = 401) -> None:
    """No session in the answer, and none stored."""
    assert response.status_code == status, response.text
    assert not [one for one in response.headers.get_list("set-cookie") if one.startswith("session=")]
    assert await Session.find({"only_clinic_id": desk.clinic.tenant.id}).count() == 0


# --- as it should be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [rsa_key, ec_key], ids=["RS256", "ES256"])
async def test_somebody_who_agreed_signs_in_by_the_provider_and_works_at_the_clinic(desk: Desk, key: Any) -> None:
    desk.provider.key = key()
    await desk.known("doctor")

    done = await desk.come_back(desk.browser(), next="/patients?page=2")

    assert (done.status_code, done.headers["location"]) == (303, "/patients?page=2")
    client = desk.client(session_of(done))
    viewer = (await client.gql(VIEWER)).data["viewer"]
    assert viewer == {
        "email": desk.clinic.emails["doctor"],
        "role": "doctor",
        "clinic": {"subdomain": desk.clinic.tenant.subdomain},
    }
    assert (await client.gql(PATIENTS)).status == 200
    assert await OidcFlow.find({"clinic_id": desk.clinic.tenant.id}).count() == 0


async def test_a_public_client_is_held_by_pkce_alone(
    server: Server, make_clinic: MakeClinic, provider: Provider, mailbox: Mailbox
) -> None:
    desk = Desk(server, await make_clinic(), provider, mailbox)
    provider.client_secret = None
    answer = await desk.set(
        issuer=provider.url, clientId=CLIENT_ID, emailDomains=[f"{desk.clinic.tenant.subdomain}.example.com"]
    )
    assert not answer.errors
    assert (await (await desk.signed_in()).gql(PATIENTS)).status == 200


async def test_the_browser_keeps_the_sign_in_in_a_cookie_of_this_host_alone(desk: Desk) -> None:
    started = await desk.browser().get(START)
    [cookie] = started.headers.get_list("set-cookie")
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"} <= set(cookie.split("; "))
    assert "domain" not in cookie.lower()
    stored = await OidcFlow.find_one({"clinic_id": desk.clinic.tenant.id})
    assert stored is not None
    asked = parse_qs(urlsplit(started.headers["location"]).query)
    secret = cookie.split(";")[0].partition("=")[2]
    for plain in (secret, asked["state"][0], asked["nonce"][0]):
        assert plain not in str(stored.model_dump())


async def test_nobody_is_linked_before_they_agreed_and_the_link_counts_once(desk: Desk) -> None:
    desk.provider.person = desk.person("nurse")
    first = await desk.come_back(desk.browser())
    token = await desk.mailbox.token(desk.clinic.emails["nurse"])

    again = await desk.come_back(desk.browser())
    for response in (first, again):
        await refused(desk, response, 303)
    old = await desk.client().gql(CONFIRM, input={"token": token})
    newer = await desk.mailbox.token(desk.clinic.emails["nurse"])
    agreed = await desk.client().gql(CONFIRM, input={"token": newer})
    twice = await desk.client().gql(CONFIRM, input={"token": newer})

    assert (old.codes, old.paths) == (["NOT_FOUND"], ["input.token"])
    assert agreed.data == {"confirmExternalIdentity": True}
    assert twice.codes == ["NOT_FOUND"]
    assert session_of(await desk.come_back(desk.browser()))


async def test_a_link_to_agree_is_not_good_at_another_clinic_nor_after_an_hour(desk: Desk, clinic_b: Clinic) -> None:
    desk.provider.person = desk.person("nurse")
    await desk.come_back(desk.browser())
    token = await desk.mailbox.token(desk.clinic.emails["nurse"])
    elsewhere = await desk.client(clinic=clinic_b).gql(CONFIRM, input={"token": token})
    async with tenant_scope(desk.clinic.ref):
        await ExternalIdentity.find_one({}).update({"$set": {"expires_at": now() - timedelta(seconds=1)}})
    late = await desk.client().gql(CONFIRM, input={"token": token})
    assert elsewhere.codes == late.codes == ["NOT_FOUND"]


async def test_the_person_is_known_by_subject_even_when_the_providers_address_changes(desk: Desk) -> None:
    await desk.known("nurse")
    desk.provider.person = {"sub": "subject of nurse", "email": "new@elsewhere.example.org", "email_verified": False}
    done = await desk.come_back(desk.browser())
    viewer = (await desk.client(session_of(done)).gql(VIEWER)).data["viewer"]
    assert viewer["email"] == desk.clinic.emails["nurse"]


# --- a session that one clinic's provider vouched for -----------------------------------------------------------------


async def test_such_a_session_is_nobody_anywhere_else(desk: Desk, make_clinic: MakeClinic) -> None:
    """Whoever runs one clinic chooses its provider: it must not open another clinic where the same person works."""
    other = await make_clinic()
    user = await User.find_one({"email": desk.clinic.emails["nurse"]})
    theirs = await Membership.find_one({"clinic_id": other.tenant.id, "role": "admin"})
    assert user is not None
    assert theirs is not None
    await Membership(user_id=user.key, clinic_id=other.tenant.key, role_id=theirs.role_id, role="admin").insert()
    client = await desk.signed_in("nurse")

    there, root = desk.client(client.token, other), desk.server.client(token=client.token)
    for elsewhere in (there, root):
        assert (await elsewhere.gql(VIEWER)).data == {"viewer": None}
        assert (await elsewhere.gql("mutation { switchTenant { token } }")).codes == ["UNAUTHENTICATED"]
    assert (await there.gql(PATIENTS)).codes == ["UNAUTHENTICATED"]
    stored = await Session.find_one({"only_clinic_id": desk.clinic.tenant.id})
    assert stored is not None
    assert stored.clinic_ids == [desk.clinic.tenant.id]


async def test_such_a_session_may_not_touch_the_persons_account(desk: Desk) -> None:
    client = await desk.signed_in("admin")
    before = await User.find_one({"email": desk.clinic.emails["admin"]})
    own = [root for root in root_fields() if root.access.rule is Level.SIGNED_IN]
    assert len(own) > 10
    for root in own:
        answer = await client.gql(root.briefly, **variables(root, lambda place: "f" * 24))
        assert answer.codes == ["FORBIDDEN"], (root, answer.body)
        assert not any((answer.body.get("data") or {}).values())
    assert await User.find_one({"email": desk.clinic.emails["admin"]}) == before


async def test_it_ends_with_the_membership_and_by_signing_out(desk: Desk) -> None:
    client = await desk.signed_in("nurse")
    assert (await client.gql("mutation { logout }")).data == {"logout": True}
    assert (await client.gql(VIEWER)).data == {"viewer": None}

    user = await User.find_one({"email": desk.clinic.emails["nurse"]})
    assert user is not None
    await Membership.find_one({"user_id": user.id}).update({"$set": {"status": MembershipStatus.REMOVED.value}})
    await Session.find({"only_clinic_id": desk.clinic.tenant.id}).delete()
    await refused(desk, await desk.come_back(desk.browser()))


@pytest.mark.parametrize(
    ("trusts", "amr", "enters"), [(True, ["pwd", "mfa"], True), (True, ["pwd"], False), (False, ["mfa"], False)]
)
async def test_where_a_second_factor_is_asked_for_the_providers_word_counts_only_when_trusted(
    server: Server,
    make_clinic: MakeClinic,
    provider: Provider,
    mailbox: Mailbox,
    trusts: bool,
    amr: list[str],
    enters: bool,
) -> None:
    from models import Tenant

    desk = Desk(server, await make_clinic(), provider, mailbox)
    await set_up(desk, trustsSecondFactor=trusts)
    await desk.known("nurse", amr=amr)
    await Tenant.find_one({"_id": desk.clinic.tenant.id}).update({"$set": {"security.second_factor_required": True}})
    done = await desk.come_back(desk.browser())
    if enters:
        assert (await desk.client(session_of(done)).gql(PATIENTS)).status == 200
    else:
        assert done.status_code == 401
        assert await Session.find({"only_clinic_id": desk.clinic.tenant.id, "revoked_at": None}).count() == 0


# --- whom a provider may vouch for ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "person",
    [
        {"email_verified": False},
        {"email_verified": None},
        {"email_verified": 1.5},
        {"email": None},
        {"email": "nobody@{domain}"},
        {"email": "ada@elsewhere.example.org"},
        {"email": "nurse@{domain}.evil.example.org"},
        {"email": ["nurse@{domain}"]},
        {"sub": ""},
        {"sub": "x" * 256},
        {"sub": 7},
    ],
    ids=str,
)
async def test_people_for_whom_it_cannot_vouch_are_refused_and_nothing_is_mailed(
    desk: Desk, person: dict[str, Any]
) -> None:
    domain = f"{desk.clinic.tenant.subdomain}.example.com"
    changed = {name: value.format(domain=domain) if isinstance(value, str) else value for name, value in person.items()}
    desk.provider.person = {**desk.person("nurse"), **changed}
    await refused(desk, await desk.come_back(desk.browser()))
    assert await desk.mailbox.arrived(desk.clinic.emails["nurse"]) == []
    async with tenant_scope(desk.clinic.ref):
        assert await ExternalIdentity.find({}).count() == 0


async def test_a_clinics_provider_vouches_for_nobody_of_another_clinic(desk: Desk, clinic_b: Clinic) -> None:
    """Its own domains may be claimed by anybody; that the person does not work there still stands in the way."""
    version = {"version": 1, "emailDomains": [f"{clinic_b.tenant.subdomain}.example.com"]}
    assert not (await desk.set(**version)).errors
    desk.provider.person = {"sub": "mallory", "email": clinic_b.emails["admin"], "email_verified": True}
    await refused(desk, await desk.come_back(desk.browser()))
    assert await desk.mailbox.arrived(clinic_b.emails["admin"]) == []


async def test_a_domain_that_was_taken_away_counts_no_more(desk: Desk) -> None:
    await desk.known("nurse")
    assert not (await desk.set(version=1, emailDomains=["other.example.org"])).errors
    await refused(desk, await desk.come_back(desk.browser()))


async def test_another_provider_must_be_agreed_to_anew(desk: Desk) -> None:
    await desk.known("nurse")
    with running_provider() as evil:
        evil.person = desk.person("nurse")
        assert not (await desk.set(version=1, issuer=evil.url, clientSecret=CLIENT_SECRET)).errors
        desk.provider = evil
        response = await desk.come_back(desk.browser())
        assert response.headers["location"] == "/login?notice=confirm-by-mail"
        await refused(desk, response, 303)


# --- what the provider says -------------------------------------------------------------------------------------------


def _changed(**more: Any) -> Any:
    return lambda claims: {**claims, **more}


def _nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def _without(name: str) -> Any:
    return lambda claims: {key: value for key, value in claims.items() if key != name}


LIES: dict[str, Any] = {
    "another nonce": _changed(nonce="another"),
    "no nonce": _without("nonce"),
    "another audience": _changed(aud="somebody-else"),
    "several audiences and no azp": _changed(aud=[CLIENT_ID, "somebody-else"]),
    "several audiences and another azp": _changed(aud=[CLIENT_ID, "other"], azp="other"),
    "another azp": _changed(azp="other"),
    "no audience": _without("aud"),
    "another issuer": _changed(iss="https://accounts.example.org"),
    "no issuer": _without("iss"),
    "expired": lambda claims: {**claims, "exp": claims["iat"] - 61, "iat": claims["iat"] - 300},
    "no expiry": _without("exp"),
    "expiry as text": _changed(exp="2999999999"),
    "issued in the future": lambda claims: {**claims, "iat": claims["iat"] + 600, "exp": claims["exp"] + 600},
    "issued long ago": lambda claims: {**claims, "iat": claims["iat"] - 4_000},
    "no time of issue": _without("iat"),
    "an issue that no clock shows": _changed(iat=float("nan")),
    "an end that no clock shows": _changed(exp=float("inf")),
    "nested without end": _changed(deep=_nested(1_500)),
    "not yet valid": lambda claims: {**claims, "nbf": claims["iat"] + 600},
    "another at_hash": _changed(at_hash="AAAAAAAAAAAAAAAAAAAAAA"),
    "no subject": _without("sub"),
    "methods that are no list": _changed(amr="mfa"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_an_id_token_with_a_wrong_claim_opens_nothing(desk: Desk, lie: str) -> None:
    await desk.known("nurse")
    desk.provider.claims = LIES[lie]
    await refused(desk, await desk.come_back(desk.browser()))


@pytest.mark.parametrize(
    "forge", ["none", "public key as secret", "another key", "no kid of theirs", "tampered", "no token at all"]
)
async def test_an_id_token_that_the_provider_did_not_sign_opens_nothing(desk: Desk, forge: str) -> None:
    await desk.known("nurse")
    provider, stranger = desk.provider, rsa_key(desk.provider.key.kid or "")

    def tampered(claims: Claims) -> str:
        head, _, mac = provider.signed(claims).split(".")
        return f"{head}.{provider.unsigned({**claims, 'sub': 'subject of doctor'}).split('.')[1]}.{mac}"

    provider.sign = {
        "none": provider.unsigned,
        "public key as secret": provider.signed_with_the_public_key_as_secret,
        "another key": lambda claims: provider.signed(claims, stranger),
        "no kid of theirs": lambda claims: provider.signed(claims, rsa_key("unknown")),
        "tampered": tampered,
        "no token at all": lambda claims: "not.a.token",
    }[forge]
    await refused(desk, await desk.come_back(desk.browser()))


@pytest.mark.parametrize(
    "weak",
    [
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "n": "_" * 2_000, "e": "AQAB"},
        {"kty": "RSA", "n": 7, "e": None},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "RSA", "use": "enc"},
        {},
    ],
    ids=str,
)
async def test_a_provider_without_a_key_that_can_be_believed_opens_nothing(desk: Desk, weak: dict[str, Any]) -> None:
    await desk.known("nurse")
    desk.provider.published = [{**weak, "kid": desk.provider.key.kid}]
    providers(loopback=True)._known.clear()
    await refused(desk, await desk.come_back(desk.browser()))


async def test_a_symmetric_key_among_the_published_ones_is_no_key(desk: Desk) -> None:
    from joserfc import jwt
    from joserfc.jwk import OctKey

    await desk.known("nurse")
    shared = OctKey.import_key("0" * 48, parameters={"kid": "shared"})
    desk.provider.published = [shared.as_dict(), desk.provider.key.as_dict(private=False)]
    desk.provider.sign = lambda claims: jwt.encode(
        {"alg": "HS256", "kid": "shared"}, claims, shared, algorithms=["HS256"]
    )
    providers(loopback=True)._known.clear()
    await refused(desk, await desk.come_back(desk.browser()))


async def test_keys_rotate_and_unknown_ones_are_looked_for_once_a_minute(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.known("nurse")
    assert session_of(await desk.come_back(desk.browser()))
    read = desk.provider.asked.count("jwks")
    desk.provider.key = rsa_key("rsa-2")
    await Session.find({"only_clinic_id": desk.clinic.tenant.id}).delete()

    for _ in range(3):
        await refused(desk, await desk.come_back(desk.browser()))
    assert desk.provider.asked.count("jwks") == read, "the keys were read less than a minute ago"

    known = providers(loopback=True)._known[desk.provider.url]
    known.keys_read_at -= 61
    assert session_of(await desk.come_back(desk.browser()))
    assert desk.provider.asked.count("jwks") == read + 1
    assert desk.provider.asked.count("discovery") <= 2


@pytest.mark.parametrize(
    "answer",
    [
        lambda: JSONResponse({"error": "invalid_grant"}, 400),
        lambda: JSONResponse(["no", "object"]),
        lambda: JSONResponse({"access_token": "x"}),
        lambda: JSONResponse({"id_token": 7}),
        lambda: JSONResponse({"id_token": "x" * 300_000}),
        lambda: RedirectResponse("http://127.0.0.1:1/"),
    ],
    ids=["refuses", "list", "no token", "number", "too long", "redirect"],
)
async def test_a_token_endpoint_that_answers_otherwise_opens_nothing(desk: Desk, answer: Any) -> None:
    await desk.known("nurse")
    desk.provider.token_answer = answer()
    await refused(desk, await desk.come_back(desk.browser()))


@pytest.mark.parametrize(("promised", "said", "good"), [
    (True, None, False), (True, "own", True), (False, "own", True), (False, "https://other.example.org", False),
])  # fmt: skip
async def test_an_answer_of_another_issuer_is_refused(desk: Desk, promised: bool, said: str | None, good: bool) -> None:
    """The mix-up attack: RFC 9207."""
    await desk.known("nurse")
    desk.provider.metadata = {"authorization_response_iss_parameter_supported": promised}
    desk.provider.said_issuer = desk.provider.url if said == "own" else said
    providers(loopback=True)._known.clear()
    response = await desk.come_back(desk.browser())
    if good:
        assert session_of(response)
    else:
        await refused(desk, response)


# --- what a stranger tries --------------------------------------------------------------------------------------------


async def test_a_state_counts_once(desk: Desk) -> None:
    await desk.known("nurse")
    browser = desk.browser()
    back = await desk.leave(browser)
    kept = dict(browser.cookies)
    first = await browser.get(back)
    assert session_of(first)
    await Session.find({"only_clinic_id": desk.clinic.tenant.id}).delete()
    browser.cookies.clear()
    browser.cookies.update(kept)
    await refused(desk, await browser.get(back))


async def test_a_state_of_another_browser_or_none_is_refused(desk: Desk) -> None:
    """A link with the attacker's code and state signs nobody in as the attacker."""
    await desk.known("nurse")
    back = await desk.leave(desk.browser())
    victim = desk.browser()
    await refused(desk, await victim.get(back))
    await victim.get(START)
    await refused(desk, await victim.get(back))


async def test_a_state_of_another_clinic_is_refused(desk: Desk, make_clinic: MakeClinic) -> None:
    await desk.known("nurse")
    other = Desk(desk.server, await make_clinic(), desk.provider, desk.mailbox)
    await set_up(other)
    browser = desk.browser()
    back = await desk.leave(browser)
    there = other.browser()
    there.cookies.update(dict(browser.cookies))
    await refused(other, await there.get(back.replace(desk.clinic.host, other.clinic.host)))
    assert session_of(await browser.get(back)), "the other clinic's try did not use it up"


async def test_a_stolen_code_in_ones_own_sign_in_is_refused(desk: Desk) -> None:
    """Code injection: nonce and PKCE verifier belong to another browser."""
    await desk.known("doctor")
    stolen = parse_qs(urlsplit(await desk.leave(desk.browser())).query)["code"][0]
    attacker = desk.browser()
    back = httpx.URL(await desk.leave(attacker)).copy_set_param("code", stolen)
    await refused(desk, await attacker.get(back))


async def test_a_sign_in_that_took_too_long_is_refused(desk: Desk) -> None:
    await desk.known("nurse")
    browser = desk.browser()
    back = await desk.leave(browser)
    await OidcFlow.find({"clinic_id": desk.clinic.tenant.id}).update({"$set": {"expires_at": now()}})
    await refused(desk, await browser.get(back))


@pytest.mark.parametrize(
    "query", ["", "?state=x", "?code=x", "?state=x&code=y", "?error=access_denied&state=x", "?state=" + "x" * 5_000]
)
async def test_a_callback_out_of_nowhere_is_refused(desk: Desk, query: str) -> None:
    await refused(desk, await desk.browser().get(CALLBACK + query))


async def test_parameters_that_come_twice_are_refused(desk: Desk) -> None:
    await desk.known("nurse")
    browser = desk.browser()
    back = await desk.leave(browser)
    code = parse_qs(urlsplit(back).query)["code"][0]
    await refused(desk, await browser.get(f"{back}&code={code}"))


ELSEWHERE = (
    "//evil.example.org",
    "/\\evil.example.org",
    "https://evil.example.org",
    "/\r\nSet-Cookie: x=1",
    "evil",
    "",
    "/" + "x" * 500,
    "\t//evil.example.org",
)


@pytest.mark.parametrize("path", ELSEWHERE)
async def test_the_way_back_leads_to_no_other_host(desk: Desk, path: str) -> None:
    answer = await desk.browser().get(START, params={"next": path})
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert await OidcFlow.find({"clinic_id": desk.clinic.tenant.id}).count() == 0


async def test_without_a_provider_or_a_clinic_there_is_nothing_to_start(
    server: Server, desk: Desk, clinic_b: Clinic
) -> None:
    for host in (clinic_b.host, "polyclinic.test"):
        browser = server.client(host, address=next(_addresses)).http
        assert (await browser.get(START)).status_code == 404
    assert not (await desk.set(version=1, enabled=False)).errors
    assert (await desk.browser().get(START)).status_code == 404
    assert (await desk.client().gql("{ singleSignOnPath }")).data == {"singleSignOnPath": None}


async def test_a_provider_that_was_turned_off_meanwhile_opens_nothing(desk: Desk) -> None:
    await desk.known("nurse")
    browser = desk.browser()
    back = await desk.leave(browser)
    assert not (await desk.set(version=1, enabled=False)).errors
    await refused(desk, await browser.get(back), 404)


@pytest.mark.parametrize("values", [{"enabled": False}, {"emailDomains": ["other.example.com"]}, {"clientId": "x"}, {}])
async def test_who_was_let_in_by_a_provider_is_out_when_it_is_turned_off_changed_or_removed(
    desk: Desk, values: dict[str, Any]
) -> None:
    """A clinic that takes a provider away, as one that was broken into, must not keep what it let in."""
    nurse, admin = await desk.signed_in("nurse"), await desk.server.sign_in(desk.clinic)
    assert not (await desk.set(version=1, scopes=["profile"])).errors
    assert (await nurse.gql(PATIENTS)).status == 200, "its word is the same"

    if values:
        assert not (await desk.set(version=2, **values)).errors
    else:
        assert not (await admin.gql(REMOVE, input={"version": 2})).errors

    assert (await nurse.gql(PATIENTS)).codes == ["UNAUTHENTICATED"]
    assert (await admin.gql(PATIENTS)).status == 200, "a session that was opened by password stays"


async def test_a_provider_that_is_turned_off_while_it_redeems_the_code_opens_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.known("nurse")
    redeem = Providers.identity

    async def slowly(self: Providers, *asked: Any) -> Any:
        found = await redeem(self, *asked)
        assert not (await desk.set(version=1, enabled=False)).errors
        return found

    monkeypatch.setattr(Providers, "identity", slowly)
    answer = await desk.come_back(desk.browser())

    assert answer.status_code == 401
    assert await Session.find({"only_clinic_id": desk.clinic.tenant.id, "revoked_at": None}).count() == 0


async def test_starting_and_coming_back_are_limited(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STARTS", "RETURNS"):
        monkeypatch.setattr(single_sign_on, name, Limit(f"test-{name}", 3, timedelta(minutes=15)))
    browser = desk.browser()
    assert [(await browser.get(START)).status_code for _ in range(4)] == [303, 303, 303, 429]
    assert [(await browser.get(CALLBACK)).status_code for _ in range(4)] == [401, 401, 401, 429]
