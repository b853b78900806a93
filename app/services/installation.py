"""Installing the system over HTTP: the schema and the first person who runs it, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.config import Settings
from app.db.schema import SchemaError, apply_schema
from app.db.transactions import in_transaction
from app.errors import InvalidState, NotFound, Unavailable
from app.permissions import PlatformRole
from app.services.changes import build
from app.services.onboarding import AdminForm, Password, hold, object_or_empty, person
from app.tenancy.scope import current_scope
from models import Installation, Operator, PlatformAudit, User
from models.values import Email, Name


class OperatorForm(BaseModel):
    """The first person who runs the system. With an address that is known, the password proves that it is theirs."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    email: Email
    password: Password


class InstallForm(BaseModel):
    """What it takes to install."""

    model_config = ConfigDict(extra="forbid")

    admin: Annotated[OperatorForm, BeforeValidator(object_or_empty)]


def read_install_form(body: Mapping[str, Any]) -> InstallForm:
    """The form in a JSON body. Raises VALIDATION_FAILED with the path of all that is wrong."""
    form: InstallForm = build(InstallForm, {"admin": None, **body}, at="")
    return form


async def is_installed() -> bool:
    """Whether somebody runs this system already, whichever way they came to it."""
    if await Installation.guarded().find_one({}, {"_id": 1}) is not None:
        return True
    return await Operator.guarded().find_one({}, {"_id": 1}) is not None


async def install(client: AsyncMongoClient[dict[str, Any]], settings: Settings, form: InstallForm) -> str:
    """Applies the schema and makes the first super admin; answers with their address.

    The second part is one transaction, and of any number of tries at once one has an effect. Raises NOT_FOUND when
    the system is installed, VALIDATION_FAILED at `admin.email` when the address is somebody's with another password.
    """
    try:
        await apply_schema(client[settings.mongodb_database])
    except SchemaError as error:
        raise InvalidState(str(error)) from None
    admin = form.admin
    user = await person(AdminForm(name=admin.name, email=admin.email, password=admin.password))

    async def work(session: AsyncClientSession) -> None:
        await _first(user, session)

    try:
        await in_transaction(work)
    except (DuplicateKeyError, Unavailable):
        if await is_installed():
            raise NotFound from None
        raise
    return user.email


async def _first(user: User, session: AsyncClientSession) -> None:
    await Installation().insert(session=session)
    await hold(user, session)
    operator = await Operator(user_id=user.key, role=PlatformRole.SUPER_ADMIN).insert(session=session)
    scope = current_scope()
    await PlatformAudit(
        actor=str(user.key),
        action="install",
        reason=f"{operator.role.value} {operator.key}",
        request_id=scope.request_id,
        address=scope.address,
    ).insert(session=session)
