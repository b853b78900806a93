"""Phone numbers as they are compared and searched: by digits, whatever way people write them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from app.late import late

if TYPE_CHECKING:
    import phonenumbers
else:
    phonenumbers = late("phonenumbers")


@cache
def _regions() -> Mapping[str, str]:
    """IANA time zone → ISO 3166 country, from the `zone.tab` of the time zone database."""
    table = (files("tzdata") / "zoneinfo" / "zone.tab").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in table.splitlines() if line and not line.startswith("#"))
    return {row[2]: row[0] for row in rows}


def region_of(timezone: str) -> str | None:
    """The ISO 3166 country in which an IANA time zone lies; None for zones without one, such as UTC.

    >>> region_of("Europe/Berlin")
    'DE'
    """
    return _regions().get(timezone)


def phone_key(number: str | None, region: str | None = None) -> str | None:
    """The digits by which equal phone numbers are found: E.164 without `+` where it parses, else all digits.

    `region` is the ISO 3166 country that numbers without a country code belong to.

    >>> phone_key("(212) 555-0115", "US") == phone_key("+1 212 555 0115")
    True
    """
    if not number:
        return None
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return _digits(number)
    return f"{parsed.country_code}{phonenumbers.national_significant_number(parsed)}"


def e164(number: str | None, region: str | None = None) -> str | None:
    """The number as networks take it, `+` and digits; None for one that nobody can have.

    >>> e164("(212) 555-0115", "US")
    '+12125550115'
    """
    try:
        parsed = phonenumbers.parse(number or "", region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(parsed):
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def phone_prefixes(text: str, region: str | None) -> set[str]:
    """What the key of a number that begins like `text` can begin with, written with or without country code."""
    digits = _digits(text)
    prefixes = {digits, phone_key(text, region) or digits}
    code = phonenumbers.country_code_for_region(region) if region else 0
    if code and (national := digits.lstrip("0")):
        prefixes.add(f"{code}{national}")
    return prefixes


def _digits(text: str) -> str:
    return "".join(char for char in text if char.isdigit())
