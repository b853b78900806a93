"""What all FHIR resources of a patient's file are made of: references, numbers to the digit, and no empty values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson
from bson import Decimal128

Row = Mapping[str, Any]
Resource = dict[str, Any]

DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?")
"""FHIR's `decimal`, of as many digits as readers can be expected to keep."""


class Number(str):
    """A number that goes into JSON digit by digit: in FHIR, 5.40 says more than 5.4."""

    __slots__ = ()

    def __new__(cls, value: str | int | Decimal | Decimal128) -> Number:
        plain = value.to_decimal() if isinstance(value, Decimal128) else value
        return super().__new__(cls, f"{plain:f}" if isinstance(plain, Decimal) else str(plain))


def digits(value: Any) -> orjson.Fragment:
    """A `Number` for orjson. Raises TypeError for anything else."""
    if not isinstance(value, Number):
        raise TypeError(type(value).__name__)
    return orjson.Fragment(value.encode())


def url(kind: str, id: str) -> str:
    """The `fullUrl` of a resource."""
    return f"urn:uuid:{uuid5(NAMESPACE_URL, f'polyclinic:{kind}/{id}')}"


def reference(kind: str, id: Any) -> Resource:
    """A reference to a resource of the bundle."""
    return {"reference": url(kind, str(id)), "type": kind}


def without_nothing(resource: Resource) -> Resource:
    """FHIR has no empty values."""
    return {key: value for key, value in resource.items() if value not in (None, [], {}, "")}
