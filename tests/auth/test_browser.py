"""Which session the cookies of a browser name, when some of them were planted by another host below the root domain."""

from __future__ import annotations

from datetime import timedelta

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from app.auth.browser import MOST, session_cookies, staff_token, witness_cookie, witness_of
from app.auth.cookies import session_cookie
from app.auth.tokens import STAFF, StaffClaims, tokens_of
from app.config import Settings
from models.values import now
from tests.auth.test_cookies import PRODUCTION

ME, MALLORY = ObjectId(), ObjectId()
NAME, WITNESS = session_cookie(PRODUCTION), witness_cookie(PRODUCTION)


def token(user: ObjectId, name: str = "one", clinics: int = 0, settings: Settings = PRODUCTION) -> str:
    claims = StaffClaims(name, user, 1, frozenset(ObjectId() for _ in range(clinics)))
    return tokens_of(settings, STAFF).sign(claims, issued_at=now(), expires_at=now() + timedelta(days=1))


def test_one_good_token_counts_and_junk_beside_it_does_not() -> None:
    mine = token(ME)

    assert staff_token([(NAME, "junk"), (NAME, mine), (NAME, mine), ("other", token(MALLORY))], PRODUCTION) == mine


@pytest.mark.parametrize("order", [1, -1])
def test_two_sessions_at_once_are_none(order: int) -> None:
    both = [(NAME, token(ME)), (NAME, token(MALLORY, "two"))][::order]

    assert staff_token(both, PRODUCTION) is None


def test_of_one_sessions_tokens_the_one_that_entered_more_clinics_counts() -> None:
    older, newer = token(ME, clinics=1), token(ME, clinics=2)

    assert staff_token([(NAME, older), (NAME, newer)], PRODUCTION) == newer
    assert staff_token([(NAME, newer), (NAME, older)], PRODUCTION) == newer


def test_the_session_of_somebody_else_than_this_host_signed_in_is_none() -> None:
    mine, theirs = token(ME), token(MALLORY)
    witness = (WITNESS, witness_of(ME))

    assert staff_token([(NAME, mine), witness], PRODUCTION) == mine
    assert staff_token([(NAME, theirs), witness], PRODUCTION) is None
    assert staff_token([(NAME, mine), witness, (WITNESS, "junk")], PRODUCTION) is None


def test_a_heap_of_cookies_is_none() -> None:
    heap = [(NAME, f"junk{number}") for number in range(MOST)]

    assert staff_token([(NAME, token(ME)), *heap], PRODUCTION) is None


@given(st.lists(st.tuples(st.sampled_from([NAME, WITNESS, "x"]), st.text(st.characters(codec="utf-8"))), max_size=6))
def test_whatever_arrives_is_judged_without_a_failure(cookies: list[tuple[str, str]]) -> None:
    assert staff_token(cookies, PRODUCTION) is None


def test_what_is_set_in_production_leaves_no_room_for_a_cookie_of_this_host_alone() -> None:
    domain, witness, stray = session_cookies(PRODUCTION, token(ME))

    assert domain.startswith("__Secure-session=ey")
    assert "Domain=.polyclinic-host.org" in domain
    assert witness.startswith(f"__Host-session-of={witness_of(ME)}; Path=/; HttpOnly; SameSite=Lax; Max-Age=604800")
    assert witness.endswith("; Secure")
    assert "Domain" not in witness, "or browsers would refuse the prefix"
    assert stray.startswith("__Secure-session=; ")
    assert {"Path=/", "Max-Age=0", "Secure"} <= set(stray.split("; "))
    assert "Domain" not in stray


def test_signing_out_takes_all_of_them_away() -> None:
    assert all("Max-Age=0" in value for value in session_cookies(PRODUCTION, ""))
