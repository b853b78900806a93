"""Which column of a file holds what, however its header is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic.alias_generators import to_camel

from app.errors import FieldError, ValidationFailed

Row = dict[str, Any]

IGNORED = "-"
"""What a header is mapped to whose column is not wanted."""
NAMES: Mapping[str, str] = {
    "external_id": "external_id",
    "given_name": "given_name",
    "family_name": "family_name",
    "birth_date": "birth_date",
    "sex": "sex",
    "phone": "phone",
    "email": "email",
    "street": "address.street",
    "city": "address.city",
    "state": "address.state",
    "zip_code": "address.zip_code",
    "country": "address.country",
    "contact_name": "contacts.0.name",
    "contact_phone": "contacts.0.phone",
    "contact_relationship": "contacts.0.relationship",
    "allergies": "allergies",
    "national_id": "national_id",
    "insurer": "insurer",
    "insurance_number": "insurance_number",
    "notes": "notes",
}
"""Column → where its value goes. `allergies` are substances with `;` between them."""
REQUIRED = ("given_name", "family_name")
ALIASES: Mapping[str, str] = {
    "firstname": "given_name",
    "lastname": "family_name",
    "surname": "family_name",
    "dateofbirth": "birth_date",
    "dob": "birth_date",
    "born": "birth_date",
    "gender": "sex",
    "telephone": "phone",
    "mobile": "phone",
    "emailaddress": "email",
    "address": "street",
    "zip": "zip_code",
    "postalcode": "zip_code",
    "postcode": "zip_code",
    "insurance": "insurer",
}
_SEXES: Mapping[str, str] = {"f": "female", "m": "male", "o": "other", "u": "unknown", "": "unknown"}


def _plain(header: str) -> str:
    return "".join(char for char in header.casefold() if char.isalnum())


KNOWN: Mapping[str, str] = {**{_plain(name): name for name in NAMES}, **ALIASES}


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one file: `names` in their order (None for one to ignore), `headers` as they are written."""

    names: tuple[str | None, ...]
    headers: tuple[str, ...]

    def values(self, cells: Sequence[str]) -> Row:
        """The input values of one line; empty cells say nothing."""
        found: Row = {}
        for name, cell in zip(self.names, cells, strict=True):
            if name is not None and (text := cell.strip()):
                _put(found, name, text)
        return found

    def header_at(self, path: str) -> str:
        """The header of the column that a complaint's path (`address.zipCode`) is about."""
        for name, header in zip(self.names, self.headers, strict=True):
            if name is not None and (path == (place := _path(name)) or path.startswith(f"{place}.")):
                return header
        return path


def _path(name: str) -> str:
    return ".".join(to_camel(step) for step in NAMES[name].split("."))


def _put(found: Row, name: str, text: str) -> None:
    if name == "sex":
        found["sex"] = _SEXES.get(text.casefold(), text.casefold())
    elif name == "allergies":
        found["allergies"] = [{"substance": one.strip()} for one in text.split(";") if one.strip()]
    else:
        place, _, rest = NAMES[name].partition(".")
        if not rest:
            found[place] = text
        elif place == "contacts":
            found.setdefault("contacts", [{}])[0][rest.partition(".")[2]] = text
        else:
            found.setdefault(place, {})[rest] = text


def columns_of(headers: Sequence[str], said: Mapping[str, str]) -> Columns:
    """The columns that a header names. `said` maps headers to columns, or to `-` for one to ignore.

    Raises VALIDATION_FAILED at `header.…` for a header that means nothing or the same as another, and for a column
    that must be there.
    """
    wrong: list[FieldError] = []
    names: list[str | None] = []
    for header in headers:
        name = said.get(header, KNOWN.get(_plain(header)))
        if name is None:
            wrong.append(FieldError(f"header.{header}", "is no column that patients have: map it, or map it to -"))
        elif name != IGNORED and name in names:
            wrong.append(FieldError(f"header.{header}", f"is the second column for {name}"))
        names.append(None if name == IGNORED else name)
    wrong += [FieldError(f"header.{name}", "is missing") for name in REQUIRED if name not in names]
    wrong += [FieldError(f"header.{header}", "is mapped, and not there") for header in said if header not in headers]
    if wrong:
        raise ValidationFailed(fields=wrong)
    return Columns(tuple(names), tuple(headers))


def read_mapping(texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """`Their header=given_name` as pairs. Raises VALIDATION_FAILED at `map`."""
    for text in texts:
        header, _, name = text.rpartition("=")
        if not header or name not in {*NAMES, IGNORED}:
            known = ", ".join(NAMES)
            raise ValidationFailed.at("map", f"{text} must be HEADER=COLUMN, with one of {known}, or - to ignore it")
        yield header, name
