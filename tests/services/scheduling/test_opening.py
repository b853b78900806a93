"""Laws of opening hours: what is closed is all that is not open, and no slot reaches into it."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from app.services.scheduling.claims import merged
from app.services.scheduling.opening import closed_between
from app.services.scheduling.slots import Absence, WeeklyRule, day_bounds, free_slots

ZONES = [ZoneInfo(name) for name in ("America/New_York", "Australia/Lord_Howe", "Europe/London", "UTC")]
HOURS = st.tuples(st.integers(0, 22), st.integers(1, 23)).filter(lambda pair: pair[0] < pair[1])
RULES = st.lists(
    st.builds(lambda day, hours: WeeklyRule(day, time(hours[0]), time(hours[1])), st.integers(0, 6), HOURS), max_size=8
)
DAYS = st.dates(date(2025, 1, 1), date(2035, 12, 31))
ALWAYS = [WeeklyRule(day, time(0), time(0)) for day in range(7)]
SLOT = timedelta(minutes=30)


def total(intervals: list[tuple[datetime, datetime]]) -> timedelta:
    return sum((end - start for start, end in merged(intervals)), timedelta(0))


@given(RULES.filter(bool), DAYS, st.integers(0, 9), st.sampled_from(ZONES))
def test_what_is_open_and_what_is_closed_make_the_whole_span(
    rules: list[WeeklyRule], first: date, length: int, zone: ZoneInfo
) -> None:
    last = first + timedelta(days=length)
    start, end = day_bounds(first, zone)[0], day_bounds(last, zone)[1]
    days = [first + timedelta(days=at) for at in range(-1, length + 2)]
    open_ = merged(rule.worked(day, zone) for rule in rules for day in days if rule.applies_on(day))
    inside = [(max(begins, start), min(ends, end)) for begins, ends in open_ if begins < end and ends > start]

    closed = [(one.start, one.end) for one in closed_between(rules, (), first, last, zone)]

    assert total([*inside, *closed]) == end - start
    assert total(inside) + total(closed) == end - start


@given(RULES, DAYS, st.sampled_from(ZONES))
def test_no_slot_lies_where_the_clinic_is_closed(rules: list[WeeklyRule], first: date, zone: ZoneInfo) -> None:
    last = first + timedelta(days=6)
    holiday = Absence(*day_bounds(first + timedelta(days=2), zone))
    closed = closed_between(rules, [holiday], first, last, zone)

    starts = free_slots(
        rules=ALWAYS,
        absences=closed,
        busy=(),
        zone=zone,
        first_day=first,
        last_day=last,
        duration=SLOT,
        step=SLOT,
        not_before=datetime(2000, 1, 1, tzinfo=UTC),
    )

    assert not [start for start in starts for one in closed if one.start < start + SLOT and start < one.end]
    assert starts or rules


def test_a_clinic_that_says_nothing_is_closed_on_its_closures_alone() -> None:
    day = date(2030, 12, 25)
    holiday = Absence(*day_bounds(day, ZONES[0]))

    assert closed_between([], [holiday], day, day, ZONES[0]) == [holiday]
