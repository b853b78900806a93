"""Browsers whose cookies were tampered with: nobody ends up in another's session, and signing in starts afresh."""

from __future__ import annotations

from typing import Any

import httpx
import jwt

from app.auth.browser import session_cookies
from models import Session, User
from tests.fixtures.clinics import PASSWORD, Clinic, MakeClinic, Server
from tests.resolvers.test_session import LOGIN, SWITCH, VIEWER, also_works_at


class Browser:
    """Sends cookies exactly as told, beside those that it keeps for its host."""

    def __init__(self, server: Server, clinic: Clinic) -> None:
        self._client = server.client(clinic.host, address=f"2001:db8:3:{clinic.tenant.subdomain[1:5]}::1")
        self._host = clinic.host
        self.kept: dict[str, str] = {}

    async def ask(self, query: str, *planted: str, **variables: Any) -> httpx.Response:
        """Asks with the cookies kept here and those planted, in that order."""
        self._client.http.cookies.clear()
        cookies = [*(f"{name}={value}" for name, value in self.kept.items()), *planted]
        headers = {"Origin": f"http://{self._host}"} | ({"Cookie": "; ".join(cookies)} if cookies else {})
        answer = await self._client.http.post(
            "/graphql", json={"query": query, "variables": variables}, headers=headers
        )
        for value in answer.headers.get_list("set-cookie"):
            name, _, stored = value.partition(";")[0].partition("=")
            self.kept[name] = stored
            if "Max-Age=0" in value:
                del self.kept[name]
        return answer

    async def sign_in(self, clinic: Clinic, role: str, *planted: str) -> httpx.Response:
        return await self.ask(LOGIN, *planted, input={"email": clinic.emails[role], "password": PASSWORD})

    async def who(self, *planted: str) -> str | None:
        viewer = (await self.ask(VIEWER, *planted)).json()["data"]["viewer"]
        return viewer["email"] if viewer else None


def named_by(cookie: str) -> str:
    sid: str = jwt.decode(cookie, options={"verify_signature": False})["sid"]
    return sid


async def test_signing_in_never_goes_on_in_the_session_that_came_along(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    mallory, victim = await server.sign_in(clinic, "nurse"), Browser(server, clinic)
    assert mallory.token is not None

    await victim.sign_in(clinic, "doctor", f"session={mallory.token}")

    assert named_by(victim.kept["session"]) != named_by(mallory.token)
    assert await victim.who() == clinic.emails["doctor"]
    fixed = await server.client(clinic.host, mallory.token).gql(VIEWER)
    assert fixed.data["viewer"]["email"] == clinic.emails["nurse"], "the planted session gained nothing"


async def test_each_sign_in_has_a_session_of_its_own(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    browser = Browser(server, clinic)
    names = set()
    for _ in range(3):
        await browser.sign_in(clinic, "nurse")
        names.add(named_by(browser.kept["session"]))

    assert len(names) == 3


async def test_two_cookies_that_name_two_people_are_nobody(server: Server, make_clinic: MakeClinic) -> None:
    """The host's own and one for the whole domain share a name; which comes first says nothing about whose is right."""
    clinic = await make_clinic()
    mallory, victim = await server.sign_in(clinic, "nurse"), Browser(server, clinic)
    await victim.sign_in(clinic, "doctor")
    planted = f"session={mallory.token}"

    assert await victim.who(planted) is None
    own = victim.kept.pop("session")
    assert await victim.who(planted, f"session={own}") is None
    assert await victim.who(f"session={own}", "session=junk") == clinic.emails["doctor"]


async def test_a_session_swapped_under_somebody_at_work_is_noticed(server: Server, make_clinic: MakeClinic) -> None:
    """A sibling subdomain overwrites the cookie of the domain; it cannot touch the one of this host."""
    clinic = await make_clinic()
    mallory, victim = await server.sign_in(clinic, "nurse"), Browser(server, clinic)
    assert mallory.token is not None
    await victim.sign_in(clinic, "doctor")
    create = 'mutation { createPatient(input: {givenName: "Meant", familyName: "For Me"}) { id } }'

    victim.kept["session"] = mallory.token
    refused = await victim.ask(create)

    assert refused.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert await victim.who() is None
    await victim.sign_in(clinic, "doctor")
    assert await victim.who() == clinic.emails["doctor"]


async def test_somebody_else_may_sign_in_on_the_same_browser(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    browser = Browser(server, clinic)
    await browser.sign_in(clinic, "doctor")
    await browser.sign_in(clinic, "nurse")
    assert await browser.who() == clinic.emails["nurse"]

    await browser.ask("mutation { logout }")

    assert browser.kept == {}
    await browser.sign_in(clinic, "doctor")
    assert await browser.who() == clinic.emails["doctor"]


async def test_one_sign_in_still_serves_a_persons_several_clinics(server: Server, make_clinic: MakeClinic) -> None:
    one, two = await make_clinic(), await make_clinic()
    await also_works_at(one, two, "doctor")
    first, second = Browser(server, one), Browser(server, two)
    await first.sign_in(one, "doctor")
    second.kept["session"] = first.kept["session"]  # as the domain's cookie would be

    assert await second.who() == one.emails["doctor"]
    switched = await second.ask(SWITCH)

    assert switched.json()["data"]["switchTenant"]["viewer"]["clinic"] == {"subdomain": two.tenant.subdomain}
    first.kept["session"] = second.kept["session"]
    assert await first.who() == one.emails["doctor"]


async def test_a_token_of_another_user_is_never_mixed_with_ones_own_rights(
    server: Server, make_clinic: MakeClinic
) -> None:
    """Claims of two tokens do not add up: the person is that of the session, whatever `sub` says."""
    from app.auth.tokens import STAFF, tokens_of

    clinic = await make_clinic()
    nurse = await server.sign_in(clinic, "nurse")
    assert nurse.token is not None
    tokens = tokens_of(server.settings, STAFF)
    claims = tokens.read(nurse.token)
    admin = await User.find_one({"email": clinic.emails["admin"]})
    assert claims is not None
    assert admin is not None
    session = await Session.find_one({"_id": claims.session_id})
    assert session is not None
    from dataclasses import replace

    mixed = tokens.sign(replace(claims, user_id=admin.key), issued_at=session.created_at, expires_at=session.expires_at)

    assert (await server.client(clinic.host, mixed).gql(VIEWER)).data == {"viewer": None}
    assert len(session_cookies(server.settings, mixed)) == 2
