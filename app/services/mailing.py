"""Letters: what they say in the clinic's language, as text and as plain HTML, and the links in them.

A letter names the clinic and what it is about, and of patients nothing but the name that it addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from pymongo.asynchronous.client_session import AsyncClientSession

from app.config import Settings
from app.errors import NotFound
from app.tenancy.scope import TenantRef
from models import Tenant
from models.tenant import Language

SYSTEM = "Polyclinic"


@dataclass(frozen=True, slots=True)
class Letter:
    """One message, ready but for its address."""

    subject: str
    text: str
    html: str
    language: str = Language.EN.value


def letter(
    language: Language, subject: str, paragraphs: Sequence[str], *, link: tuple[str, str] | None = None, signed: str
) -> Letter:
    """Sets plain paragraphs as text and HTML. `link` is (what the button says, the address); `signed` ends it."""
    before, after = (paragraphs[:1], paragraphs[1:]) if link else (paragraphs, ())
    plain = [*before, *([link[1]] if link else []), *after, f"-- \n{signed}"]
    marked = [_paragraph(one) for one in before]
    if link:
        marked.append(f'<p><a href="{escape(link[1])}">{escape(link[0])}</a></p>')
    marked += [_paragraph(one) for one in after]
    marked.append(f"<p>{escape(signed)}</p>")
    body = "".join(marked)
    html = f'<!doctype html><html lang="{language.value}"><meta charset="utf-8"><body>{body}</body></html>'
    return Letter(subject, "\n\n".join(plain) + "\n", html, language.value)


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


async def language_of(tenant: TenantRef | None, session: AsyncClientSession | None = None) -> Language:
    """The clinic's language; English for the system itself."""
    if tenant is None:
        return Language.EN
    row = await Tenant.guarded().find_one({"_id": tenant.id}, {"settings.language": 1}, session=session)
    return Language((row or {}).get("settings", {}).get("language", Language.EN.value))


def unknown_link() -> NotFound:
    """What whoever follows a link is told of one that is unknown, used, replaced or too old: always the same."""
    return NotFound.at("input.token", "The link is unknown, was used, or is too old.")


def front_url(settings: Settings, tenant: TenantRef | None, path: str, token: str) -> str:
    """A link into the front end on the clinic's own host, or the system's.

    The token stands behind the `#`, so no server, proxy or Referer header ever sees it.
    """
    return f"{host_url(settings, tenant)}/{path}#token={token}"


def host_url(settings: Settings, tenant: TenantRef | None) -> str:
    """The address of the clinic's own host, or the system's, without a slash at its end."""
    own = f"{tenant.subdomain}." if tenant is not None and not settings.single_clinic else ""
    host = f"{own}{settings.root_domain}"
    return f"https://{host}" if settings.is_production else f"http://{host}:{settings.port}"
