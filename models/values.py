"""Small values that several documents share, with their rules inside."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime
from typing import Annotated
from zoneinfo import available_timezones

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
RESERVED_SUBDOMAINS = frozenset(
    {"www", "api", "admin", "app", "mail", "ftp", "localhost", "staging", "dev", "test", "demo"}
)
DATE_FORMATS = ("MM/DD/YYYY", "DD/MM/YYYY", "YYYY-MM-DD", "DD.MM.YYYY", "MMM D, YYYY", "D MMM YYYY")
_TIMEZONES = available_timezones()
_CURRENCIES = frozenset(
    (
        "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN "
        "BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS "
        "GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW "
        "KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD "
        "NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD "
        "SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES "
        "VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG "
    ).split()
)
_INVISIBLE = re.compile(
    "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_BREAK = re.compile("[\t\n\r\u2028\u2029]")


def now() -> datetime:
    """The present instant as MongoDB keeps it: UTC, whole milliseconds."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def without_invisible(text: str) -> str:
    """The text without the control and invisible characters that no stored text may hold."""
    return _INVISIBLE.sub("", text)


def _visible(text: str) -> str:
    if _INVISIBLE.search(text):
        raise ValueError("must not contain control or invisible characters")
    return unicodedata.normalize("NFC", text)


def _one_line(text: str) -> str:
    if _BREAK.search(text):
        raise ValueError("must be one line without tabs")
    return _visible(text)


def _subdomain(text: str) -> str:
    if not SUBDOMAIN.fullmatch(text):
        raise ValueError("may hold lowercase letters, digits and inner hyphens only")
    if text in RESERVED_SUBDOMAINS:
        raise ValueError("is reserved")
    if "---" in text:
        raise ValueError("must not contain three hyphens in a row")
    return text


def _timezone(name: str) -> str:
    if name not in _TIMEZONES:
        raise ValueError("is not an IANA time zone")
    return name


def _currency(code: str) -> str:
    if code not in _CURRENCIES:
        raise ValueError("is not an ISO 4217 currency code")
    return code


def _date_format(pattern: str) -> str:
    if pattern not in DATE_FORMATS:
        raise ValueError(f"must be one of {', '.join(DATE_FORMATS)}")
    return pattern


def email_address(address: str) -> str:
    """The address as it is stored: normalised, in lower case. Raises ValueError for one that is none."""
    try:
        return validate_email(address, check_deliverability=False).normalized.lower()
    except EmailNotValidError as error:
        raise ValueError("is not a valid e-mail address") from error


def _phone(number: str) -> str:
    if not 4 <= sum(char.isdigit() for char in number) <= 20 or re.search(r"[^\d ()+./x#*-]", number):
        raise ValueError("is not a valid phone number")
    return number


def email_key(text: str) -> str:
    """What was typed as an e-mail address, as `Email` stores it; text that is none only loses case and blanks."""
    typed = text.strip()[:254]
    try:
        return email_address(typed)
    except ValueError:
        return typed.lower()


def _day(text: str) -> str:
    return date.fromisoformat(text).isoformat()


def _day_text(value: object) -> object:
    return value.isoformat() if type(value) is date else value


Day = Annotated[
    str, BeforeValidator(_day_text), StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_day)
]
"""A day of the clinic's calendar as ISO 8601 text: text, so that no time zone can shift it. Takes a `date` as well."""
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_one_line)]
"""One line of text, 1–200 characters."""
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=120), AfterValidator(_one_line)]
"""A name, 2–120 characters."""
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=5000), AfterValidator(_visible)]
"""Free text, up to 5,000 characters."""
Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=10, max_length=500), AfterValidator(_one_line)
]
"""Why somebody does what others will ask about, in their own words: one line, 10–500 characters."""
Subdomain = Annotated[
    str,
    StringConstraints(strip_whitespace=True, to_lower=True, min_length=2, max_length=63),
    AfterValidator(_subdomain),
]
Timezone = Annotated[str, AfterValidator(_timezone)]
Currency = Annotated[str, AfterValidator(_currency)]
DateFormat = Annotated[str, AfterValidator(_date_format)]
Email = Annotated[str, StringConstraints(strip_whitespace=True, max_length=254), AfterValidator(email_address)]
Phone = Annotated[str, StringConstraints(strip_whitespace=True, max_length=40), AfterValidator(_phone)]
Colour = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]
ZipCode = Annotated[str, StringConstraints(strip_whitespace=True, max_length=20), AfterValidator(_one_line)]
Symbol = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=6), AfterValidator(_one_line)]
"""A currency symbol, 1–6 characters."""


class Value(BaseModel):
    """A part of a document: no unknown keys, checked again on assignment."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, defer_build=True)


class Address(Value):
    """A postal address; each line optional."""

    street: Line | None = None
    city: Line | None = None
    state: Line | None = None
    zip_code: ZipCode | None = None
    country: Line | None = None


class NumberFormat(Value):
    """How numbers are written."""

    decimal_separator: Annotated[str, StringConstraints(pattern=r"^[.,]$")] = "."
    thousands_separator: Annotated[str, StringConstraints(pattern=r"^[., ']?$")] = ","
    decimal_places: int = Field(default=2, ge=0, le=4)


def search_key(*parts: str | None) -> str:
    """Normalises text for prefix search: no accents, no case, single spaces.

    >>> search_key("  García ", "ANA")
    'garcia ana'
    """
    joined = " ".join(part for part in parts if part)
    plain = "".join(c for c in unicodedata.normalize("NFKD", joined) if not unicodedata.combining(c))
    return " ".join(plain.casefold().split())
