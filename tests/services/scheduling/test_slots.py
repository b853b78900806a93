"""Free slots: a patient is offered exactly the times at which the clinic's clocks say the doctor works."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.errors import ValidationFailed
from app.services.scheduling.claims import Interval, buckets
from app.services.scheduling.slots import (
    Absence,
    WeeklyRule,
    day_bounds,
    first_instant,
    free_slots,
    slot_fits,
)

NEW_YORK = ZoneInfo("America/New_York")
BERLIN = ZoneInfo("Europe/Berlin")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
KOLKATA = ZoneInfo("Asia/Kolkata")
APIA = ZoneInfo("Pacific/Apia")
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
HAVANA = ZoneInfo("America/Havana")
ST_JOHNS = ZoneInfo("America/St_Johns")
LONG_AGO = datetime(1980, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)

CHANGES = [
    (NEW_YORK, date(2026, 3, 8)),
    (NEW_YORK, date(2026, 11, 1)),
    (BERLIN, date(2026, 3, 29)),
    (BERLIN, date(2026, 10, 25)),
    (LORD_HOWE, date(2026, 10, 4)),
    (LORD_HOWE, date(2026, 4, 5)),
    (KOLKATA, date(2026, 3, 29)),
    (APIA, date(2011, 12, 30)),
    (SAO_PAULO, date(2018, 11, 4)),
    (SAO_PAULO, date(2018, 2, 17)),  # back from midnight to 23:00 of the same date
    (HAVANA, date(2026, 11, 1)),  # back from 01:00 to midnight
    (ST_JOHNS, date(2010, 11, 7)),  # back from 00:01 to 23:01 of the date before
]


def minutes(count: int) -> timedelta:
    return timedelta(minutes=count)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


def wall(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


def every_day(start: time, end: time) -> list[WeeklyRule]:
    return [WeeklyRule(weekday, start, end) for weekday in range(7)]


def slots(rules: list[WeeklyRule], zone: ZoneInfo, day: date, **given: Any) -> list[datetime]:
    """The free slots of one day, 30 minutes long every 30 minutes unless told otherwise."""
    usual: dict[str, Any] = {
        "rules": rules,
        "absences": [],
        "busy": [],
        "zone": zone,
        "first_day": day,
        "last_day": day,
        "duration": minutes(30),
        "step": minutes(30),
        "not_before": LONG_AGO,
    }
    return free_slots(**(usual | given))


def shown(found: list[datetime], zone: ZoneInfo) -> list[str]:
    return [f"{wall(start, zone):%H:%M}" for start in found]


# An ordinary day


def test_a_working_morning_in_kolkata() -> None:
    monday = date(2026, 3, 2)
    found = slots([WeeklyRule(0, time(9), time(11))], KOLKATA, monday)
    assert found == [utc(2026, 3, 2, 3, 30), utc(2026, 3, 2, 4), utc(2026, 3, 2, 4, 30), utc(2026, 3, 2, 5)]


def test_a_slot_that_would_outlast_the_hours_is_not_offered() -> None:
    found = slots([WeeklyRule(0, time(9), time(10))], BERLIN, date(2026, 3, 2), duration=minutes(45), step=minutes(15))
    assert shown(found, BERLIN) == ["09:00", "09:15"]


def test_only_the_rules_of_that_weekday_within_their_validity_count() -> None:
    rule = WeeklyRule(0, time(9), time(10), valid_from=date(2026, 3, 9), valid_until=date(2026, 3, 16))
    found = slots([rule], BERLIN, date(2026, 3, 1), last_day=date(2026, 3, 31), duration=minutes(60))
    assert [wall(start, BERLIN).date() for start in found] == [date(2026, 3, 9), date(2026, 3, 16)]


def test_overlapping_rules_offer_each_time_once() -> None:
    rules = [
        WeeklyRule(0, time(9), time(11)),
        WeeklyRule(0, time(10), time(12)),
        WeeklyRule(0, time(9), time(11)),
    ]
    assert shown(slots(rules, BERLIN, date(2026, 3, 2)), BERLIN) == [
        "09:00", "09:30", "10:00", "10:30", "11:00", "11:30",
    ]  # fmt: skip


def test_what_is_booked_or_away_is_not_offered_and_what_only_touches_it_is() -> None:
    rules = [WeeklyRule(0, time(9), time(12))]
    found = slots(
        rules,
        ZoneInfo("UTC"),
        date(2026, 3, 2),
        busy=[(utc(2026, 3, 2, 9, 30), utc(2026, 3, 2, 10))],
        absences=[Absence(utc(2026, 3, 2, 11, 5), utc(2026, 3, 2, 11, 10))],
    )
    assert shown(found, ZoneInfo("UTC")) == ["09:00", "10:00", "10:30", "11:30"]


def test_times_before_now_are_not_offered() -> None:
    found = slots([WeeklyRule(0, time(9), time(11))], KOLKATA, date(2026, 3, 2), not_before=utc(2026, 3, 2, 4, 1))
    assert found == [utc(2026, 3, 2, 4, 30), utc(2026, 3, 2, 5)]


def test_a_time_that_is_now_is_still_offered() -> None:
    rules = [WeeklyRule(0, time(9), time(10))]
    assert slots(rules, KOLKATA, date(2026, 3, 2), not_before=utc(2026, 3, 2, 4)) == [utc(2026, 3, 2, 4)]


def test_hours_may_end_at_midnight_and_fill_the_day() -> None:
    assert shown(slots([WeeklyRule(0, time(23), time(0))], BERLIN, date(2026, 3, 2)), BERLIN) == [
        "23:00",
        "23:30",
    ]
    assert len(slots([WeeklyRule(0, time(0), time(0))], BERLIN, date(2026, 3, 2))) == 48


# Days on which clocks change


def test_new_york_skips_the_hour_that_does_not_exist() -> None:
    found = slots(every_day(time(1), time(4)), NEW_YORK, date(2026, 3, 8))
    assert shown(found, NEW_YORK) == ["01:00", "01:30", "03:00", "03:30"]
    assert found[1:3] == [utc(2026, 3, 8, 6, 30), utc(2026, 3, 8, 7)]


def test_a_skipped_time_is_not_moved_to_the_change() -> None:
    found = slots(every_day(time(1), time(4)), NEW_YORK, date(2026, 3, 8), step=minutes(45))
    assert shown(found, NEW_YORK) == ["01:00", "01:45", "03:15"]


def test_new_york_offers_the_hour_that_comes_twice_once() -> None:
    found = slots(every_day(time(0, 30), time(3)), NEW_YORK, date(2026, 11, 1))
    assert shown(found, NEW_YORK) == ["00:30", "01:00", "01:30", "02:00", "02:30"]
    assert found[1:4] == [utc(2026, 11, 1, 5), utc(2026, 11, 1, 5, 30), utc(2026, 11, 1, 7)]


def test_hours_that_begin_or_end_at_a_skipped_time_do_so_at_the_change() -> None:
    sunday = date(2026, 3, 8)
    assert shown(slots(every_day(time(2, 30), time(4)), NEW_YORK, sunday), NEW_YORK) == ["03:00", "03:30"]
    assert shown(slots(every_day(time(1), time(2, 30)), NEW_YORK, sunday), NEW_YORK) == ["01:00", "01:30"]
    assert slots(every_day(time(1), time(2, 30)), NEW_YORK, sunday, duration=minutes(65)) == []
    assert slots(every_day(time(2), time(3)), NEW_YORK, sunday) == []


def test_a_slot_must_fit_in_the_time_that_passes_not_in_what_the_clock_shows() -> None:
    rules = every_day(time(1), time(4))
    assert slots(rules, BERLIN, date(2026, 3, 29), duration=minutes(150)) == []
    found = slots(rules, BERLIN, date(2026, 10, 25), duration=minutes(240))
    assert found == [utc(2026, 10, 24, 23)]


def test_berlin_keeps_office_hours_by_the_wall_on_both_sides_of_the_change() -> None:
    found = slots(
        every_day(time(9), time(9, 30)),
        BERLIN,
        date(2026, 3, 28),
        last_day=date(2026, 3, 30),
        duration=minutes(30),
    )
    assert found == [utc(2026, 3, 28, 8), utc(2026, 3, 29, 7), utc(2026, 3, 30, 7)]


def test_lord_howe_changes_by_half_an_hour() -> None:
    spring = slots(
        every_day(time(1, 30), time(3)), LORD_HOWE, date(2026, 10, 4), duration=minutes(15), step=minutes(15)
    )
    assert shown(spring, LORD_HOWE) == ["01:30", "01:45", "02:30", "02:45"]
    autumn = slots(every_day(time(1), time(2, 15)), LORD_HOWE, date(2026, 4, 5), duration=minutes(15), step=minutes(15))
    assert shown(autumn, LORD_HOWE) == ["01:00", "01:15", "01:30", "01:45", "02:00"]
    assert autumn[-1] - autumn[-2] == minutes(45)


def test_apia_has_no_slots_on_the_friday_that_it_skipped() -> None:
    rules = every_day(time(0), time(0))
    assert slots(rules, APIA, date(2011, 12, 30)) == []
    around = slots(rules, APIA, date(2011, 12, 29), last_day=date(2011, 12, 31))
    assert {wall(start, APIA).date() for start in around} == {date(2011, 12, 29), date(2011, 12, 31)}
    assert len(around) == 96
    assert all(later - earlier == minutes(30) for earlier, later in pairwise(around))


def test_sao_paulo_begins_the_day_at_one_when_midnight_does_not_exist() -> None:
    found = slots(every_day(time(0), time(2)), SAO_PAULO, date(2018, 11, 4))
    assert shown(found, SAO_PAULO) == ["01:00", "01:30"]
    assert found[0] == utc(2018, 11, 4, 3)


# Days in UTC


@pytest.mark.parametrize(
    ("zone", "day", "start", "length"),
    [
        (NEW_YORK, date(2026, 3, 7), utc(2026, 3, 7, 5), 24 * 60),
        (NEW_YORK, date(2026, 3, 8), utc(2026, 3, 8, 5), 23 * 60),
        (NEW_YORK, date(2026, 11, 1), utc(2026, 11, 1, 4), 25 * 60),
        (BERLIN, date(2026, 3, 29), utc(2026, 3, 28, 23), 23 * 60),
        (BERLIN, date(2026, 10, 25), utc(2026, 10, 24, 22), 25 * 60),
        (LORD_HOWE, date(2026, 10, 4), utc(2026, 10, 3, 13, 30), 23 * 60 + 30),
        (LORD_HOWE, date(2026, 4, 5), utc(2026, 4, 4, 13), 24 * 60 + 30),
        (KOLKATA, date(2026, 3, 29), utc(2026, 3, 28, 18, 30), 24 * 60),
        (APIA, date(2011, 12, 30), utc(2011, 12, 30, 10), 0),
        (SAO_PAULO, date(2018, 11, 4), utc(2018, 11, 4, 3), 23 * 60),
        (SAO_PAULO, date(2018, 2, 17), utc(2018, 2, 17, 2), 25 * 60),
        (HAVANA, date(2026, 11, 1), utc(2026, 11, 1, 4), 25 * 60),
    ],
)
def test_a_local_day_is_as_long_as_it_was(zone: ZoneInfo, day: date, start: datetime, length: int) -> None:
    assert day_bounds(day, zone) == (start, start + minutes(length))


def test_a_gap_that_swallows_midnight_ends_one_day_and_begins_the_next() -> None:
    toronto = ZoneInfo("America/Toronto")  # 1919-03-30 23:30 became 1919-03-31 00:30
    change = utc(1919, 3, 31, 4, 30)
    assert day_bounds(date(1919, 3, 30), toronto)[1] == change
    assert day_bounds(date(1919, 3, 31), toronto)[0] == change


@pytest.mark.parametrize("day", [date.min, date.max])
def test_a_date_at_the_end_of_time_is_refused(day: date) -> None:
    with pytest.raises(ValidationFailed):
        day_bounds(day, BERLIN)
    with pytest.raises(ValidationFailed):
        slots([], BERLIN, day)


# Refusals


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"weekday": 7}, "input.weekday"),
        ({"weekday": -1}, "input.weekday"),
        ({"start": time(22), "end": time(6)}, "input.end"),
        ({"start": time(9), "end": time(9)}, "input.end"),
        ({"start": time(9, 3)}, "input.start"),
        ({"start": time(9, 0, 30)}, "input.start"),
        ({"start": time(9, tzinfo=UTC)}, "input.start"),
        ({"valid_from": date(2026, 3, 2), "valid_until": date(2026, 3, 1)}, "input.validUntil"),
    ],
)
def test_hours_that_make_no_sense_or_cross_midnight_are_refused(given: dict[str, Any], path: str) -> None:
    usual: dict[str, Any] = {"weekday": 0, "start": time(9), "end": time(17)}
    with pytest.raises(ValidationFailed) as refused:
        WeeklyRule(**(usual | given))
    assert [error.path for error in refused.value.fields] == [path]


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"last_day": date(2026, 4, 2)}, "lastDay"),
        ({"last_day": date(2026, 3, 1)}, "lastDay"),
        ({"duration": timedelta(0)}, "duration"),
        ({"duration": minutes(-30)}, "duration"),
        ({"duration": minutes(725)}, "duration"),
        ({"duration": minutes(7)}, "duration"),
        ({"step": timedelta(0)}, "step"),
        ({"step": minutes(1)}, "step"),
    ],
)
def test_a_search_that_is_unbounded_or_off_the_grid_is_refused(given: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        slots([], BERLIN, date(2026, 3, 2), **given)
    assert [error.path for error in refused.value.fields] == [path]


def test_a_month_of_31_days_can_be_searched() -> None:
    found = slots(every_day(time(9), time(9, 30)), BERLIN, date(2026, 3, 1), last_day=date(2026, 3, 31))
    assert len(found) == 31


# A booking at a time of its own


@pytest.mark.parametrize(
    ("start", "length", "fits"),
    [
        (utc(2026, 3, 2, 8), 240, True),
        (utc(2026, 3, 2, 7, 55), 30, False),
        (utc(2026, 3, 2, 10, 45), 30, True),
        (utc(2026, 3, 2, 11, 45), 30, False),
        (utc(2026, 3, 2, 12, 30), 30, False),
        (utc(2026, 3, 3, 8), 30, False),
    ],
)
def test_a_booking_fits_where_rules_touch_but_not_across_a_break(start: datetime, length: int, fits: bool) -> None:
    rules = [
        WeeklyRule(0, time(9), time(11)),
        WeeklyRule(0, time(11), time(13)),
        WeeklyRule(0, time(14), time(16)),
    ]
    assert slot_fits(rules=rules, zone=BERLIN, start=start, end=start + minutes(length)) is fits


def test_a_night_shift_of_two_rules_takes_a_booking_over_midnight() -> None:
    rules = [WeeklyRule(0, time(20), time(0)), WeeklyRule(1, time(0), time(6))]
    assert slot_fits(rules=rules, zone=BERLIN, start=utc(2026, 3, 2, 22, 45), end=utc(2026, 3, 2, 23, 15))


def test_a_booking_runs_over_the_date_that_apia_skipped() -> None:
    rules = [WeeklyRule(3, time(18), time(0)), WeeklyRule(5, time(0), time(6))]
    assert slot_fits(rules=rules, zone=APIA, start=utc(2011, 12, 30, 9), end=utc(2011, 12, 30, 11))


def test_a_booking_fits_in_an_hour_that_goes_back_to_the_date_before() -> None:
    # At 00:01 on Sunday clocks went back to Saturday 23:01; Sunday's work had begun and ran on.
    sunday = [WeeklyRule(6, time(0), time(6))]
    start = utc(2010, 11, 7, 3)
    earlier = start - minutes(60)
    assert shown([earlier, start], ST_JOHNS) == ["23:30", "23:30"]
    assert slot_fits(rules=sunday, zone=ST_JOHNS, start=start, end=start + minutes(30))
    # The first 23:30 was still Saturday's.
    assert not slot_fits(rules=sunday, zone=ST_JOHNS, start=earlier, end=earlier + minutes(30))


def test_a_booking_in_an_absence_does_not_fit() -> None:
    away = [Absence(utc(2026, 3, 2, 9), utc(2026, 3, 2, 10))]
    rules = every_day(time(9), time(17))
    given: dict[str, Any] = {"rules": rules, "absences": away, "zone": BERLIN}
    assert not slot_fits(**given, start=utc(2026, 3, 2, 9, 55), end=utc(2026, 3, 2, 10, 25))
    assert slot_fits(**given, start=utc(2026, 3, 2, 10), end=utc(2026, 3, 2, 10, 30))


def test_a_booking_over_the_repeated_hour_is_measured_in_time_that_passes() -> None:
    start = datetime(2026, 11, 1, 1, 30, tzinfo=NEW_YORK)
    end = datetime(2026, 11, 1, 1, 30, tzinfo=NEW_YORK, fold=1)
    assert slot_fits(rules=every_day(time(1), time(3)), zone=NEW_YORK, start=start, end=end)
    assert not slot_fits(rules=every_day(time(1), time(1, 45)), zone=NEW_YORK, start=start, end=end)


@pytest.mark.parametrize(
    ("start", "end", "path"),
    [
        (utc(2026, 3, 2, 9), utc(2026, 3, 2, 9), "end"),
        (utc(2026, 3, 2, 9), utc(2026, 3, 2, 21, 5), "end"),
        (utc(9999, 12, 31), utc(9999, 12, 31, 1), "start"),
        (utc(2026, 3, 2, 9), datetime(9999, 12, 31, 23, tzinfo=NEW_YORK), "end"),
    ],
)
def test_a_booking_of_no_or_endless_length_is_refused(start: datetime, end: datetime, path: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        slot_fits(rules=[], zone=BERLIN, start=start, end=end)
    assert [error.path for error in refused.value.fields] == [path]


# Laws

on_grid = st.integers(0, 287).map(lambda index: time(index // 12, index % 12 * 5))
zones_and_days = st.one_of(
    st.builds(
        lambda change, offset: (change[0], change[1] + offset * DAY),
        st.sampled_from(CHANGES),
        st.integers(-2, 2),
    ),
    st.tuples(
        st.sampled_from([zone for zone, _ in CHANGES]),
        st.dates(min_value=date(1990, 1, 1), max_value=date(2037, 12, 31)),
    ),
)
lengths = st.sampled_from([5, 10, 15, 20, 30, 45, 60, 90, 240]).map(minutes)


@st.composite
def weekly_rules(draw: st.DrawFn) -> WeeklyRule:
    start = draw(on_grid)
    end = (
        draw(st.one_of(st.just(time(0)), on_grid.filter(lambda moment: moment > start)))
        if start < time(23, 55)
        else time(0)
    )
    return WeeklyRule(draw(st.integers(0, 6)), start, end)


@st.composite
def searches(draw: st.DrawFn) -> dict[str, Any]:
    """Whole arguments of `free_slots`, often around a change of the clocks, with some time taken."""
    zone, day = draw(zones_and_days)
    base = datetime.combine(day, time(0), UTC)
    taken = st.builds(
        lambda start, length: (base + minutes(start), base + minutes(start + length)),
        st.integers(-1500, 4500),
        st.integers(0, 400),
    )
    return {
        "rules": draw(st.lists(weekly_rules(), max_size=6)),
        "absences": [Absence(*interval) for interval in draw(st.lists(taken, max_size=3))],
        "busy": draw(st.lists(taken, max_size=5)),
        "zone": zone,
        "first_day": day,
        "last_day": day + draw(st.integers(0, 4)) * DAY,
        "duration": draw(lengths),
        "step": draw(lengths),
        "not_before": draw(st.sampled_from([LONG_AGO, base + minutes(617)])),
    }


def overlap(start: datetime, end: datetime, taken: Interval) -> bool:
    return max(start, taken[0]) < min(end, taken[1])


def first_showings(zone: ZoneInfo, first_day: date, last_day: date) -> dict[datetime, datetime]:
    """Each wall time on the 5-minute grid to the first instant that showed it, by watching the clock."""
    instant = datetime.combine(first_day - DAY, time(0), UTC)
    seen: dict[datetime, datetime] = {}
    while instant < datetime.combine(last_day + 3 * DAY, time(0), UTC):
        seen.setdefault(wall(instant, zone), instant)
        instant += minutes(5)
    return seen


def watched_slots(search: dict[str, Any]) -> list[datetime]:
    """What `free_slots` must find, by watching the clock, every minute of each slot."""
    seen = first_showings(search["zone"], search["first_day"], search["last_day"])
    taken = [*search["busy"], *((absence.start, absence.end) for absence in search["absences"])]
    length = search["duration"] // minutes(1)
    found = set()
    for shows, start in seen.items():
        if not search["first_day"] <= shows.date() <= search["last_day"] or start < search["not_before"]:
            continue
        end = start + search["duration"]
        if any(overlap(start, end, interval) for interval in taken):
            continue
        for rule in search["rules"]:
            opens, closes = rule.walls(shows.date())
            if rule.weekday != shows.weekday() or not opens <= shows < closes or (shows - opens) % search["step"]:
                continue
            if all(wall(start + minutes(passed), search["zone"]) < closes for passed in range(length)):
                found.add(start)
    return sorted(found)


@settings(deadline=None, max_examples=200)
@given(searches())
def test_every_slot_keeps_the_rules_it_was_made_from(search: dict[str, Any]) -> None:
    found = free_slots(**search)
    zone, duration = search["zone"], search["duration"]
    assert found == sorted(set(found))
    assert len({wall(start, zone) for start in found}) == len(found)
    for start in found:
        end, shows = start + duration, wall(start, zone)
        assert start.tzinfo is UTC
        assert start >= search["not_before"]
        assert search["first_day"] <= shows.date() <= search["last_day"]
        assert any(
            rule.applies_on(shows.date()) and rule.walls(shows.date())[0] <= shows < rule.walls(shows.date())[1]
            for rule in search["rules"]
        )
        assert not any(overlap(start, end, interval) for interval in search["busy"])
        assert not any(overlap(start, end, (away.start, away.end)) for away in search["absences"])
        assert buckets(start, end)
        assert slot_fits(rules=search["rules"], absences=search["absences"], zone=zone, start=start, end=end)


@settings(deadline=None, max_examples=60)
@given(searches())
def test_the_slots_are_those_found_by_watching_the_clock(search: dict[str, Any]) -> None:
    assert free_slots(**search) == watched_slots(search)


@settings(deadline=None)
@given(weekly_rules(), st.dates(date(2000, 1, 1), date(2037, 12, 1)), lengths, lengths)
def test_without_changing_clocks_slots_are_plain_arithmetic(
    rule: WeeklyRule, day: date, duration: timedelta, step: timedelta
) -> None:
    opens, closes = rule.walls(day)
    plain = []
    while rule.weekday == day.weekday() and opens + duration <= closes:
        plain.append(opens.replace(tzinfo=UTC) - minutes(330))
        opens += step
    assert slots([rule], KOLKATA, day, duration=duration, step=step) == plain
    assert all(later - earlier == step for earlier, later in pairwise(plain))


@settings(deadline=None)
@given(zones_and_days, st.integers(-3000, 3000), st.integers(0, 3000))
def test_a_later_wall_time_is_never_an_earlier_instant(where: tuple[ZoneInfo, date], offset: int, later: int) -> None:
    zone, day = where
    first = datetime.combine(day, time(0)) + minutes(offset)
    second = first + minutes(later)
    assert first_instant(first, zone) <= first_instant(second, zone)
    assert wall(first_instant(first, zone), zone) >= first


@settings(deadline=None)
@given(zones_and_days)
@example((ST_JOHNS, date(2010, 11, 6)))
@example((APIA, date(2011, 12, 30)))
def test_days_touch_and_begin_when_the_clocks_first_show_them(where: tuple[ZoneInfo, date]) -> None:
    zone, day = where
    start, end = day_bounds(day, zone)
    assert start <= end == day_bounds(day + DAY, zone)[0]
    assert wall(start, zone).date() >= day
    assert wall(start - timedelta.resolution, zone).date() < day
