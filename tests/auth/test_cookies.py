"""The session cookie: hidden from scripts, held to TLS in production, and served to a person's several clinics."""

from __future__ import annotations

from pydantic import SecretStr

from app.auth.cookies import session_cookie, set_cookie
from app.config import Settings

PRODUCTION = Settings(
    environment="production",
    mongodb_uri="mongodb://db.polyclinic-host.org/?replicaSet=rs0&tls=true",
    session_secret=SecretStr("t8Vq2-Zx7Lm4Rk9Pw3Ny6Bd1Hs5Gc0Jf_Ua"),
    audit_secret=SecretStr("q4Wz8-Lm2Xc7Vb1Nh5Tg9Rf3Ed6Ys0Ku_Jp"),
    encryption_key=SecretStr("k7Pd2-Yb5Hs9Gc3Jf8Ua1Tz6Vq4Zx0Lm_Rn"),
    root_domain="polyclinic-host.org",
    cookie_domain=".polyclinic-host.org",
    mail_url=SecretStr("smtps://mail.polyclinic-host.org"),
)


def test_in_production_the_cookie_is_secure_and_serves_every_clinics_subdomain() -> None:
    parts = set_cookie(PRODUCTION, "token").split("; ")

    assert parts[0] == "__Secure-session=token"
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/", "Domain=.polyclinic-host.org"} <= set(parts)
    assert "Max-Age=604800" in parts


def test_in_development_the_cookie_stays_on_its_own_host(settings: Settings) -> None:
    value = set_cookie(settings, "token")

    assert session_cookie(settings) == "session"
    assert "Domain" not in value
    assert "Secure" not in value


def test_signing_out_removes_the_cookie_from_where_it_was_set() -> None:
    parts = set_cookie(PRODUCTION, "").split("; ")

    assert {"__Secure-session=", "Max-Age=0", "Domain=.polyclinic-host.org", "Path=/"} <= set(parts)
