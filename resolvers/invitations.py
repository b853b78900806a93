"""Inviting people to work at the clinic, and accepting an invitation."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import strawberry

from app.graphql.access import Level, field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services import invitations as service
from app.services import joining
from app.tenancy.scope import current_scope
from models import Invitation
from models.invitation import InvitationStatus
from models.staff import StaffKind
from models.values import now
from resolvers.base import Resolver, shown
from resolvers.clinic import ClinicType
from resolvers.roles import RoleType
from resolvers.session import SignInType, viewer_row
from resolvers.staff import StaffType

NEWEST_FIRST = (("created_at", -1), ("_id", -1))


@strawberry.enum(description="Where an invitation stands.")
class InvitationState(Enum):
    OPEN = strawberry.enum_value("open", description="It may be accepted.")
    ACCEPTED = strawberry.enum_value("accepted", description="It was accepted.")
    REVOKED = strawberry.enum_value("revoked", description="It was taken back or replaced.")
    EXPIRED = strawberry.enum_value("expired", description="It ran out; it may be sent again.")


def _state(row: Row) -> InvitationState:
    if row["status"] == InvitationStatus.OPEN and row["expires_at"] <= now():
        return InvitationState.EXPIRED
    return InvitationState(row["status"])


@row_type(
    "Invitation",
    model=Invitation,
    read=Permission.ROLE_READ,
    description="An invitation of somebody to work at the clinic.",
)
class InvitationType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    email: str = stored(description="The address that was invited.")
    name: str = stored(description="Name.")
    kind: StaffKind = stored(description="What they are to do.")
    state: InvitationState = computed("status", "expires_at", by=_state, description="Where it stands.")
    role: RoleType | None = related(
        lambda: RoleType, key="role_id", description="The role that they get; null once it was deleted."
    )
    staff: StaffType | None = related(
        lambda: StaffType, key="staff_id", description="The profile that they take over, if any."
    )
    created_at: datetime = stored(description="When it was made.")
    sent_at: datetime = stored(description="When it was last sent.")
    expires_at: datetime = stored(description="When its link runs out.")
    accepted_at: datetime | None = stored(description="When it was accepted.")


@row_type("InvitationLook", description="What an invitation is about, for whoever holds its link.")
class InvitationLookType:
    clinic: ClinicType = related(lambda: ClinicType, key="clinic_id", description="The clinic that invites.")
    email: str = stored(description="The invited address, masked.")
    is_known: bool = stored(
        description="Whether the address has an account: then its password is asked for, else a new one is chosen."
    )
    expires_at: datetime = stored(description="When the link runs out.")


@strawberry.input(description="Whom to invite, and to what.")
class InviteStaffInput:
    email: str = strawberry.field(description="The address that the invitation is mailed to.")
    name: str = strawberry.field(description="Name.")
    kind: StaffKind = strawberry.field(description="What they are to do.")
    role_id: strawberry.ID = strawberry.field(description="The role that they get.")
    staff_id: strawberry.ID | None = strawberry.field(
        default=None, description="A profile without an account that they take over, with what is booked with it."
    )


@strawberry.input(description="Which invitation.")
class InvitationInput:
    id: strawberry.ID = strawberry.field(description="The invitation.")


@strawberry.input(description="The secret of an invitation's link.")
class CheckInvitationInput:
    token: str = strawberry.field(description="What stands behind `#token=` in the link.")


@strawberry.input(description="An invitation's link, and who accepts it.")
class AcceptInvitationInput:
    token: str = strawberry.field(description="What stands behind `#token=` in the link.")
    password: str | None = strawberry.field(
        default=None,
        description="Somebody new chooses it: at least 8 characters, not easy to guess. Somebody known gives the one "
        "of their account, unless they are signed in.",
    )
    name: str | None = strawberry.field(
        default=None, description="The name of somebody new, where the invitation has it wrong."
    )


@strawberry.type
class InvitationQuery(Resolver):
    @field(Permission.ROLE_READ, description="The clinic's invitations, the latest first.")
    async def invitations(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[InvitationType]:
        return await self.page(info, InvitationType, where={}, sort=NEWEST_FIRST, first=first, after=after)

    @field(
        Level.PUBLIC,
        description="What an invitation is about, on the host of the clinic that sent it. NOT_FOUND alike for a link "
        "that is unknown, used, revoked or too old.",
    )
    async def check_invitation(self, input: CheckInvitationInput) -> InvitationLookType:
        found = await joining.look(input.token)
        return shown(
            {
                "clinic_id": current_scope().tenant_id,
                "email": found.email,
                "is_known": found.known,
                "expires_at": found.expires_at,
            }
        )


@strawberry.type
class InvitationMutation(Resolver):
    @field(
        Permission.STAFF_MANAGE,
        description="Invites somebody by mail to work here; the link holds for 7 days. It replaces an open invitation "
        "of the same address. Nobody grants a level or a right that they lack.",
    )
    async def invite_staff(self, info: Info, input: InviteStaffInput) -> InvitationType:
        values = ids(given(input), "role_id", "staff_id")
        return shown(await service.invite(values, info.context.settings))

    @field(Permission.STAFF_MANAGE, description="Takes an open invitation back.", without_plan=True)
    async def revoke_invitation(self, input: InvitationInput) -> InvitationType:
        return shown(await service.revoke(object_id(input.id, "input.id")))

    @field(
        Permission.STAFF_MANAGE,
        description="Mails an open invitation again, with a new link for 7 days; the former link is dead.",
    )
    async def resend_invitation(self, info: Info, input: InvitationInput) -> InvitationType:
        return shown(await service.resend(object_id(input.id, "input.id"), info.context.settings))

    @field(
        Level.PUBLIC,
        description="Accepts an invitation on the host of the clinic that sent it, and signs in there. A link is good "
        "once; one that is unknown, used, revoked or too old is NOT_FOUND.",
    )
    async def accept_invitation(self, info: Info, input: AcceptInvitationInput) -> SignInType:
        scope, result = await joining.accept(
            input.token, input.password, input.name, info.context.settings, device=info.context.device
        )
        info.context.session_token = result.token
        return shown({"viewer": viewer_row(scope), "token": result.token if info.context.api_client else None})
