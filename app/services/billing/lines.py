"""From the lines that somebody asks for to the lines of a bill: checked, filled in from the services, and priced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, Generic, TypeVar

from bson import Decimal128, ObjectId
from pydantic import BaseModel, Field
from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import AppError, FieldError, NotFound, ValidationFailed
from app.services.changes import Row, build
from app.services.settings import clinic_settings
from app.tenancy.scope import current_scope
from models import Service
from models.billing import MAX_LINES, AskedLine, BillLine, Discount
from models.money import ZERO, Charge, Sums, exact_gross, is_whole, priced, rounded, total_of

L = TypeVar("L", bound=BillLine)


class _Asked(BaseModel):
    lines: list[AskedLine] = Field(min_length=1, max_length=MAX_LINES)
    discount: Discount | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be billed: the lines, what each costs to begin with, and a discount off all of them."""

    currency: str
    lines: Sequence[AskedLine]
    charges: Sequence[Charge]
    discount: Discount | None
    services: Mapping[ObjectId, Row] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bill(Generic[L]):
    """Priced lines with their sums."""

    currency: str
    lines: list[L]
    discount: Discount | None

    def values(self) -> Row:
        """What a document stores of it."""
        return {
            "currency": self.currency,
            "lines": self.lines,
            "discount": self.discount,
            "net": total_of(line.net for line in self.lines),
            "tax": total_of(line.tax for line in self.lines),
            "total": total_of(line.total for line in self.lines),
        }


def number_in(row: Mapping[str, Any], name: str) -> Decimal:
    """The decimal of a stored row; zero where there is none."""
    value = row.get(name)
    return value.to_decimal() if isinstance(value, Decimal128) else Decimal(value or 0)


def own_currency() -> str:
    """The currency of the clinic in scope."""
    tenant = current_scope().tenant
    return tenant.currency if tenant is not None else "USD"


async def ordered(
    lines: Sequence[Mapping[str, Any]],
    discount: Mapping[str, Any] | None,
    *,
    agreed: bool = False,
    session: AsyncClientSession | None = None,
) -> Order:
    """Checks lines as a client wrote them. What they leave out comes from the service, or from the settings.

    With `agreed` (a quote was accepted) services may have been archived since. Raises NOT_FOUND at
    `input.lines.….serviceId`, VALIDATION_FAILED with the paths of all that is wrong.
    """
    services = await _services(lines, session)
    asked: _Asked = build(_Asked, {"lines": list(lines), "discount": discount})
    rate = (await clinic_settings()).usual_tax_rate
    filled = [_filled(line, services, Decimal(rate)) for line in asked.lines]
    currency = own_currency()
    wrong = [one for place, line in enumerate(filled) for one in _complaints(line, currency, f"input.lines.{place}")]
    wrong += [] if agreed else _archived(filled, services)
    if wrong:
        raise ValidationFailed(fields=wrong)
    _check_amount(asked.discount, currency, "input.discount.amount")
    return Order(currency, filled, [charge_of(line) for line in filled], asked.discount, services)


async def _services(lines: Sequence[Mapping[str, Any]], session: AsyncClientSession | None) -> dict[ObjectId, Row]:
    ids = {line.get("service_id") for line in lines} - {None}
    rows = await Service.rows({"_id": {"$in": list(ids)}}, session=session) if ids else []
    found = {row["_id"]: row for row in rows}
    missing = [place for place, line in enumerate(lines) if line.get("service_id") not in (None, *found)]
    if missing:
        raise NotFound(fields=[FieldError(f"input.lines.{place}.serviceId", "Not found.") for place in missing])
    return found


def _filled(line: AskedLine, services: Mapping[ObjectId, Row], rate: Decimal) -> AskedLine:
    service = services.get(line.service_id) if line.service_id is not None else None
    changes: Row = {"tax_rate": rate if line.tax_rate is None else line.tax_rate}
    if service is not None:
        price = service["price"]
        amount = {"amount": price["amount"].to_decimal(), "currency": price["currency"]}
        changes |= {"description": line.description or service["name"], "unit_price": line.unit_price or amount}
    return AskedLine(**{**{name: getattr(line, name) for name in AskedLine.model_fields}, **changes})


def _archived(lines: Sequence[AskedLine], services: Mapping[ObjectId, Row]) -> list[FieldError]:
    return [
        FieldError(f"input.lines.{place}.serviceId", "is not offered any more")
        for place, line in enumerate(lines)
        if line.service_id is not None and services[line.service_id].get("archived_at") is not None
    ]


def _complaints(line: AskedLine, currency: str, at: str) -> list[FieldError]:
    if line.description is None or line.unit_price is None:
        names = {"description": line.description, "unitPrice": line.unit_price}
        return [FieldError(f"{at}.{name}", "is needed without a service") for name, one in names.items() if one is None]
    if line.unit_price.currency != currency:
        return [FieldError(f"{at}.unitPrice.currency", f"must be the clinic's currency, {currency}")]
    off = line.discount.amount if line.discount is not None else None
    if off is not None and not is_whole(off, currency):
        return [FieldError(f"{at}.discount.amount", f"has more digits than {currency} has")]
    if off is not None and off > exact_gross(charge_of(line)):
        return [FieldError(f"{at}.discount.amount", "is more than the line costs")]
    return []


def charge_of(line: AskedLine) -> Charge:
    """What a filled line costs without any plan."""
    off = line.discount or Discount(percent=ZERO)
    return Charge(
        quantity=line.quantity,
        unit_price=line.unit_price.amount if line.unit_price is not None else ZERO,
        tax_rate=line.tax_rate or ZERO,
        percent_off=off.percent or ZERO,
        amount_off=off.amount or ZERO,
    )


def _check_amount(discount: Discount | None, currency: str, path: str) -> None:
    if discount is not None and discount.amount is not None and not is_whole(discount.amount, currency):
        raise ValidationFailed.at(path, f"has more digits than {currency} has")


def billed(order: Order, kind: type[L], charges: Sequence[Charge] | None = None) -> Bill[L]:
    """The lines with what they come to. `charges` are those of the order unless a plan changed them.

    Raises VALIDATION_FAILED at `input.discount.amount` when it is more than all lines cost.
    """
    asked = order.charges if charges is None else charges
    alone = priced(asked, order.currency)
    shared = _shared(order, total_of(one.net for one in alone))
    sums = priced(asked, order.currency, shared) if shared else alone
    lines = [_line(kind, place, line, one) for place, (line, one) in enumerate(zip(order.lines, sums, strict=True), 1)]
    return Bill(order.currency, lines, order.discount)


def _shared(order: Order, net: Decimal) -> Decimal:
    """What comes off all lines together."""
    discount = order.discount
    if discount is None:
        return ZERO
    if discount.percent is not None:
        return rounded(Fraction(net) * Fraction(discount.percent) / 100, order.currency)
    off = rounded(discount.amount or ZERO, order.currency)
    if off > net:
        raise ValidationFailed.at("input.discount.amount", "is more than all lines cost")
    return off


def _line(kind: type[L], number: int, line: AskedLine, sums: Sums) -> L:
    return kind(
        number=number,
        service_id=line.service_id,
        description=line.description or "",
        quantity=line.quantity,
        unit_price=line.unit_price.amount if line.unit_price is not None else ZERO,
        discount=line.discount,
        tax_rate=line.tax_rate or ZERO,
        gross=sums.gross,
        discount_amount=sums.discount,
        plan_discount=sums.plan_discount,
        shared_discount=sums.shared_discount,
        net=sums.net,
        tax=sums.tax,
        total=sums.total,
    )


def asked_again(row: Row) -> list[Row]:
    """The lines of a stored quote or invoice, as if somebody asked for them once more."""
    return [
        {
            "service_id": line.get("service_id"),
            "description": line["description"],
            "quantity": number_in(line, "quantity"),
            "unit_price": {"amount": number_in(line, "unit_price"), "currency": row["currency"]},
            "discount": _plain(line.get("discount")),
            "tax_rate": number_in(line, "tax_rate"),
        }
        for line in row["lines"]
    ]


def _plain(discount: Row | None) -> Row | None:
    if discount is None:
        return None
    return {name: number_in(discount, name) for name in ("percent", "amount") if discount.get(name) is not None}


def payable(amount: Mapping[str, Any], currency: str, *, at: str) -> Decimal:
    """An amount of money as a client wrote it, in the currency of what it is for.

    Raises VALIDATION_FAILED under `at` for another currency, more digits than it has, or nothing above zero.
    """
    number = amount["amount"]
    problem: AppError | None = None
    if amount["currency"] != currency:
        problem = ValidationFailed.at(f"{at}.currency", f"must be {currency}")
    elif not number.is_finite() or not 0 < number <= Decimal("1e15"):
        problem = ValidationFailed.at(f"{at}.amount", "must be more than zero")
    elif not is_whole(number, currency):
        problem = ValidationFailed.at(f"{at}.amount", f"has more digits than {currency} has")
    if problem is not None:
        raise problem
    return rounded(number, currency)
