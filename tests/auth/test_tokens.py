"""The session token: only what we signed, for what it was signed, as long as it lasts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import jwt
import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from app.auth.tokens import AUDIENCE, Tokens
from models.values import now

SECRET = SecretStr("Wl3-8fJqkq0rS1vXy7Zb2Nd5Tg9Hm4Pc6Ra")
OTHER = SecretStr("Qz1-7gKrlr9sT2wYx8Ac3Oe6Uh0In5Qd7Sb")
USER, CLINIC = ObjectId(), ObjectId()


def token(secret: SecretStr = SECRET, **changes: Any) -> str:
    values: dict[str, Any] = {
        "session_id": "a-session",
        "user_id": USER,
        "token_version": 3,
        "clinic_ids": [CLINIC],
        "issued_at": now(),
        "expires_at": now() + timedelta(days=7),
    }
    return Tokens(secret).sign(**{**values, **changes})


def forged(headers: dict[str, Any] | None = None, key: bytes | None = None, **changes: Any) -> str:
    """A token signed with our real key, but with other claims."""
    tokens = Tokens(SECRET)
    claims = jwt.decode(token(), options={"verify_signature": False})
    claims = {name: value for name, value in {**claims, **changes}.items() if value is not ...}
    kept = {"kid": tokens.key_id, **(headers or {})}
    return jwt.encode(claims, key or tokens._key, algorithm="HS256", headers=kept)


def test_a_token_names_its_session_person_and_clinics() -> None:
    claims = Tokens(SECRET).read(token())

    assert claims is not None
    assert (claims.session_id, claims.user_id, claims.token_version) == ("a-session", USER, 3)
    assert claims.clinic_ids == {CLINIC}


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda: token(OTHER), id="another key"),
        pytest.param(lambda: token(expires_at=now() - timedelta(seconds=1)), id="run out"),
        pytest.param(lambda: forged(aud="polyclinic:patient"), id="for patients"),
        pytest.param(lambda: forged(aud=[AUDIENCE, "x"], typ="patient"), id="of another type"),
        pytest.param(lambda: forged(typ=...), id="no type"),
        pytest.param(lambda: forged(exp=...), id="without end"),
        pytest.param(lambda: forged(iat=...), id="without beginning"),
        pytest.param(lambda: forged(sid=...), id="no session"),
        pytest.param(lambda: forged(tenants="abc"), id="clinics no list"),
        pytest.param(lambda: forged(tenants=["abc"]), id="clinic no id"),
        pytest.param(lambda: forged(sub="abc"), id="person no id"),
        pytest.param(lambda: forged(tv="3"), id="version no number"),
        pytest.param(lambda: forged(headers={"kid": "other"}), id="unknown key id"),
        pytest.param(lambda: forged(key=b"k" * 64), id="wrong signature"),
        pytest.param(
            lambda: jwt.encode(jwt.decode(token(), options={"verify_signature": False}), None, algorithm="none"),
            id="unsigned",
        ),
    ],
)
def test_any_other_token_is_none(bad: Any) -> None:
    assert Tokens(SECRET).read(bad()) is None


def test_the_test_forger_makes_good_tokens_when_nothing_is_changed() -> None:
    assert Tokens(SECRET).read(forged()) is not None


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_arbitrary_text_is_none_and_never_raises(text: str) -> None:
    assert Tokens(SECRET).read(text) is None


@given(st.integers(min_value=0, max_value=400), st.characters(codec="ascii"))
def test_a_changed_character_makes_it_none(position: int, character: str) -> None:
    good = token()
    place = position % len(good)
    changed = good[:place] + character + good[place + 1 :]

    claims = Tokens(SECRET).read(changed)

    assert claims is None or claims == Tokens(SECRET).read(good)
