"""Makes operators on the word of whoever runs commands on the server itself: the first one, and later ones."""

from __future__ import annotations

from pymongo.asynchronous.client_session import AsyncClientSession

from app.permissions import PlatformRole
from app.services.onboarding import Added, AdminForm, known_person, person
from app.services.operators import make_operator
from models import User

REASON = "by a command on the server"


async def add_operator(form: AdminForm, role: PlatformRole) -> Added:
    """Makes the person an operator: a new one, or a known one who proves it with the password.

    Raises VALIDATION_FAILED at `admin.email`, or INVALID_STATE when they are an operator already.
    """
    user = await person(form)
    new = await User.guarded().find_one({"_id": user.id}, {"_id": 1}) is None

    async def store(session: AsyncClientSession) -> None:
        await user.insert(session=session)

    await make_operator(user, role, REASON, first=store if new else None)
    return Added(user.email, new)


async def add_known_operator(email: str, role: PlatformRole) -> Added:
    """Makes a known person an operator without their password, which stays as it is. Raises as above."""
    user = await known_person(email)
    await make_operator(user, role, REASON)
    return Added(user.email, False)
