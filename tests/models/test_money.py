"""The laws of money, over ten thousand random invoices: what stands on paper adds up to the cent."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction

import pytest
from bson import Decimal128
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.money import Charge, Sums, in_full, is_whole, minor_units, portion, priced, rounded, split, total_of
from models.values import _CURRENCIES

CURRENCIES = st.sampled_from(["USD", "EUR", "JPY", "KWD", "CLP"])


def digits(low: int, high: int, places: int) -> st.SearchStrategy[Decimal]:
    """Decimals of so many places; made of whole numbers, which are drawn faster than decimals."""
    return st.integers(low, high).map(lambda number: Decimal(number).scaleb(-places))


PERCENTS = digits(0, 100_000, 3)
AMOUNTS = digits(0, 10**13, 4)
CHARGES = st.builds(
    Charge,
    quantity=digits(1, 10**7, 3),
    unit_price=AMOUNTS,
    tax_rate=PERCENTS,
    percent_off=PERCENTS,
    plan_percent=PERCENTS,
)


def exact(numbers: list[Decimal]) -> Fraction:
    return sum(map(Fraction, numbers), Fraction(0))


# --- rounding ---------------------------------------------------------------------------------------------------------


@given(digits(-(10**15), 10**15, 6), CURRENCIES)
@example(Decimal("0.005"), "USD")
@example(Decimal("-0.005"), "USD")
@example(Decimal("2.5"), "JPY")
@example(Decimal("0.0005"), "KWD")
def test_rounding_is_that_of_the_standard_library_half_up(amount: Decimal, currency: str) -> None:
    with localcontext() as context:
        context.prec = 60
        wanted = amount.quantize(Decimal(1).scaleb(-minor_units(currency)), ROUND_HALF_UP)
    assert rounded(amount, currency) == wanted
    assert -rounded(amount, currency).as_tuple().exponent == minor_units(currency)  # type: ignore[operator]
    assert is_whole(rounded(amount, currency), currency)


@pytest.mark.parametrize(
    ("currency", "digits"), [("USD", 2), ("JPY", 0), ("KWD", 3), ("ISK", 0), ("MGA", 2), ("HUF", 2), ("TND", 3)]
)
def test_each_currency_has_the_digits_of_iso_4217(currency: str, digits: int) -> None:
    assert currency in _CURRENCIES
    assert minor_units(currency) == digits


def test_more_digits_than_a_currency_has_cannot_be_paid() -> None:
    assert is_whole(Decimal("10.10"), "USD")
    assert is_whole(Decimal("10.100"), "USD")
    assert not is_whole(Decimal("10.101"), "USD")
    assert not is_whole(Decimal("10.5"), "JPY")


@pytest.mark.parametrize(
    "text", ["1E-999999999", "1E+999999999", "0E-999999999", "-1E+400", "NaN", "sNaN", "Infinity", "-Infinity"]
)
def test_numbers_that_only_look_short_are_no_amounts(text: str) -> None:
    assert not is_whole(Decimal(text), "USD")


# --- splitting --------------------------------------------------------------------------------------------------------


@given(st.integers(-(10**12), 10**12), st.lists(AMOUNTS, min_size=1, max_size=20), CURRENCIES)
@example(100, [Decimal(1), Decimal(1), Decimal(1)], "USD")
@example(1, [Decimal(0), Decimal(0)], "USD")
def test_a_split_loses_no_cent_and_is_as_fair_as_cents_allow(units: int, weights: list[Decimal], currency: str) -> None:
    total = Decimal(units).scaleb(-minor_units(currency))
    parts = split(total, weights, currency)
    assert exact(parts) == Fraction(total)
    assert all(is_whole(part, currency) for part in parts)
    unit, whole = Fraction(1, 10 ** minor_units(currency)), exact(weights)
    if whole:
        for part, weight in zip(parts, weights, strict=True):
            assert abs(Fraction(part) - Fraction(total) * Fraction(weight) / whole) < unit
            assert weight or not part


def test_equal_shares_are_told_apart_by_their_place() -> None:
    assert split(Decimal(100), [Decimal(1)] * 3, "USD") == [Decimal("33.34"), Decimal("33.33"), Decimal("33.33")]


@pytest.mark.parametrize(
    ("total", "weights"), [(Decimal("0.001"), [Decimal(1)]), (Decimal(1), [Decimal(-1)]), (Decimal(1), [])]
)
def test_what_cannot_be_split_is_refused(total: Decimal, weights: list[Decimal]) -> None:
    with pytest.raises(ValueError, match="whole amounts"):
        split(total, weights, "USD")


@given(AMOUNTS, st.lists(digits(1, 100_000, 3), min_size=1, max_size=10), CURRENCIES)
def test_what_is_taken_bit_by_bit_adds_up_to_the_whole(amount: Decimal, pieces: list[Decimal], currency: str) -> None:
    amount, whole, taken, given_back = rounded(amount, currency), total_of(pieces), Decimal(0), []
    for piece in pieces:
        before = portion(amount, taken, whole, currency)
        taken += piece
        given_back.append(portion(amount, taken, whole, currency) - before)
    assert exact(given_back) == Fraction(amount)
    assert all(one >= 0 for one in given_back)


# --- invoices ---------------------------------------------------------------------------------------------------------


@st.composite
def invoices(draw: st.DrawFn) -> tuple[list[Charge], str, Decimal]:
    """Lines, a currency, and an amount off all of them."""
    charges, currency = draw(st.lists(CHARGES, min_size=1, max_size=5)), draw(CURRENCIES)
    nets = total_of(one.net for one in priced(charges, currency))
    units = int(nets.scaleb(minor_units(currency)))
    return charges, currency, Decimal(draw(st.integers(0, units))).scaleb(-minor_units(currency))


@settings(max_examples=10_000)
@given(invoices())
def test_no_cent_is_lost_over_ten_thousand_invoices(invoice: tuple[list[Charge], str, Decimal]) -> None:
    charges, currency, shared = invoice
    lines = priced(charges, currency, shared)
    for charge, line in zip(charges, lines, strict=True):
        _adds_up(line, currency)
        untaxed = Fraction(line.net + line.shared_discount)
        assert abs(untaxed - _exact_net(charge)) <= Fraction(1, 2 * 10 ** minor_units(currency))
    assert exact([line.shared_discount for line in lines]) == Fraction(shared)
    gross, taken = exact([line.gross for line in lines]), exact([_discounts(line) for line in lines])
    assert exact([line.total for line in lines]) == gross - taken + exact([line.tax for line in lines])


def _adds_up(line: Sums, currency: str) -> None:
    parts = (line.gross, line.discount, line.plan_discount, line.shared_discount, line.net, line.tax, line.total)
    assert all(part >= 0 and is_whole(part, currency) for part in parts)
    assert line.gross - _discounts(line) == line.net
    assert line.net + line.tax == line.total


def _discounts(line: Sums) -> Decimal:
    return line.discount + line.plan_discount + line.shared_discount


def _exact_net(charge: Charge) -> Fraction:
    gross = Fraction(charge.quantity) * Fraction(charge.unit_price)
    return gross * (1 - Fraction(charge.percent_off) / 100) * (1 - Fraction(charge.plan_percent) / 100)


def test_a_line_by_hand() -> None:
    charge = Charge(
        quantity=Decimal(3),
        unit_price=Decimal("33.335"),
        tax_rate=Decimal("8.875"),
        percent_off=Decimal(10),
        included=Decimal(1),
        plan_percent=Decimal(20),
    )
    [line] = priced([charge], "USD")
    assert (line.gross, line.discount) == (Decimal("100.01"), Decimal("10.01"))  # 100.005, and 90.0045 of it
    assert (line.plan_discount, line.net) == (Decimal("42.00"), Decimal("48.00"))  # two of three, less a fifth
    assert (line.tax, line.total) == (Decimal("4.26"), Decimal("52.26"))


def test_a_discount_is_never_more_than_what_it_is_taken_off() -> None:
    line = Charge(quantity=Decimal(1), unit_price=Decimal(10))
    for amount_off, shared in ((Decimal("10.01"), Decimal(0)), (Decimal(0), Decimal("10.01"))):
        charge = Charge(quantity=line.quantity, unit_price=line.unit_price, amount_off=amount_off)
        with pytest.raises(ValueError, match="more than"):
            priced([charge], "USD", shared)


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (0, "USD", "0.00"),
        (Decimal("12.5"), "EUR", "12.50"),
        (Decimal128("-13"), "USD", "-13.00"),
        (Decimal("0.125"), "USD", "0.125"),
        (Decimal("1E+3"), "USD", "1000.00"),
        (Decimal("1E+15"), "KWD", "1000000000000000.000"),
        (Decimal(7), "JPY", "7"),
    ],
)
def test_an_amount_is_shown_with_all_digits_of_its_currency(
    amount: Decimal | Decimal128 | int, currency: str, shown: str
) -> None:
    assert str(in_full(amount, currency)) == shown
