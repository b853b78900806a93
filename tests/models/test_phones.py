"""Phone numbers: the same one is found however it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.phones import phone_key, phone_prefixes, region_of


@pytest.mark.parametrize(
    ("timezone", "region"),
    [("America/New_York", "US"), ("Europe/Berlin", "DE"), ("Asia/Manila", "PH"), ("UTC", None), ("Etc/GMT+5", None)],
)
def test_a_time_zone_tells_the_country(timezone: str, region: str | None) -> None:
    assert region_of(timezone) == region


@pytest.mark.parametrize(
    "written", ["(212) 555-0115", "212.555.0115", "+1 212 555 0115", "1-212-555-0115", "+1 (212) 5550115"]
)
def test_one_number_has_one_key_however_it_is_written(written: str) -> None:
    assert phone_key(written, "US") == "12125550115"


def test_numbers_of_another_country_keep_their_code() -> None:
    assert phone_key("030 901820", "DE") == "4930901820" != phone_key("030 901820", "US")


def test_what_does_not_parse_is_compared_by_its_digits() -> None:
    assert phone_key("12 34") == "1234"
    assert phone_key(None) is None
    assert phone_key("") is None


@pytest.mark.parametrize(("typed", "region"), [("212 555", "US"), ("+1 212", "US"), ("030 90", "DE"), ("+49 30", None)])
def test_the_beginning_of_a_number_is_found_with_and_without_its_country(typed: str, region: str | None) -> None:
    stored = {"US": "12125550115", "DE": "4930901820", None: "4930901820"}[region]

    assert any(stored.startswith(prefix) for prefix in phone_prefixes(typed, region))


def test_zeros_alone_are_no_beginning_of_every_number_of_the_country() -> None:
    assert "1" not in phone_prefixes("000", "US")


@given(st.text(max_size=40), st.sampled_from(["US", "DE", "PH", None]))
def test_keys_are_digits_alone_whatever_was_typed(text: str, region: str | None) -> None:
    key = phone_key(text, region)

    assert key is None or key == "" or key.isdigit()
