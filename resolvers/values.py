"""Types, inputs and enums that several aggregates share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from enum import Enum, EnumMeta

import strawberry

from app.graphql.fields import Row, computed, row_type, stored
from app.graphql.paging import Sort
from app.plans import BillingCycle
from models.patient import RecordStatus, Sex
from models.tenant import CurrencyPosition, Language, SubscriptionStatus, TenantStatus, TimeFormat


def described(cls: EnumMeta, description: str, **values: str) -> None:
    """Declares an enum of the models in the schema, with a description for each value."""
    strawberry.enum(cls, description=description)
    definition = cls.__strawberry_definition__  # type: ignore[attr-defined]
    for value in definition.values:
        value.description = values[value.name]


described(
    Sex,
    "Administrative sex, as HL7 FHIR's AdministrativeGender has it.",
    FEMALE="Female.",
    MALE="Male.",
    OTHER="Other.",
    UNKNOWN="Not known.",
)
described(
    RecordStatus,
    "Whether the clinic still sees the patient.",
    ACTIVE="The patient comes to the clinic.",
    ARCHIVED="Put away; kept, but left out of lists.",
)
described(
    TenantStatus,
    "Whether a clinic answers on its host.",
    ACTIVE="It does.",
    INACTIVE="It is closed.",
    SUSPENDED="It was suspended.",
)
described(TimeFormat, "How times of day are written.", H12="With am and pm.", H24="From 0 to 24.")
described(Language, "The clinic's language.", EN="English.", ES="Spanish.")
described(
    CurrencyPosition,
    "Where the currency symbol stands.",
    BEFORE="Before the amount.",
    AFTER="After the amount.",
)


described(
    SubscriptionStatus,
    "Where a clinic stands with its plan.",
    TRIAL="It tries the system out.",
    ACTIVE="Its plan is paid, or was given to it.",
    PAST_DUE="Its paid time is over; it works on for some days.",
    CANCELLED="It does not renew its plan, which holds until its end.",
    EXPIRED="Its time has run out: it can read, export and pay.",
)
described(BillingCycle, "How often a plan is paid.", MONTHLY="Each month.", YEARLY="Each year.")


@row_type("Money", description="An amount in one currency.")
class MoneyType:
    amount: Decimal = stored(description="The amount, exact.")
    currency: str = stored(description="ISO 4217 code.")


@strawberry.input(name="MoneyInput", description="An amount in one currency.")
class MoneyInput:
    amount: Decimal = strawberry.field(description="The amount, exact.")
    currency: str = strawberry.field(description="ISO 4217 code.")


@row_type("Address", description="A postal address.")
class AddressType:
    street: str | None = stored(description="Street and number.")
    city: str | None = stored(description="City or town.")
    state: str | None = stored(description="State, province or region.")
    zip_code: str | None = stored(description="Postal code.")
    country: str | None = stored(description="Country.")


@strawberry.input(name="AddressInput", description="A postal address; it replaces the former one as a whole.")
class AddressInput:
    street: str | None = strawberry.field(default=None, description="Street and number.")
    city: str | None = strawberry.field(default=None, description="City or town.")
    state: str | None = strawberry.field(default=None, description="State, province or region.")
    zip_code: str | None = strawberry.field(default=None, description="Postal code.")
    country: str | None = strawberry.field(default=None, description="Country.")


@strawberry.enum(description="The order of a list of named things.")
class NameSort(Enum):
    NAME_ASC = strawberry.enum_value("name_asc", description="By name, A first.")
    NAME_DESC = strawberry.enum_value("name_desc", description="By name, Z first.")


NAME_ORDERS: Mapping[NameSort, Sort] = {
    NameSort.NAME_ASC: [("name_key", 1), ("_id", 1)],
    NameSort.NAME_DESC: [("name_key", -1), ("_id", -1)],
}


@strawberry.input(description="What to archive or to restore.")
class ArchiveInput:
    id: strawberry.ID = strawberry.field(description="Which one.")
    version: int = strawberry.field(description="The version that the step is based on.")


def day(column: str, description: str) -> date | None:
    """A field that shows a day stored as ISO text."""

    def read(row: Row) -> date | None:
        text = row.get(column)
        return date.fromisoformat(text) if text else None

    shown: date | None = computed(column, by=read, description=description)
    return shown
