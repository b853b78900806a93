"""What people read when a value is wrong: house words, and never the value itself."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from app.services.changes import complaints
from models.values import Name


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def _even(number: int) -> int:
    if number % 2:
        raise ValueError("must be even, as all of them are")
    return number


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name = "ok name"
    letter: str = Field(default="a", min_length=1)
    minutes: int = Field(default=5, ge=5, le=720, multiple_of=5)
    price: Annotated[Decimal, Field(ge=Decimal(0))] = Decimal(1)
    colour: Colour = Colour.RED
    even: Annotated[int, AfterValidator(_even)] = 2
    parts: list[int] = Field(default_factory=list, max_length=2)


@pytest.mark.parametrize(
    ("values", "path", "message"),
    [
        ({"name": "x"}, "input.name", "must have at least 2 characters"),
        ({"letter": ""}, "input.letter", "must have at least 1 character"),
        ({"minutes": 0}, "input.minutes", "must be at least 5"),
        ({"minutes": 725}, "input.minutes", "must be at most 720"),
        ({"minutes": 7}, "input.minutes", "must be a multiple of 5"),
        ({"minutes": "secret"}, "input.minutes", "must be a whole number"),
        ({"price": Decimal(-1)}, "input.price", "must be at least 0"),
        ({"colour": "secret"}, "input.colour", "must be one of 'red' or 'blue'"),
        ({"even": 3}, "input.even", "must be even, as all of them are"),
        ({"parts": [1, 2, 3]}, "input.parts", "must have at most 2 entries"),
        ({"parts": [1, None]}, "input.parts.1", "must be a whole number"),
        ({"more_things": "secret"}, "input.moreThings", "is not known here"),
    ],
)
def test_each_finding_is_a_sentence_at_its_path(values: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Thing(**values)

    [found] = complaints(caught.value, "input")

    assert (found.path, found.message) == (path, message)
