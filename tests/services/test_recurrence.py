"""Laws of recurring dates: the time on the wall stays, dates are counted right, clocks that change double none."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ValidationFailed
from app.services.series.recurrence import occurrences, shifted
from models.appointment_series import MOST_DATES, Frequency, Recurrence

ZONES = [
    ZoneInfo(name)
    for name in ("America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Tokyo", "UTC")
]
NEW_YORK = ZONES[0]
WALLS = st.builds(time, st.integers(0, 23), st.integers(0, 11).map(lambda step: 5 * step))
DAYS = st.dates(date(2020, 1, 1), date(2040, 12, 31))


@st.composite
def rules(draw: st.DrawFn) -> Recurrence:
    frequency = draw(st.sampled_from(Frequency))
    weekdays = draw(st.lists(st.integers(0, 6), unique=True)) if frequency is Frequency.WEEKLY else []
    return Recurrence(
        frequency=frequency,
        interval=draw(st.integers(1, 5)),
        weekdays=weekdays,
        count=draw(st.integers(1, MOST_DATES)),
    )


@given(rules(), DAYS, WALLS, st.sampled_from(ZONES))
def test_each_date_shows_the_same_time_on_the_wall_and_they_are_as_many_as_asked_for(
    rule: Recurrence, first: date, wall: time, zone: ZoneInfo
) -> None:
    found = occurrences(rule, first, wall, zone, at="rule")

    assert len(found) == rule.count
    assert [day for day, _ in found] == sorted({day for day, _ in found})
    assert found[0][0] >= first
    for day, instant in found:
        shown = instant.astimezone(zone)
        assert (shown.date(), shown.time(), shown.fold) == (day, wall, 0)
    assert [instant for _, instant in found] == sorted({instant for _, instant in found})


@given(rules(), DAYS, WALLS, st.sampled_from(ZONES))
def test_each_date_is_one_of_the_rule(rule: Recurrence, first: date, wall: time, zone: ZoneInfo) -> None:
    days = [day for day, _ in occurrences(rule, first, wall, zone, at="rule")]

    if rule.frequency is Frequency.DAILY:
        assert all((day - first).days % rule.interval == 0 for day in days)
    if rule.frequency is Frequency.WEEKLY:
        monday = first - timedelta(days=first.weekday())
        assert {day.weekday() for day in days} <= set(rule.weekdays or [first.weekday()])
        assert all((day - monday).days // 7 % rule.interval == 0 for day in days)
    if rule.frequency is Frequency.MONTHLY:
        months = [day.year * 12 + day.month - first.year * 12 - first.month for day in days]
        assert all(month % rule.interval == 0 for month in months)
        assert all(day.weekday() == first.weekday() for day in days)
        assert all((day.day - 1) // 7 == (first.day - 1) // 7 or first.day > 28 for day in days)
        assert all((day + timedelta(days=7)).month != day.month for day in days if first.day > 28)


@given(rules(), DAYS, WALLS, st.sampled_from(ZONES), st.integers(0, 400))
def test_a_rule_that_ends_on_a_day_is_the_same_rule_cut_off(
    rule: Recurrence, first: date, wall: time, zone: ZoneInfo, length: int
) -> None:
    whole = occurrences(rule, first, wall, zone, at="rule")
    until = whole[0][0] + timedelta(days=length)

    cut = occurrences(rule.model_copy(update={"until": until.isoformat()}), first, wall, zone, at="rule")

    assert cut == [one for one in whole if one[0] <= until]


@given(rules(), DAYS, WALLS, st.integers(-20, 20), st.sampled_from(ZONES))
def test_a_moved_series_keeps_its_number_of_dates_and_begins_where_it_was_moved_to(
    rule: Recurrence, first: date, wall: time, move: int, zone: ZoneInfo
) -> None:
    days = [day for day, _ in occurrences(rule, first, time(12), zone, at="rule")]
    moved = days[0] + timedelta(days=move)

    again = shifted(rule, days[0], moved, len(days))
    found = occurrences(again, moved, time(12), zone, at="rule")

    assert len(found) == len(days)
    assert found[0][0] == moved


def test_a_time_that_the_clocks_skip_is_left_out_and_not_counted() -> None:
    daily = Recurrence(frequency=Frequency.DAILY, count=3)

    found = occurrences(daily, date(2030, 3, 9), time(2, 30), NEW_YORK, at="rule")

    assert [day for day, _ in found] == [date(2030, 3, 9), date(2030, 3, 11), date(2030, 3, 12)]


def test_a_time_that_comes_twice_counts_once_when_it_first_comes() -> None:
    weekly = Recurrence(frequency=Frequency.WEEKLY, count=2)

    found = occurrences(weekly, date(2030, 10, 27), time(1, 30), NEW_YORK, at="rule")

    assert [instant for _, instant in found] == [
        datetime(2030, 10, 27, 5, 30, tzinfo=UTC),
        datetime(2030, 11, 3, 5, 30, tzinfo=UTC),
    ]


def test_nine_o_clock_stays_nine_o_clock_when_the_clocks_change() -> None:
    weekly = Recurrence(frequency=Frequency.WEEKLY, count=2)

    found = occurrences(weekly, date(2030, 3, 4), time(9), NEW_YORK, at="rule")

    assert [instant.hour for _, instant in found] == [14, 13]


def test_the_fifth_monday_stands_for_the_last() -> None:
    monthly = Recurrence(frequency=Frequency.MONTHLY, count=3)

    found = occurrences(monthly, date(2030, 4, 29), time(9), NEW_YORK, at="rule")

    assert [day for day, _ in found] == [date(2030, 4, 29), date(2030, 5, 27), date(2030, 6, 24)]


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        (Recurrence(frequency=Frequency.DAILY), "rule.count"),
        (Recurrence(frequency=Frequency.DAILY, until=date(2031, 1, 1)), "rule.until"),  # type: ignore[arg-type]
        (Recurrence(frequency=Frequency.DAILY, until=date(2029, 1, 1)), "rule.until"),  # type: ignore[arg-type]
    ],
    ids=["no end", "too many", "none"],
)
def test_a_series_has_an_end_and_a_bound(rule: Recurrence, path: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        occurrences(rule, date(2030, 1, 1), time(9), NEW_YORK, at="rule")
    assert [one.path for one in refused.value.fields] == [path]
