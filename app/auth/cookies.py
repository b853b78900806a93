"""The cookies that carry the sessions: one for staff, another one for patients."""

from __future__ import annotations

from app.config import Settings


def session_cookie(settings: Settings) -> str:
    """The cookie's name. `__Secure-` makes browsers refuse it over plain HTTP."""
    return "__Secure-session" if settings.cookie_secure else "session"


def set_cookie(settings: Settings, token: str) -> str:
    """The `Set-Cookie` value that stores `token`, or removes the cookie when it is empty.

    In production its domain is the root domain, so that one sign-in serves a person's several clinics.
    """
    parts = [f"{session_cookie(settings)}={token}", "Path=/", "HttpOnly", "SameSite=Lax"]
    parts.append(f"Max-Age={settings.session_days * 86_400 if token else 0}")
    if settings.cookie_domain:
        parts.append(f"Domain={settings.cookie_domain}")
    if settings.cookie_secure:
        parts.append("Secure")
    return "; ".join(parts)


def patient_cookie(settings: Settings) -> str:
    """The name of the patient's cookie. `__Host-` makes browsers keep it to the one host that set it, over TLS."""
    return "__Host-patient_session" if settings.cookie_secure else "patient_session"


def set_patient_cookie(settings: Settings, token: str) -> str:
    """As `set_cookie`, for the patient's session: it never names a domain, because it is good at one clinic alone."""
    parts = [f"{patient_cookie(settings)}={token}", "Path=/", "HttpOnly", "SameSite=Lax"]
    parts.append(f"Max-Age={settings.patient_session_hours * 3_600 if token else 0}")
    if settings.cookie_secure:
        parts.append("Secure")
    return "; ".join(parts)
