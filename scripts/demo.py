"""What the demo data tells a newcomer: who can sign in, and where."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SignIn:
    """One person of the demo at one clinic; `clinic` is the subdomain."""

    clinic: str
    role: str
    email: str
    password: str


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """`created` is False when the database already held the demo. Without sign-ins there is no demo in it."""

    created: bool
    sign_ins: tuple[SignIn, ...]

    @property
    def clinics(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(sign_in.clinic for sign_in in self.sign_ins))
