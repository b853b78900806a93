"""Session tokens: only what we signed, for what it was signed, as long as it lasts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from datetime import timedelta
from typing import Any

import jwt
import pytest
from bson import ObjectId
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from app.auth.patient_tokens import PATIENT, PatientClaims
from app.auth.tokens import LONGEST, STAFF, StaffClaims, Tokens, tokens_of
from app.config import Settings
from models.values import now

SECRET = SecretStr("Wl3-8fJqkq0rS1vXy7Zb2Nd5Tg9Hm4Pc6Ra")
OTHER = SecretStr("Qz1-7gKrlr9sT2wYx8Ac3Oe6Uh0In5Qd7Sb")
USER, CLINIC = ObjectId(), ObjectId()
CLAIMS = StaffClaims("a-session", USER, 3, frozenset({CLINIC}))
TOKENS = Tokens(STAFF, [SECRET])


def token(*secrets: SecretStr, **changes: Any) -> str:
    values: dict[str, Any] = {"issued_at": now(), "expires_at": now() + timedelta(days=7)}
    return Tokens(STAFF, secrets or [SECRET]).sign(CLAIMS, **{**values, **changes})


def own_key() -> bytes:
    return TOKENS._ring[TOKENS.key_id]


def forged(headers: dict[str, Any] | None = None, key: bytes | None = None, **changes: Any) -> str:
    """A token signed with our real key, but with other claims."""
    claims = jwt.decode(token(), options={"verify_signature": False})
    claims = {name: value for name, value in {**claims, **changes}.items() if value is not ...}
    kept = {"kid": TOKENS.key_id, **(headers or {})}
    return jwt.encode(claims, key or own_key(), algorithm="HS256", headers=kept)


def raw(header: bytes, payload: bytes, key: bytes | None = None) -> str:
    """A token of any bytes, signed as HS256 is."""
    parts = [base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, payload)]
    signature = hmac.digest(key or own_key(), b".".join(parts), hashlib.sha256().name)
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def unsigned(algorithm: str) -> str:
    header = json.dumps({"alg": algorithm, "kid": TOKENS.key_id}).encode()
    claims = jwt.decode(token(), options={"verify_signature": False})
    return raw(header, json.dumps(claims).encode()).rpartition(".")[0] + "."


def with_public_key() -> str:
    """The old confusion of keys: the text of a public key taken for an HMAC secret, or the other way round."""
    public = rsa.generate_private_key(65537, 2048).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = json.dumps(jwt.decode(token(), options={"verify_signature": False})).encode()
    return raw(json.dumps({"alg": "RS256", "kid": TOKENS.key_id}).encode(), claims, key=pem)


def test_a_token_names_its_session_person_and_clinics() -> None:
    assert TOKENS.read(token()) == CLAIMS


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda: token(OTHER), id="another key"),
        pytest.param(lambda: token(expires_at=now() - timedelta(seconds=1)), id="run out"),
        pytest.param(lambda: token(issued_at=now() + timedelta(hours=1)), id="from the future"),
        pytest.param(lambda: forged(aud="polyclinic:patient"), id="for patients"),
        pytest.param(lambda: forged(aud=[STAFF.audience, "x"]), id="for staff and others"),
        pytest.param(lambda: forged(aud=...), id="for nobody"),
        pytest.param(lambda: forged(typ="patient"), id="of another type"),
        pytest.param(lambda: forged(typ=...), id="no type"),
        pytest.param(lambda: forged(exp=...), id="without end"),
        pytest.param(lambda: forged(iat=...), id="without beginning"),
        pytest.param(lambda: forged(sid=...), id="no session"),
        pytest.param(lambda: forged(sid=7), id="session no text"),
        pytest.param(lambda: forged(tenants="abc"), id="clinics no list"),
        pytest.param(lambda: forged(tenants=["abc"]), id="clinic no id"),
        pytest.param(lambda: forged(tenants=[[]]), id="clinic a list"),
        pytest.param(lambda: forged(sub="abc"), id="person no id"),
        pytest.param(lambda: forged(sub="abcdefabcdef"), id="person twelve letters"),
        pytest.param(lambda: forged(tv="3"), id="version no number"),
        pytest.param(lambda: forged(tv=True), id="version a truth value"),
        pytest.param(lambda: forged(headers={"kid": "other"}), id="unknown key id"),
        pytest.param(lambda: jwt.encode({}, own_key(), algorithm="HS256"), id="no key id"),
        pytest.param(lambda: forged(key=b"k" * 64), id="wrong signature"),
        pytest.param(lambda: jwt.encode({}, own_key(), algorithm="HS512", headers={"kid": TOKENS.key_id}), id="HS512"),
        pytest.param(lambda: unsigned("none"), id="unsigned"),
        pytest.param(lambda: unsigned("None"), id="Unsigned"),
        pytest.param(lambda: unsigned("HS256"), id="signature left out"),
        pytest.param(with_public_key, id="keys confused"),
        pytest.param(lambda: raw(b"[" * 3000, b"{}"), id="a deep header"),
        pytest.param(lambda: raw(b'{"alg":"HS256","kid":' + b"[" * 3000, b"{}"), id="a deep key id"),
        pytest.param(
            lambda: raw(json.dumps({"alg": "HS256", "kid": TOKENS.key_id}).encode(), b"[" * 3000), id="deep claims"
        ),
        pytest.param(lambda: raw(json.dumps({"alg": "HS256", "kid": TOKENS.key_id}).encode(), b"[]"), id="a list"),
        pytest.param(lambda: raw(b"null", b"null"), id="nothing at all"),
        pytest.param(lambda: "\ud800.\ud800.\ud800", id="no text"),
    ],
)
def test_any_other_token_is_none(bad: Any) -> None:
    assert TOKENS.read(bad()) is None


def test_the_test_forgers_make_good_tokens_when_nothing_is_changed() -> None:
    claims = json.dumps(jwt.decode(token(), options={"verify_signature": False})).encode()

    assert TOKENS.read(forged()) == CLAIMS
    assert TOKENS.read(raw(json.dumps({"alg": "HS256", "kid": TOKENS.key_id}).encode(), claims)) == CLAIMS


# --- the ring ---------------------------------------------------------------------------------------------------------


def test_after_a_rotation_tokens_of_the_former_key_stay_good_and_new_ones_use_the_new_key() -> None:
    before, ring, without = token(), Tokens(STAFF, [OTHER, SECRET]), Tokens(STAFF, [OTHER])
    after = token(OTHER, SECRET)

    assert ring.read(before) == ring.read(after) == CLAIMS
    assert jwt.get_unverified_header(after)["kid"] == without.key_id != TOKENS.key_id
    assert without.read(after) == CLAIMS
    assert without.read(before) is None, "once the former secret is gone, so are its tokens"


def test_a_key_id_is_no_pass_to_another_key_of_the_ring() -> None:
    ring = Tokens(STAFF, [OTHER, SECRET])

    assert ring.read(forged(headers={"kid": ring.key_id})) is None


# --- staff and patients -----------------------------------------------------------------------------------------------


def test_staff_and_patients_are_never_taken_for_each_other(settings: Settings) -> None:
    staff, patients = tokens_of(settings, STAFF), tokens_of(settings, PATIENT)
    until = now() + timedelta(days=1)
    one = PatientClaims(ObjectId(), ObjectId(), CLINIC)
    of_staff = staff.sign(CLAIMS, issued_at=now(), expires_at=until)
    of_patient = patients.sign(one, issued_at=now(), expires_at=until)

    assert staff.read(of_staff) == CLAIMS
    assert patients.read(of_patient) == one
    assert staff.read(of_patient) is None
    assert patients.read(of_staff) is None
    assert staff.key_id != patients.key_id, "each has a key of its own"


def test_claims_of_one_kind_under_the_key_of_the_other_are_no_token(settings: Settings) -> None:
    staff, patients = tokens_of(settings, STAFF), tokens_of(settings, PATIENT)
    claims = jwt.decode(token(), options={"verify_signature": False})
    crossed = jwt.encode(claims, patients._ring[patients.key_id], algorithm="HS256", headers={"kid": patients.key_id})

    assert staff.read(crossed) is None
    assert patients.read(crossed) is None


# --- whatever arrives -------------------------------------------------------------------------------------------------


def test_an_oversized_token_is_refused_without_being_read() -> None:
    huge = token() + "." + "A" * 50_000_000
    started = time.perf_counter()

    assert TOKENS.read(huge) is None
    assert time.perf_counter() - started < 0.05
    assert TOKENS.read(forged(padding="A" * LONGEST)) is None


def test_a_session_of_two_hundred_clinics_still_has_a_token() -> None:
    many = StaffClaims("x" * 32, USER, 1, frozenset(ObjectId() for _ in range(200)))
    signed = TOKENS.sign(many, issued_at=now(), expires_at=now() + timedelta(days=1))

    assert TOKENS.read(signed) == many


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
@example("..")
@example("e30.e30.")
def test_arbitrary_text_is_none_and_never_raises(text: str) -> None:
    assert TOKENS.read(text) is None


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_arbitrary_bytes_in_the_form_of_a_token_are_none_even_under_our_own_signature(
    header: bytes, payload: bytes
) -> None:
    assert TOKENS.read(raw(header, payload)) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["sid", "sub", "tv", "aud", "typ", "tenants", "iat", "exp"]), _JSON)
def test_claims_of_any_shape_never_raise(name: str, value: Any) -> None:
    claims = jwt.decode(token(), options={"verify_signature": False}) | {name: value}
    header = json.dumps({"alg": "HS256", "kid": TOKENS.key_id}).encode()

    read = TOKENS.read(raw(header, json.dumps(claims).encode()))

    assert read is None or name not in {"aud", "typ"} or value in (STAFF.audience, STAFF.name)


@given(st.integers(min_value=0, max_value=400), st.characters(codec="ascii"))
def test_a_changed_character_makes_it_none(position: int, character: str) -> None:
    good = token()
    place = position % len(good)
    changed = good[:place] + character + good[place + 1 :]

    claims = TOKENS.read(changed)

    assert claims is None or claims == TOKENS.read(good)
