"""What people of the staff are told."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import related, row_type, stored
from app.graphql.inputs import given, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services.talk import notifying, subscriptions
from app.services.talk.channels import push_key
from models import Notification, PushSubscription
from models.notification import NotificationKind
from resolvers.base import Resolver, shown
from resolvers.values import described

if TYPE_CHECKING:
    from resolvers.patients import PatientType

NEWEST = [("created_at", -1), ("_id", -1)]

described(
    NotificationKind,
    "What happened.",
    MESSAGE="Somebody wrote a message.",
    PATIENT_MESSAGE="A patient wrote a message.",
    TICKET_ASSIGNED="A ticket was given to somebody.",
    TICKET_COMMENT="Somebody wrote on a ticket.",
    APPOINTMENT_TOMORROW="There is an appointment tomorrow.",
    STOCK_LOW="Something in stock fell below its reorder level.",
)


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


@row_type(
    "Notification",
    model=Notification,
    read=Permission.NOTIFICATION_READ,
    description="Something that somebody is told: what happened and where to look, never what was said.",
)
class NotificationType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    kind: NotificationKind = stored(description="What happened.")
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient whom it is about, if any."
    )
    conversation_id: strawberry.ID | None = stored(description="In which conversation, if in one.")
    ticket_id: strawberry.ID | None = stored(description="On which ticket, if on one.")
    appointment_id: strawberry.ID | None = stored(description="About which appointment, if about one.")
    item_id: strawberry.ID | None = stored(description="About which item of the stock, if about one.")
    read_at: datetime | None = stored(description="When it was read.")
    created_at: datetime = stored(description="When it happened.")


@strawberry.input(description="Which notifications to list.")
class NotificationFilter:
    unread: bool = strawberry.field(default=False, description="Only new ones.")


@strawberry.input(description="What was read.")
class MarkNotificationReadInput:
    id: strawberry.ID = strawberry.field(description="The notification.")


@strawberry.input(description="What was read, all at once.")
class MarkNotificationsReadInput:
    kind: NotificationKind | None = strawberry.field(default=None, description="Only those of this kind.")


@row_type("NotificationPreferences", description="How one is told at this clinic, beside in the app.")
class NotificationPreferencesType:
    email: list[NotificationKind] = stored(description="Of what by mail.")
    sms: list[NotificationKind] = stored(description="Of what by text message, to the phone of one's profile.")
    push: list[NotificationKind] = stored(description="Of what in the browsers that take pushed messages.")


@row_type(
    "PushSubscription",
    model=PushSubscription,
    read=Permission.NOTIFICATION_READ,
    description="A browser that takes pushed messages.",
)
class PushSubscriptionType:
    id: strawberry.ID = stored("_id", description="Opaque id: keep it, to unsubscribe.")
    created_at: datetime = stored(description="Since when.")


@strawberry.input(description="How one wants to be told. What is left out stays as it is.")
class ChooseNotificationChannelsInput:
    email: list[NotificationKind] | None = strawberry.field(default=None, description="Of what by mail.")
    sms: list[NotificationKind] | None = strawberry.field(default=None, description="Of what by text message.")
    push: list[NotificationKind] | None = strawberry.field(default=None, description="Of what in browsers.")


@strawberry.input(description="A browser that may be pushed to, as its `PushSubscription` tells.")
class SubscribePushInput:
    endpoint: str = strawberry.field(description="Its address at its push service.")
    p256dh: str = strawberry.field(description="Its public key, as base64url.")
    auth: str = strawberry.field(description="Its secret, as base64url.")


@strawberry.input(description="A browser that takes pushed messages no more.")
class UnsubscribePushInput:
    id: strawberry.ID = strawberry.field(description="Under what it is known.")


@strawberry.type
class NotificationQuery(Resolver):
    @field(Permission.NOTIFICATION_READ, description="What one was told, the latest first.")
    async def notifications(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: NotificationFilter | None = None
    ) -> Connection[NotificationType]:
        where = notifying.own(unread=bool(filter and filter.unread))
        return await self.page(info, NotificationType, where=where, sort=NEWEST, first=first, after=after)

    @field(Permission.NOTIFICATION_READ, description="How many of them are new, counted up to 1,000.")
    async def unread_notifications(self) -> int:
        return await notifying.unread()

    @field(Permission.NOTIFICATION_READ, description="How one is told here, beside in the app.")
    async def notification_preferences(self) -> NotificationPreferencesType:
        return shown(await subscriptions.preferences())

    @field(
        Permission.NOTIFICATION_READ,
        description="What a browser subscribes with, as `applicationServerKey`; null where nothing is pushed.",
    )
    async def push_key(self, info: Info) -> str | None:
        key = push_key(info.context.settings)
        return key.public if key else None


@strawberry.type
class NotificationMutation(Resolver):
    @field(Permission.NOTIFICATION_READ, description="Says how one wants to be told here.")
    async def choose_notification_channels(self, input: ChooseNotificationChannelsInput) -> NotificationPreferencesType:
        return shown(await subscriptions.choose(given(input)))

    @field(Permission.NOTIFICATION_READ, description="Lets this browser take pushed messages.")
    async def subscribe_push(self, info: Info, input: SubscribePushInput) -> PushSubscriptionType:
        return shown(await subscriptions.subscribe(given(input), info.context.settings))

    @field(Permission.NOTIFICATION_READ, description="Pushes nothing to a browser any more.", without_plan=True)
    async def unsubscribe_push(self, input: UnsubscribePushInput) -> PushSubscriptionType:
        return shown(await subscriptions.unsubscribe(object_id(input.id, "input.id")))

    @field(Permission.NOTIFICATION_READ, description="Has read one of the things that one was told.", without_plan=True)
    async def mark_notification_read(self, input: MarkNotificationReadInput) -> NotificationType:
        return shown(await notifying.mark_one_read(object_id(input.id, "input.id")))

    @field(
        Permission.NOTIFICATION_READ, description="Has read what one was told; how many were new.", without_plan=True
    )
    async def mark_notifications_read(self, input: MarkNotificationsReadInput) -> int:
        return await notifying.mark_read(notifying.own(), input.kind)
