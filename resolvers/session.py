"""Signing in and out, and moving between one's clinics."""

from __future__ import annotations

from typing import Any

import strawberry

from app.auth.sessions import SignedIn, lacks_second_factor
from app.graphql.access import Level, field
from app.graphql.context import Info
from app.graphql.fields import Row, related, row_type, stored
from app.services import sign_in as service
from app.services.memberships import clinics_of
from app.tenancy.scope import Scope, current_scope
from resolvers.base import Resolver, shown
from resolvers.clinic import ClinicType


@row_type("Viewer", description="The person who is signed in, and what they may do at this host's clinic.")
class ViewerType:
    id: strawberry.ID = stored("_id", description="Opaque id of the person.")
    name: str = stored(description="Name.")
    email: str = stored(description="The e-mail address they sign in with.")
    role: str | None = stored(description="Their role at this clinic; null where they have not entered.")
    permissions: list[str] = stored(description="What they may do at this clinic, as `resource:action`.")
    clinic: ClinicType | None = related(
        lambda: ClinicType, key="clinic_id", description="The clinic entered on this host, if any."
    )
    second_factor: bool = stored(description="Whether more than a password was shown in this session.")
    second_factor_required: bool = stored(
        description="Whether this clinic asks for a second factor that the session lacks: until it has one, it may "
        "do nothing here but enrol it (`beginTotp`, `beginPasskeyRegistration`), or sign in anew with it."
    )


@row_type("SignIn", description="A session that has been opened or changed.")
class SignInType:
    viewer: ViewerType = stored(description="Who is signed in.")
    token: str | None = stored(
        description="The session token, for API clients that sent `X-Polyclinic-Client`; null for browsers."
    )


@row_type("MyClinic", description="A clinic where the person works.")
class MyClinicType:
    clinic: ClinicType = related(lambda: ClinicType, key="clinic_id", description="The clinic.")
    role: str = stored(description="Their role there.")
    entered: bool = stored(description="Whether this session has entered it.")
    current: bool = stored(description="Whether it is the clinic of this host.")


@strawberry.input(description="Credentials of a person.")
class LoginInput:
    email: str = strawberry.field(description="E-mail address.")
    password: str = strawberry.field(description="Password.")
    code: str | None = strawberry.field(
        default=None,
        description="A code of the authenticator app, or a recovery code. When one is needed and none came, or a wrong "
        "one, `extensions.secondFactor` names what may come.",
    )


@strawberry.input(description="A new password, and proof of the present one.")
class ChangePasswordInput:
    current_password: str = strawberry.field(description="The present password.")
    new_password: str = strawberry.field(description="The new one: at least 8 characters, not easy to guess.")


def viewer_row(scope: Scope) -> Row:
    """The scope's actor as a row."""
    actor = scope.signed_in
    entered = scope.tenant is not None and not scope.mismatch
    return {
        "_id": actor.user_id,
        "name": actor.name,
        "email": actor.email,
        "role": actor.role if entered else None,
        "permissions": sorted(permission.value for permission in actor.permissions),
        "clinic_id": scope.tenant.id if entered and scope.tenant else None,
        "second_factor": actor.second_factor,
        "second_factor_required": actor.membership_id is not None and lacks_second_factor(scope),
    }


def signed_in(info: Info, scope: Scope, result: SignedIn) -> Any:
    """The row of a `SignIn`; the session's token goes into the cookie."""
    info.context.session_token = result.token
    return {"viewer": viewer_row(scope), "token": result.token if info.context.api_client else None}


@strawberry.type
class SessionQuery(Resolver):
    @field(Level.PUBLIC, description="Who is signed in; null when nobody is.")
    async def viewer(self, info: Info) -> ViewerType | None:
        scope = current_scope()
        return shown(viewer_row(scope) if scope.actor else None)

    @field(Level.SIGNED_IN, description="The clinics where the person works, by name.")
    async def my_clinics(self, info: Info) -> list[MyClinicType]:
        return shown(await clinics_of(current_scope()))


@strawberry.type
class SessionMutation(Resolver):
    @field(
        Level.PUBLIC,
        description="Signs in. On a clinic's host it enters the clinic if the person works there.",
        without_plan=True,
    )
    async def login(self, info: Info, input: LoginInput) -> SignInType:
        scope, result = await service.login(
            input.email, input.password, info.context.settings, code=input.code, device=info.context.device
        )
        return signed_in(info, scope, result)

    @field(Level.PUBLIC, description="Signs out of this session, on every clinic's host.", without_plan=True)
    async def logout(self, info: Info) -> bool:
        await service.logout()
        info.context.session_token = ""
        return True

    @field(
        Level.SIGNED_IN,
        description="Lets the session enter the clinic of this host, where the person must work.",
        without_plan=True,
    )
    async def switch_tenant(self, info: Info) -> SignInType:
        scope, result = await service.switch_tenant(info.context.settings)
        return signed_in(info, scope, result)

    @field(Level.SIGNED_IN, description="Signs out of every session on every device.", without_plan=True)
    async def sign_out_everywhere(self, info: Info) -> bool:
        await service.sign_out_everywhere()
        info.context.session_token = ""
        return True

    @field(
        Level.SIGNED_IN,
        description="Changes the password. Other sessions end; this one goes on under a new name.",
        without_plan=True,
    )
    async def change_password(self, info: Info, input: ChangePasswordInput) -> SignInType:
        result = await service.change_password(
            input.current_password, input.new_password, info.context.settings, device=info.context.device
        )
        return signed_in(info, current_scope(), result)
