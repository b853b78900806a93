"""A plain HTTP client for checks against a running system: any host, any header, no redirects, no cookie jar."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

TIMEOUT = 30.0
LARGEST_ANSWER = 16_777_216

LOGIN = """mutation($input: LoginInput!) {
  login(input: $input) { token viewer { permissions clinic { id subdomain } } }
}"""


class CannotCheck(Exception):
    """The system cannot be checked: it does not answer, or a sign-in fails. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: status, headers in lower case and the body as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body's object; an empty one when it holds none."""
        try:
            parsed = json.loads(self.body)
        except ValueError:
            return {}
        return parsed if isinstance(parsed, dict) else {}

    @property
    def data(self) -> dict[str, Any]:
        return self.json.get("data") or {}

    @property
    def codes(self) -> list[str]:
        """The stable codes of all errors, of GraphQL or of the edge."""
        body = self.json
        errors = [error.get("extensions", {}) for error in body.get("errors", [])]
        if isinstance(body.get("error"), dict):
            errors.append(body["error"])
        return [str(error.get("code")) for error in errors]


@dataclass(frozen=True, slots=True)
class System:
    """The running system: where it listens, and the domain whose subdomains are its clinics."""

    base: SplitResult
    root_domain: str

    @classmethod
    def at(cls, base_url: str, root_domain: str) -> System:
        """Raises `CannotCheck` for something that is not the address of a web server."""
        base = urlsplit(base_url)
        try:
            usable = base.scheme in ("http", "https") and bool(base.hostname) and base.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise CannotCheck(f"{base_url} is not a base URL: give one such as http://127.0.0.1:8000.")
        return cls(base, root_domain)

    def host(self, clinic: str) -> str:
        """The clinic's host as a browser would name it, with the port if it is not the scheme's own."""
        return f"{clinic}.{self.root_domain}" + (f":{self.base.port}" if self.base.port else "")

    def origin(self, clinic: str) -> str:
        return f"{self.base.scheme}://{self.host(clinic)}"

    def ask(self, clinic: str, body: Mapping[str, Any], headers: Mapping[str, str], *, target: str = "") -> Reply:
        """POSTs to the clinic's `/graphql`. Raises `CannotCheck` when nobody answers."""
        connection = self._connect(clinic)
        sent = {"Content-Type": "application/json", **headers, "Host": self.host(clinic)}
        try:
            connection.request("POST", f"/graphql{target}", json.dumps(body), sent)
            answer = connection.getresponse()
            content = answer.read(LARGEST_ANSWER)
            told: dict[str, str] = {}
            for name, value in answer.getheaders():
                told.setdefault(name.lower(), value)  # of several cookies the session's comes first
            return Reply(answer.status, told, content)
        except (OSError, http.client.HTTPException) as error:
            raise CannotCheck(f"{self.base.geturl()} does not answer ({error}): is the system running?") from None
        finally:
            connection.close()

    def _connect(self, clinic: str) -> http.client.HTTPConnection:
        """Over https the clinic's own name is connected to, for the certificate is for that."""
        if self.base.scheme == "https":
            return http.client.HTTPSConnection(f"{clinic}.{self.root_domain}", self.base.port, timeout=TIMEOUT)
        return http.client.HTTPConnection(str(self.base.hostname), self.base.port, timeout=TIMEOUT)


@dataclass(frozen=True, slots=True)
class Person:
    """Who signs in, and at which clinic (its subdomain)."""

    clinic: str
    email: str
    password: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person signed in at a clinic."""

    system: System
    clinic: str
    clinic_id: str
    token: str
    cookie: str
    """The name of the session cookie."""
    permissions: frozenset[str]

    def ask(self, query: str, *, at: str | None = None, target: str = "", **variables: Any) -> Reply:
        """Asks with this person's token on the host of their clinic, or of clinic `at`."""
        return self.ask_with({"Authorization": f"Bearer {self.token}"}, query, at=at, target=target, **variables)

    def ask_with(
        self, headers: Mapping[str, str], query: str, *, at: str | None = None, target: str = "", **variables: Any
    ) -> Reply:
        """Asks with these headers alone."""
        return self.system.ask(at or self.clinic, {"query": query, "variables": variables}, headers, target=target)


def sign_in(system: System, person: Person) -> SignedIn:
    """Raises `CannotCheck` when the sign-in fails or does not enter the clinic."""
    body = {"query": LOGIN, "variables": {"input": {"email": person.email, "password": person.password}}}
    bearer = system.ask(person.clinic, body, {"X-Polyclinic-Client": "check"})
    login = bearer.data.get("login")
    if not login or not login["viewer"]["clinic"] or not login["token"]:
        why = ", ".join(bearer.codes) or f"status {bearer.status}"
        raise CannotCheck(f"{person.email} cannot sign in at {system.host(person.clinic)} ({why}).")
    clinic, permissions = login["viewer"]["clinic"], frozenset(login["viewer"]["permissions"])
    cookie = bearer.headers.get("set-cookie", "session=").partition("=")[0]
    return SignedIn(system, person.clinic, clinic["id"], login["token"], cookie, permissions)
