"""Letters to a clinic's admins about what concerns its patients' records. They name no patient."""

from __future__ import annotations

from pymongo.asynchronous.client_session import AsyncClientSession

from app.config import Settings
from app.permissions import ADMIN
from app.services.mailing import Letter, language_of, letter
from app.services.outbox import enqueue_mail
from app.tenancy.scope import current_scope
from models import Membership, User
from models.tenant import Language
from models.user import MembershipStatus, UserStatus

MOST_ADMINS = 50
_WORDS: dict[Language, tuple[str, tuple[str, str]]] = {
    Language.EN: (
        "Emergency access to a patient's records",
        (
            "Somebody at another clinic has opened records of one of your patients in an emergency.",
            "Who it was, and why, is in your list of emergency access. Please review it.",
        ),
    ),
    Language.ES: (
        "Acceso de emergencia a la historia de un paciente",
        (
            "Alguien de otra clínica ha abierto datos de uno de sus pacientes por una emergencia.",
            "Quién fue y por qué está en su lista de accesos de emergencia. Por favor, revíselo.",
        ),
    ),
}


async def tell_admins(settings: Settings, session: AsyncClientSession) -> None:
    """Writes each admin of the clinic in scope a letter, in the transaction of what it tells of."""
    tenant = current_scope().tenant
    assert tenant is not None  # noqa: S101 - the scope of a clinic
    said = _emergency(await language_of(tenant, session), tenant.name)
    for address in await _admins(tenant.id, session):
        await enqueue_mail(said, to=address, kind="break_glass", tenant=tenant, settings=settings, session=session)


def _emergency(language: Language, signed: str) -> Letter:
    subject, paragraphs = _WORDS[language]
    return letter(language, subject, paragraphs, signed=signed)


async def _admins(clinic: object, session: AsyncClientSession) -> list[str]:
    wanted = {"clinic_id": clinic, "role": ADMIN, "status": MembershipStatus.ACTIVE.value}
    members = await Membership.rows(wanted, projection={"user_id": 1}, limit=MOST_ADMINS, session=session)
    people = {"_id": {"$in": [row["user_id"] for row in members]}, "status": UserStatus.ACTIVE.value}
    return [row["email"] for row in await User.rows(people, projection={"email": 1}, session=session)]
