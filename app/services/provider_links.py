"""Which of the clinic's people somebody is whom its identity provider knows; each has agreed to it themselves."""

from __future__ import annotations

from datetime import timedelta

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.auth.links import digest, new_secret
from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import Conflict, NotFound, Unauthenticated
from app.integrations.oidc import Identity
from app.services.audit import record
from app.services.mailing import Letter, front_url, language_of, letter
from app.services.outbox import enqueue_mail
from app.services.rate_limits import Limit, network_of, take
from app.tenancy.scope import TenantRef, current_scope
from models import ExternalIdentity, IdentityProvider, Membership, User
from models.tenant import Language
from models.user import MembershipStatus, UserStatus
from models.values import email_key, now

LASTS = timedelta(hours=1)
MAILS = Limit("provider-link-mails", 5, timedelta(hours=1))
CONFIRMATIONS = Limit("provider-link-confirmations", 20, timedelta(minutes=15))
NOT_HERE = "Your clinic's provider names nobody who may sign in here."
PAGE = "confirm-sign-in"


async def confirmed_user(identity: Identity, provider: IdentityProvider) -> User | None:
    """The person whom the provider names, when they have agreed; None when nobody has yet.

    Raises UNAUTHENTICATED for somebody who does not work here (any more), or of a domain that is not the provider's.
    """
    link = await ExternalIdentity.find_one({"issuer": identity.issuer, "subject": identity.subject})
    if link is None or link.confirmed_at is None:
        return None
    user = await User.find_one({"_id": link.user_id})
    await _require_vouched(user, provider)
    await ExternalIdentity.guarded().update_one({"_id": link.key}, {"$set": {"last_used_at": now()}})
    return user


async def request_confirmation(identity: Identity, provider: IdentityProvider, settings: Settings) -> None:
    """Mails the person of the verified address a link by which they agree. A newer link voids an older one.

    Raises UNAUTHENTICATED when the provider did not verify an address, or vouches for nobody here; RATE_LIMITED.
    """
    if identity.email is None:
        raise Unauthenticated("Your clinic's provider did not confirm your e-mail address.")
    user = await User.find_one({"email": email_key(identity.email)})
    vouched = await _require_vouched(user, provider)
    clinic = current_scope().tenant
    await take(MAILS, str(vouched.key))
    secret = new_secret()

    async def work(session: AsyncClientSession) -> None:
        link = await _pending(identity, vouched, secret, session)
        language = await language_of(clinic, session)
        text = _letter(language, vouched, front_url(settings, clinic, PAGE, secret), clinic)
        await enqueue_mail(
            text, to=vouched.email, kind="provider-link", tenant=clinic, settings=settings, session=session, lasts=LASTS
        )
        await record("external_identity.request", subject=link, session=session)

    try:
        await in_transaction(work)
    except DuplicateKeyError:  # the same person came back twice at once
        raise Conflict("Start the sign-in again.") from None


async def _pending(identity: Identity, user: User, secret: str, session: AsyncClientSession) -> ExternalIdentity:
    """The link between the two, not confirmed; whom an unconfirmed one meant before does not matter."""
    named = {"issuer": identity.issuer, "subject": identity.subject}
    values = {"user_id": user.key, "confirmation": digest(secret), "expires_at": now() + LASTS}
    row = await ExternalIdentity.guarded().find_one_and_update(
        {**named, "confirmed_at": None}, {"$set": values}, return_document=True, session=session
    )
    if row is not None:
        stored: ExternalIdentity = ExternalIdentity.model_validate(row)
        return stored
    link = ExternalIdentity(id=ObjectId(), **named, **values)
    await link.insert(session=session)
    return link


async def confirm(token: str) -> None:
    """Agrees, by the mailed link, that the provider vouches for the person at this clinic. It signs nobody in.

    Raises NOT_FOUND at `input.token` alike for a link that is unknown, used, replaced or too old; RATE_LIMITED.
    """
    await take(CONFIRMATIONS, network_of(current_scope().address))

    async def work(session: AsyncClientSession) -> None:
        row = await ExternalIdentity.guarded().find_one_and_update(
            {"confirmation": digest(token), "confirmed_at": None, "expires_at": {"$gt": now()}},
            {"$set": {"confirmed_at": now(), "confirmation": None, "expires_at": None}},
            return_document=True,
            session=session,
        )
        if row is None:
            raise NotFound.at("input.token")
        await record("external_identity.confirm", subject=ExternalIdentity.model_validate(row), session=session)

    await in_transaction(work)


async def _require_vouched(user: User | None, provider: IdentityProvider) -> User:
    """The person, if they can sign in, work here, and have an address of the provider's domains."""
    if user is None or user.status is not UserStatus.ACTIVE or not _is_of(user.email, provider):
        raise Unauthenticated(NOT_HERE)
    membership = {
        "user_id": user.key,
        "clinic_id": current_scope().tenant_id,
        "status": MembershipStatus.ACTIVE.value,
    }
    if await Membership.guarded().find_one(membership, {"_id": 1}) is None:
        raise Unauthenticated(NOT_HERE)
    return user


def _is_of(email: str, provider: IdentityProvider) -> bool:
    return email.rpartition("@")[2] in provider.email_domains


def _letter(language: Language, user: User, url: str, clinic: TenantRef | None) -> Letter:
    name = clinic.name if clinic else ""
    if language is Language.ES:
        subject, button = f"Confirme su acceso a {name}", "Confirmar"
        before = f"Hola, {user.name}: alguien quiere entrar en {name} como usted por el proveedor de identidad de la "
        before += "clínica. Si es usted, confírmelo una vez con este enlace, válido durante una hora:"
        after = "Si no ha sido usted, no haga nada y avise a su clínica."
    else:
        subject, button = f"Confirm your sign-in at {name}", "Confirm"
        before = f"Hello {user.name}, somebody wants to sign in at {name} as you, by the clinic's identity provider. "
        before += "If it is you, confirm it once by this link, which is good for one hour:"
        after = "If it is not you, do nothing, and tell your clinic."
    return letter(language, subject, [before, after], link=(button, url), signed=name)
