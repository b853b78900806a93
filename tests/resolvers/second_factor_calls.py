"""What the tests of second factors have in common: an authenticator app, and the calls that turn it on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp

from tests.fixtures.clinics import PASSWORD, Answer, Client, Clinic, Server

LOGIN = """mutation($input: LoginInput!) {
    login(input: $input) { token viewer { role secondFactor secondFactorRequired clinic { subdomain } } }
}"""
BEGIN = "mutation($input: PasswordInput!) { beginTotp(input: $input) { uri qrSvg } }"
CONFIRM = """mutation($input: ConfirmTotpInput!) { confirmTotp(input: $input) {
    recoveryCodes signIn { token viewer { role secondFactor secondFactorRequired permissions } }
} }"""
DISABLE = "mutation($input: DisableTotpInput!) { disableTotp(input: $input) }"
REGENERATE = "mutation($input: PasswordInput!) { regenerateRecoveryCodes(input: $input) }"
FACTORS = "{ secondFactors { totpSince recoveryCodesLeft passkeys { name } } }"
VIEWER = "{ viewer { email role secondFactor secondFactorRequired } }"


@dataclass(slots=True)
class App:
    """An authenticator app that knows one secret, and shows a code that it has not shown before."""

    secret: str
    shown: int = 0
    recovery: list[str] = field(default_factory=list)

    def code(self) -> str:
        """The oldest code that the server still takes and that was not given out yet."""
        if (left := 30 - time.time() % 30) < 3:
            time.sleep(left)  # a code must not run out on its way to the server
        step = max(int(time.time()) // 30 - 1, self.shown + 1)
        self.shown = step
        return pyotp.TOTP(self.secret).generate_otp(step)

    def wrong(self) -> str:
        near = int(time.time()) // 30
        good = {pyotp.TOTP(self.secret).generate_otp(step) for step in range(near - 3, near + 4)}
        return next(code for code in (f"{number:06d}" for number in range(20)) if code not in good)


def secret_in(uri: str) -> str:
    [secret] = parse_qs(urlsplit(uri).query)["secret"]
    return secret


async def begun(client: Client) -> App:
    answer = await client.gql(BEGIN, input={"password": PASSWORD})
    return App(secret_in(answer.data["beginTotp"]["uri"]))


async def enrolled(client: Client) -> App:
    """Turns an app on for the person of the client, which goes on with the renewed session."""
    app = await begun(client)
    told = (await client.gql(CONFIRM, input={"code": app.code()})).data["confirmTotp"]
    client.token = told["signIn"]["token"]
    app.recovery = told["recoveryCodes"]
    return app


async def log_in(server: Server, clinic: Clinic, role: str = "admin", **more: Any) -> Answer:
    client = server.client(clinic.host, address=f"2001:db8:2:{clinic.tenant.subdomain[1:5]}::1")
    return await client.gql(LOGIN, input={"email": clinic.emails[role], "password": PASSWORD, **more})


async def heard(server: Server, clinic: Clinic, **policy: Any) -> None:
    """Waits until this process knows of a changed policy: the watch on tenants takes a moment."""
    for _ in range(100):
        known = (await server.app.state.directory.by_subdomain(clinic.tenant.subdomain)).policy
        if all(getattr(known, name) == value for name, value in policy.items()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("this process did not hear of the change")
