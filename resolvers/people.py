"""One's own account: the e-mail address, a forgotten password, and leaving a clinic."""

from __future__ import annotations

import strawberry

from app.graphql.access import Level, field
from app.graphql.context import Info
from app.services import email_tokens as service
from app.services import memberships
from resolvers.base import Resolver


@strawberry.input(description="The secret of a link that confirms an address.")
class VerifyEmailInput:
    token: str = strawberry.field(description="What stands behind `#token=` in the link.")


@strawberry.input(description="Another address to sign in with, and proof of who asks.")
class RequestEmailChangeInput:
    new_email: str = strawberry.field(description="The new address; a link is mailed to it.")
    password: str = strawberry.field(description="The present password.")


@strawberry.input(description="Whose password was forgotten.")
class RequestPasswordResetInput:
    email: str = strawberry.field(description="The address that they sign in with.")


@strawberry.input(description="A new password, by a mailed link.")
class ResetPasswordInput:
    token: str = strawberry.field(description="What stands behind `#token=` in the link.")
    new_password: str = strawberry.field(description="The new one: at least 8 characters, not easy to guess.")


@strawberry.type
class PeopleMutation(Resolver):
    @field(
        Level.SIGNED_IN,
        description="Mails a link that confirms one's address; a newer link voids an older one.",
        without_plan=True,
    )
    async def request_email_verification(self, info: Info) -> bool:
        await service.request_verification(info.context.settings)
        return True

    @field(
        Level.SIGNED_IN,
        description="Mails a link to another address; following it makes that address the one to sign in with, and "
        "the former one is told. It answers alike for an address that is somebody's.",
        without_plan=True,
    )
    async def request_email_change(self, info: Info, input: RequestEmailChangeInput) -> bool:
        await service.request_change(input.new_email, input.password, info.context.settings)
        return True

    @field(
        Level.PUBLIC,
        description="Confirms an address by the link that was mailed to it. NOT_FOUND alike for a link that is "
        "unknown, used, replaced or too old.",
        without_plan=True,
    )
    async def verify_email(self, info: Info, input: VerifyEmailInput) -> bool:
        await service.verify(input.token, info.context.settings)
        return True

    @field(
        Level.PUBLIC,
        description="Mails a link to choose a new password. It answers alike whether somebody has the address or not.",
        without_plan=True,
    )
    async def request_password_reset(self, info: Info, input: RequestPasswordResetInput) -> bool:
        await service.request_reset(input.email, info.context.settings)
        return True

    @field(
        Level.PUBLIC,
        description="Sets a new password by a link that holds for 30 minutes, once, and ends every session. It signs "
        "nobody in.",
        without_plan=True,
    )
    async def reset_password(self, info: Info, input: ResetPasswordInput) -> bool:
        await service.reset(input.token, input.new_password, info.context.settings)
        info.context.session_token = ""
        return True

    @field(
        Level.SIGNED_IN,
        description="Ends one's own access to the clinic of this host. The last admin stays.",
        without_plan=True,
    )
    async def leave_clinic(self) -> bool:
        await memberships.leave()
        return True
