"""Claims: two appointments meet in a claim exactly when they may not both be booked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import ValidationFailed
from app.services.scheduling.claims import (
    BUCKET,
    MAX_DURATION,
    Interval,
    Lane,
    buckets,
    busy_from_claims,
    claims_for,
    doctor_prefix,
    merged,
    patient_prefix,
    room_prefix,
)

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")


def minutes(count: int) -> timedelta:
    return timedelta(minutes=count)


def claims(
    start: datetime,
    end: datetime,
    *,
    doctor: str = "d1",
    room: str | None = "r1",
    patient: str = "p1",
    tenant: str = "t1",
    lane: Lane = "regular",
) -> set[str]:
    return set(claims_for(doctor=doctor, room=room, patient=patient, tenant=tenant, start=start, end=end, lane=lane))


@st.composite
def appointments(draw: st.DrawFn) -> Interval:
    """On the 5-minute grid, near enough to each other that many overlap or touch."""
    start = NOON + draw(st.integers(-200, 200)) * BUCKET
    return start, start + draw(st.integers(1, MAX_DURATION // BUCKET)) * BUCKET


def test_a_quarter_of_an_hour_is_three_buckets_without_its_end() -> None:
    assert buckets(NOON, NOON + minutes(15)) == ["20260302T1200", "20260302T1205", "20260302T1210"]


def test_buckets_are_of_utc_whatever_zone_the_caller_writes() -> None:
    start = datetime(2026, 3, 2, 17, 30, tzinfo=ZoneInfo("Asia/Kolkata"))
    assert buckets(start, start + minutes(10)) == buckets(NOON, NOON + minutes(10))


def test_an_appointment_over_the_repeated_hour_claims_the_time_that_passes() -> None:
    start = datetime(2026, 11, 1, 1, 30, tzinfo=NEW_YORK)
    end = datetime(2026, 11, 1, 1, 30, tzinfo=NEW_YORK, fold=1)
    assert buckets(start, end)[0] == "20261101T0530"
    assert len(buckets(start, end)) == 12


def test_an_appointment_over_the_skipped_hour_claims_the_time_that_passes() -> None:
    start = datetime(2026, 3, 8, 1, 30, tzinfo=NEW_YORK)
    end = datetime(2026, 3, 8, 3, 30, tzinfo=NEW_YORK)
    assert len(buckets(start, end)) == 12


@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param(NOON + minutes(1), NOON + minutes(6), id="start-off-the-grid"),
        pytest.param(NOON + timedelta(seconds=1), NOON + timedelta(seconds=301), id="start-has-seconds"),
        pytest.param(NOON + timedelta(microseconds=1), NOON + timedelta(minutes=5, microseconds=1), id="micro"),
        pytest.param(NOON, NOON + minutes(7), id="length-off-the-grid"),
        pytest.param(NOON, NOON, id="no-length"),
        pytest.param(NOON, NOON - minutes(5), id="ends-before-it-starts"),
        pytest.param(NOON, NOON + MAX_DURATION + BUCKET, id="over-12-hours"),
        pytest.param(datetime(9999, 12, 31, 23, 55, tzinfo=timezone(-minutes(300))), NOON, id="year-9999"),
        pytest.param(datetime(1, 1, 1, tzinfo=timezone(minutes(300))), NOON, id="year-1"),
        pytest.param(NOON, datetime.max.replace(tzinfo=timezone(-minutes(300))), id="end-of-time"),
    ],
)
def test_a_time_that_cannot_be_claimed_is_refused_at_the_path_given(start: datetime, end: datetime) -> None:
    with pytest.raises(ValidationFailed) as refused:
        buckets(start, end, path="input.startsAt")
    assert [error.path for error in refused.value.fields] == ["input.startsAt"]


def test_twelve_hours_are_allowed() -> None:
    assert len(buckets(NOON, NOON + MAX_DURATION)) == 144


def test_a_datetime_without_zone_is_a_bug_not_an_input() -> None:
    naive = NOON.replace(tzinfo=None)
    with pytest.raises(ValueError, match="time zone"):
        buckets(naive, naive + BUCKET)


def test_a_regular_appointment_claims_doctor_room_and_patient() -> None:
    assert claims(NOON, NOON + BUCKET) == {
        "doctor:d1:20260302T1200",
        "room:r1:20260302T1200",
        "patient:t1:p1:20260302T1200",
    }


def test_without_a_room_no_room_is_claimed() -> None:
    assert claims(NOON, NOON + BUCKET, room=None) == {
        "doctor:d1:20260302T1200",
        "patient:t1:p1:20260302T1200",
    }


def test_an_overbooked_appointment_stands_beside_a_regular_one_but_not_beside_another() -> None:
    regular = claims(NOON, NOON + minutes(30))
    overbooked = claims(NOON, NOON + minutes(30), lane="overbook")
    assert not regular & overbooked
    assert overbooked & claims(NOON + minutes(15), NOON + minutes(45), lane="overbook", patient="p2")
    assert {claim.split(":")[0] for claim in overbooked} == {"overbook"}


def test_a_doctor_is_one_person_at_every_clinic() -> None:
    here = claims(NOON, NOON + BUCKET, tenant="t1", patient="p1", room="r1")
    there = claims(NOON, NOON + BUCKET, tenant="t2", patient="p2", room="r2")
    assert here & there == {"doctor:d1:20260302T1200"}


def test_a_clinic_cannot_feel_a_shared_patients_appointment_at_another() -> None:
    here = claims(NOON, NOON + BUCKET, tenant="t1", doctor="d1", room=None)
    there = claims(NOON, NOON + BUCKET, tenant="t2", doctor="d2", room=None)
    assert not here & there


@pytest.mark.parametrize("identifier", ["", "a:b"])
def test_an_id_that_could_imitate_another_claim_is_refused(identifier: str) -> None:
    for prefix in (doctor_prefix, room_prefix):
        with pytest.raises(ValueError, match="colon"):
            prefix(identifier)
    with pytest.raises(ValueError, match="colon"):
        patient_prefix(identifier, "p1")
    with pytest.raises(ValueError, match="colon"):
        patient_prefix("t1", identifier)


@settings(deadline=None)
@given(appointments(), appointments())
def test_two_appointments_share_a_claim_exactly_when_they_overlap(first: Interval, second: Interval) -> None:
    overlap = first[0] < second[1] and second[0] < first[1]
    assert bool(claims(*first) & claims(*second)) is overlap


@settings(deadline=None)
@given(appointments())
def test_claims_are_unique_and_ascend_in_time(appointment: Interval) -> None:
    times = buckets(*appointment)
    assert times == sorted(set(times))
    assert len(times) == (appointment[1] - appointment[0]) // BUCKET


@settings(deadline=None)
@given(appointments())
def test_an_appointments_time_can_be_read_back_from_its_claims(appointment: Interval) -> None:
    held = claims(*appointment)
    for prefix in (doctor_prefix("d1"), room_prefix("r1"), patient_prefix("t1", "p1")):
        assert busy_from_claims(held, prefix) == [appointment]
    held = claims(*appointment, lane="overbook")
    assert busy_from_claims(held, doctor_prefix("d1", "overbook")) == [appointment]
    assert busy_from_claims(held, doctor_prefix("d1")) == []


@settings(deadline=None)
@given(st.lists(appointments(), max_size=6))
def test_many_appointments_are_read_back_as_their_union(booked: list[Interval]) -> None:
    held = set().union(*(claims(*appointment) for appointment in booked))
    assert busy_from_claims(held, doctor_prefix("d1")) == merged(booked)


def test_a_doctor_whose_id_begins_alike_is_another_doctor() -> None:
    assert busy_from_claims(claims(NOON, NOON + BUCKET, doctor="d11"), doctor_prefix("d1")) == []


@settings(deadline=None)
@given(st.lists(appointments(), max_size=8))
def test_merged_intervals_are_disjoint_sorted_and_cover_the_same_buckets(booked: list[Interval]) -> None:
    joined = merged(booked)
    assert all(end < start for (_, end), (start, _) in pairwise(joined))
    before = {start + index * BUCKET for start, end in booked for index in range((end - start) // BUCKET)}
    after = {start + index * BUCKET for start, end in joined for index in range((end - start) // BUCKET)}
    assert before == after


def test_an_interval_without_length_takes_no_time() -> None:
    assert merged([(NOON, NOON), (NOON + BUCKET, NOON)]) == []


def test_merging_orders_by_instant_not_by_wall_clock() -> None:
    early = datetime(2026, 11, 1, 1, 50, tzinfo=NEW_YORK)  # 05:50 UTC
    late = datetime(2026, 11, 1, 1, 10, tzinfo=NEW_YORK, fold=1)  # 06:10 UTC
    assert merged([(late, late), (early, late), (late, early)]) == [
        (datetime(2026, 11, 1, 5, 50, tzinfo=UTC), datetime(2026, 11, 1, 6, 10, tzinfo=UTC))
    ]
