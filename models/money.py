"""The laws of money: exact fractions on the way, whole cents at the end, and no cent that is lost or made.

Every price of a line is worked out exactly; it is rounded half up to the minor units of its currency once before tax,
and its tax once. What a discount took off is the difference of two such amounts, and sums are sums of rounded lines, so
what stands on paper adds up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from bson import Decimal128

_UNITS: Mapping[int, str] = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
}
MINOR_UNITS: Mapping[str, int] = {code: digits for digits, codes in _UNITS.items() for code in codes.split()}
"""Digits behind the decimal point by currency, where they are not two. Source: ISO 4217, list one, "Mnr Unts"."""

ZERO = Decimal(0)
_DIGITS = 30
"""No amount of money has more digits than these before or behind its point."""
Number = Decimal | Fraction | int


def minor_units(currency: str) -> int:
    """How many digits amounts of the currency have behind the decimal point."""
    return MINOR_UNITS.get(currency, 2)


def in_full(amount: Decimal | Decimal128 | int, currency: str) -> Decimal:
    """The amount with all the digits that its currency has, and with more where it has more.

    >>> in_full(0, "USD"), in_full(Decimal("12.5"), "EUR"), in_full(Decimal("0.125"), "USD"), in_full(0, "JPY")
    (Decimal('0.00'), Decimal('12.50'), Decimal('0.125'), Decimal('0'))
    """
    exact = amount.to_decimal() if isinstance(amount, Decimal128) else Decimal(amount)
    digits = minor_units(currency)
    exponent = exact.as_tuple().exponent
    shorter = isinstance(exponent, int) and -exponent < digits
    return exact.quantize(Decimal(1).scaleb(-digits)) if shorter else exact


def rounded(amount: Number, currency: str) -> Decimal:
    """The amount in whole minor units, half a unit away from zero.

    >>> rounded(Decimal("1.005"), "EUR"), rounded(Decimal("-0.5"), "JPY")
    (Decimal('1.01'), Decimal('-1'))
    """
    exact = Fraction(amount) * 10 ** minor_units(currency)
    units = (abs(exact) + Fraction(1, 2)).__floor__()
    return _of_units(units if exact >= 0 else -units, currency)


def is_whole(amount: Decimal, currency: str) -> bool:
    """Whether the amount can be paid: a finite number with no more digits than the currency has.

    Of a number from outside the exponent is looked at first: a few characters can name one of a million digits.
    """
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_DIGITS or amount.adjusted() > _DIGITS:
        return False
    return rounded(amount, currency) == amount


def total_of(amounts: Iterable[Decimal]) -> Decimal:
    """Their exact sum: amounts that are stored have few enough digits for it."""
    return sum(amounts, ZERO)


def split(total: Decimal, weights: Sequence[Decimal], currency: str) -> list[Decimal]:
    """Parts of a whole amount, as near to the weights' shares as whole minor units allow; they sum up to it exactly.

    The units that are left over go to the largest remainders, the first of equal ones first. Without any weight above
    zero, all goes to the first. Raises ValueError for a total that is no whole amount, and for negative weights.
    """
    if not is_whole(total, currency) or any(weight < 0 for weight in weights) or not weights:
        raise ValueError("only whole amounts are split, by weights that are not negative")
    units = int(total.scaleb(minor_units(currency)))
    whole = sum(map(Fraction, weights), Fraction(0))
    shares = [Fraction(weight) / whole for weight in weights] if whole else [Fraction(1), *[Fraction(0)] * len(weights)]
    exact = [abs(units) * share for share in shares[: len(weights)]]
    parts = [one.__floor__() for one in exact]
    by_remainder = sorted(range(len(parts)), key=lambda place: (parts[place] - exact[place], place))
    for place in by_remainder[: abs(units) - sum(parts)]:
        parts[place] += 1
    return [_of_units(part if units >= 0 else -part, currency) for part in parts]


def portion(amount: Decimal, part: Decimal, whole: Decimal, currency: str) -> Decimal:
    """The rounded share `part` of `whole` in an amount. Shares up to rising parts differ by what lies between them, so
    that what is taken bit by bit adds up to the amount."""
    return rounded(Fraction(amount) * Fraction(part) / Fraction(whole), currency)


@dataclass(frozen=True, slots=True)
class Charge:
    """What one line asks for. Of `quantity` the first `included` cost nothing; `plan_percent` comes off the rest."""

    quantity: Decimal
    unit_price: Decimal
    tax_rate: Decimal = ZERO
    percent_off: Decimal = ZERO
    amount_off: Decimal = ZERO
    included: Decimal = ZERO
    plan_percent: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Sums:
    """What a line comes to: `gross` less the three discounts is `net`, and with `tax` it is `total`."""

    gross: Decimal
    discount: Decimal
    plan_discount: Decimal
    shared_discount: Decimal
    net: Decimal
    tax: Decimal

    @property
    def total(self) -> Decimal:
        return self.net + self.tax


def exact_gross(charge: Charge) -> Fraction:
    """Quantity times price, not rounded."""
    return Fraction(charge.quantity) * Fraction(charge.unit_price)


def priced(charges: Sequence[Charge], currency: str, shared: Decimal = ZERO) -> list[Sums]:
    """What each line comes to; `shared` is a whole amount off all lines together, split by what each costs before tax.

    Raises ValueError when a discount is larger than what it is taken off.
    """
    steps = [_before_tax(charge, currency) for charge in charges]
    nets = [step[-1] for step in steps]
    if not ZERO <= shared <= total_of(nets):
        raise ValueError("the discount of all lines is more than they cost")
    shares = split(shared, nets, currency) if shared else [ZERO] * len(charges)
    return [_sums(charge, step, share, currency) for charge, step, share in zip(charges, steps, shares, strict=True)]


def _before_tax(charge: Charge, currency: str) -> tuple[Decimal, Decimal, Decimal]:
    """The rounded price of a line at first, after its own discount, and after the plan's: each from the exact one."""
    gross = exact_gross(charge)
    own = gross * (1 - Fraction(charge.percent_off) / 100) - Fraction(charge.amount_off)
    if own < 0:
        raise ValueError("the discount of a line is more than it costs")
    paid = Fraction(charge.quantity - charge.included) / Fraction(charge.quantity)
    after_plan = own * paid * (1 - Fraction(charge.plan_percent) / 100)
    return rounded(gross, currency), rounded(own, currency), rounded(after_plan, currency)


def _sums(charge: Charge, step: tuple[Decimal, Decimal, Decimal], share: Decimal, currency: str) -> Sums:
    gross, own, after_plan = step
    net = after_plan - share
    tax = rounded(Fraction(net) * Fraction(charge.tax_rate) / 100, currency)
    return Sums(gross, gross - own, own - after_plan, share, net, tax)


def _of_units(units: int, currency: str) -> Decimal:
    """So many minor units as an amount with all digits of its currency. Built from the digits: no context rounds it."""
    sign = 1 if units < 0 else 0
    return Decimal((sign, tuple(int(digit) for digit in str(abs(units))), -minor_units(currency)))
