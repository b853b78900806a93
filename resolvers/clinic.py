"""The clinic of this host, and its settings."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import strawberry
from strawberry import Maybe

from app.graphql.access import Level, field
from app.graphql.context import Info
from app.graphql.fields import related, row_type, stored
from app.graphql.inputs import given
from app.graphql.selection import columns, projection
from app.permissions import Permission
from app.services.settings import change_settings
from app.tenancy.scope import current_scope
from models import Settings, Tenant
from models.settings import PortalBooking
from models.tenant import CurrencyPosition, Language, TimeFormat
from resolvers.availability import Weekday
from resolvers.base import Resolver, shown
from resolvers.values import AddressInput, AddressType, described

described(
    PortalBooking,
    "What patients may do about appointments in their portal.",
    OFF="Nothing: they call the clinic.",
    REQUEST="Ask for one, which the clinic confirms.",
    BOOK="Book one.",
)


@row_type("NumberFormat", description="How numbers are written.")
class NumberFormatType:
    decimal_separator: str = stored(description="Between whole and fraction.")
    thousands_separator: str = stored(description="Between groups of three digits; may be empty.")
    decimal_places: int = stored(description="Digits of the fraction.")


@row_type("RegionalSettings", description="How the clinic writes times and money, and how it looks.")
class RegionalSettingsType:
    timezone: str = stored(description="IANA time zone: it decides the clinic's days.")
    currency: str = stored(description="ISO 4217 code.")
    currency_symbol: str | None = stored(description="The symbol shown for the currency.")
    currency_position: CurrencyPosition = stored(description="Where the symbol stands.")
    date_format: str = stored(description="How dates are written.")
    time_format: TimeFormat = stored(description="How times of day are written.")
    language: Language = stored(description="Language.")
    number_format: NumberFormatType = stored(description="How numbers are written.")
    logo: str | None = stored(description="Address of the logo.")
    primary_color: str | None = stored(description="`#rrggbb`.")
    secondary_color: str | None = stored(description="`#rrggbb`.")


@row_type("Clinic", model=Tenant, description="The public face of a clinic.")
class ClinicType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    subdomain: str = stored(description="The first label of its host.")
    name: str = stored(description="Name.")
    display_name: str | None = stored(description="The name shown to the public, when another.")
    email: str | None = stored(description="E-mail address.")
    phone: str | None = stored(description="Phone number.")
    address: AddressType = stored(description="Postal address.")
    regional: RegionalSettingsType = stored("settings", description="How it writes times and money.")


@row_type("OpeningHours", description="A span of a weekday in which the clinic is open, on its wall clock.")
class OpeningHoursType:
    weekday: Weekday = stored(description="The day of the week.")
    opens: str = stored(description="When it opens, `HH:MM`.")
    closes: str = stored(description="When it closes, `HH:MM`; `24:00` is the end of the day.")


@row_type("Settings", model=Settings, read=Permission.SETTINGS_READ, description="The clinic's settings.")
class SettingsType:
    version: int = stored(description="Grows with each change; send it back when changing.")
    slot_minutes: int = stored(description="Minutes from one bookable start to the next.")
    booking_horizon_days: int = stored(description="How many days ahead may be booked.")
    opening_hours: list[OpeningHoursType] = stored(
        description="When the clinic is open, in the order of the week; with none it is whenever a doctor works."
    )
    patient_code_prefix: str = stored(description="What patient codes begin with.")
    retention_years: int = stored(description="Years for which the law has the clinic keep what it did with a patient.")
    invoice_prefix: str = stored(description="What the numbers of invoices begin with.")
    credit_note_prefix: str = stored(description="What the numbers of credit notes begin with.")
    quote_prefix: str = stored(description="What the numbers of quotes begin with.")
    receipt_prefix: str = stored(description="What the numbers of receipts begin with.")
    invoice_due_days: int = stored(description="How many days after it is issued an invoice is due.")
    quote_valid_days: int = stored(description="For how many days a quote can be accepted.")
    usual_tax_rate: Decimal = stored(description="The tax in percent of lines that name no other.")
    portal_booking: PortalBooking = stored(description="What patients may do about appointments in their portal.")
    portal_horizon_days: int = stored(description="How many days ahead patients may book.")
    portal_notice_hours: int = stored(description="How many hours before it starts patients may still book.")
    portal_open_bookings: int = stored(description="How many appointments to come one patient may have when booking.")
    portal_cancel_hours: int = stored(description="How many hours before it starts patients may still cancel.")
    portal_contact_changes: bool = stored(description="Whether patients may change their own contact data.")
    updated_at: datetime = stored(description="When they were last changed.")
    clinic: ClinicType = related(
        lambda: ClinicType, key="tenant_id", description="The clinic's name, address and regional settings."
    )


@strawberry.input(name="NumberFormatInput", description="How numbers are written.")
class NumberFormatInput:
    decimal_separator: str = strawberry.field(default=".", description="Between whole and fraction.")
    thousands_separator: str = strawberry.field(default=",", description="Between groups of three digits.")
    decimal_places: int = strawberry.field(default=2, description="Digits of the fraction.")


@strawberry.input(
    name="OpeningHoursInput", description="A span of a weekday in which the clinic is open, on its wall clock."
)
class OpeningHoursInput:
    weekday: Weekday = strawberry.field(description="The day of the week.")
    opens: str = strawberry.field(description="When it opens: `HH:MM`, a multiple of five minutes.")
    closes: str = strawberry.field(description="When it closes: `HH:MM`, a multiple of five minutes, at most `24:00`.")


@strawberry.input(description="Changes to the settings. What is left out stays as it is; null clears it.")
class UpdateSettingsInput:
    version: int = strawberry.field(description="The version that the change is based on.")
    slot_minutes: Maybe[int] = strawberry.field(description="Minutes from one bookable start to the next.")
    booking_horizon_days: Maybe[int] = strawberry.field(description="How many days ahead may be booked.")
    opening_hours: Maybe[list[OpeningHoursInput]] = strawberry.field(
        description="When the clinic is open; replaces the week as a whole. What is booked stays booked."
    )
    patient_code_prefix: Maybe[str] = strawberry.field(description="What new patient codes begin with.")
    retention_years: Maybe[int] = strawberry.field(
        description="Years for which the law has the clinic keep what it did with a patient, 1 to 50."
    )
    invoice_prefix: Maybe[str] = strawberry.field(description="What the numbers of new invoices begin with.")
    credit_note_prefix: Maybe[str] = strawberry.field(description="What the numbers of new credit notes begin with.")
    quote_prefix: Maybe[str] = strawberry.field(description="What the numbers of new quotes begin with.")
    receipt_prefix: Maybe[str] = strawberry.field(description="What the numbers of new receipts begin with.")
    invoice_due_days: Maybe[int] = strawberry.field(
        description="How many days after it is issued an invoice is due, 0 to 365."
    )
    quote_valid_days: Maybe[int] = strawberry.field(description="For how many days a quote can be accepted, 1 to 365.")
    usual_tax_rate: Maybe[Decimal] = strawberry.field(description="The tax in percent of lines that name no other.")
    portal_booking: Maybe[PortalBooking] = strawberry.field(
        description="What patients may do about appointments in their portal."
    )
    portal_horizon_days: Maybe[int] = strawberry.field(description="How many days ahead patients may book.")
    portal_notice_hours: Maybe[int] = strawberry.field(
        description="How many hours before it starts patients may still book."
    )
    portal_open_bookings: Maybe[int] = strawberry.field(
        description="How many appointments to come one patient may have when booking."
    )
    portal_cancel_hours: Maybe[int] = strawberry.field(
        description="How many hours before it starts patients may still cancel."
    )
    portal_contact_changes: Maybe[bool] = strawberry.field(
        description="Whether patients may change their own contact data."
    )
    name: Maybe[str] = strawberry.field(description="The clinic's name.")
    display_name: Maybe[str | None] = strawberry.field(description="The name shown to the public.")
    email: Maybe[str | None] = strawberry.field(description="E-mail address.")
    phone: Maybe[str | None] = strawberry.field(description="Phone number.")
    address: Maybe[AddressInput] = strawberry.field(description="Postal address.")
    timezone: Maybe[str] = strawberry.field(description="IANA time zone.")
    currency: Maybe[str] = strawberry.field(description="ISO 4217 code.")
    currency_symbol: Maybe[str | None] = strawberry.field(description="The symbol shown for the currency.")
    currency_position: Maybe[CurrencyPosition] = strawberry.field(description="Where the symbol stands.")
    date_format: Maybe[str] = strawberry.field(description="How dates are written.")
    time_format: Maybe[TimeFormat] = strawberry.field(description="How times of day are written.")
    language: Maybe[Language] = strawberry.field(description="Language.")
    number_format: Maybe[NumberFormatInput] = strawberry.field(description="How numbers are written.")
    logo: Maybe[str | None] = strawberry.field(description="Address of the logo, https.")
    primary_color: Maybe[str | None] = strawberry.field(description="`#rrggbb`.")
    secondary_color: Maybe[str | None] = strawberry.field(description="`#rrggbb`.")


async def _settings(info: Info) -> SettingsType:
    rows = await Settings.rows({}, projection=projection(columns(info, SettingsType)), limit=1)
    return shown({**_LATER, **rows[0]})


_BILLING = ("invoice_prefix", "credit_note_prefix", "quote_prefix", "receipt_prefix", "invoice_due_days",
            "quote_valid_days", "usual_tax_rate")  # fmt: skip
_LATER = {
    name: field.default
    for name, field in Settings.model_fields.items()
    if name.startswith("portal_") or name in _BILLING
} | {"opening_hours": []}
"""What holds for a clinic whose settings were stored before patients could book, invoices were written, or opening
hours were kept."""


@strawberry.type
class ClinicQuery(Resolver):
    @field(Level.PUBLIC, description="The clinic of this host; null on the root host.")
    async def clinic(self, info: Info) -> ClinicType | None:
        tenant = current_scope().tenant
        if tenant is None:
            return None
        rows = await Tenant.rows({"_id": tenant.id}, projection=projection(columns(info, ClinicType)), limit=1)
        return shown(rows[0] if rows else None)

    @field(Permission.SETTINGS_READ, description="The clinic's settings.")
    async def settings(self, info: Info) -> SettingsType:
        return await _settings(info)


@strawberry.type
class ClinicMutation(Resolver):
    @field(Permission.SETTINGS_MANAGE, description="Changes the clinic's settings; all that is named, or nothing.")
    async def update_settings(self, info: Info, input: UpdateSettingsInput) -> SettingsType:
        changes = given(input)
        for one in changes.get("opening_hours") or ():
            one["weekday"] = one["weekday"].value
        await change_settings(changes.pop("version"), changes)
        return await _settings(info)
