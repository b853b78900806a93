"""Valid documents of any model, made from the model's own rules: a new model is covered without a line here.

Each text carries the marker of its clinic wherever the field's rules allow it, so that no byte of it can turn up
elsewhere unseen. Where no general sample fits, `NAMED` holds one by the field's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from uuid import uuid4
from zoneinfo import ZoneInfo

from bson import ObjectId
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from models.references import Mark
from models.states import Staged
from models.values import now

ZONE = ZoneInfo("America/New_York")
"""Where the clinics of the tests are."""


def next_monday(hour: int, minute: int = 0) -> datetime:
    """A time of the clinics' next Monday, a day on which the doctors of the samples work."""
    today = now().astimezone(ZONE).date()
    monday = today + timedelta(days=7 - today.weekday())
    return datetime.combine(monday, time(hour, minute), ZONE)


NAMED: dict[str, Any] = {
    "starts": "08:00",
    "ends": "18:00",
    "starts_at": next_monday(12),
    "ends_at": next_monday(12, 30),
    "expires_at": next_monday(12),
    "last_seen_at": next_monday(12),
    "kind": "doctor",
    "first_day": (next_monday(12) - timedelta(days=1)).date().isoformat(),
    "last_day": (next_monday(12) - timedelta(days=1)).date().isoformat(),
    "opens": "00:00",
    "closes": "24:00",
    "email_domains": "example.com",
    "weekday": 0,
    "level": 5,
    "duration_minutes": 30,
    "amount": Decimal("12.50"),
    "entry": {
        "action": "sample",
        "result": "ok",
        "at": now(),
        "request_id": "sample",
        "address": "",
        "patient_ids": [],
        "collections": [],
    },
    "known_as": str(ObjectId()),  # by another id than the present one: nobody here
    "number": lambda number: 100_000 + number,  # beyond those that the clinics' counters give
    "seq": lambda number: 1_000_000 * number,  # far apart: the chain goes on behind each
}
"""What fields of these names hold, or a function of the document's number that says it, whatever the model, where a
sample of their type would not do."""


@dataclass(frozen=True, slots=True)
class Marker:
    """What the texts of one clinic carry: `text` within words, `digits` within phone numbers."""

    text: str
    digits: str

    @classmethod
    def fresh(cls, name: str) -> Marker:
        secret = uuid4()
        return cls(f"canary-{name}-{secret.hex[:8]}", f"1212555{secret.int % 10_000:04}")

    @property
    def traces(self) -> tuple[str, ...]:
        """What must not show at another clinic."""
        return self.text, self.digits, self.digits[1:]

    def texts(self, number: int) -> tuple[str, ...]:
        """Samples that carry the marker; the first that a field allows is taken."""
        return (
            f"{self.text}-{number}",
            f"{self.text}-{number}@example.com",
            f"+{self.digits}",
            f"https://{self.text}.test",
        )


PLAIN: dict[type, tuple[Any, ...]] = {
    str: ("USD", "UTC", "08:00", "2020-01-01", "#336699", "Sample", "P", "."),
    bool: (False,),
    int: (5, 1, 30, 0, 2030),
    float: (1.0, 0.0),
    Decimal: (Decimal("12.50"), Decimal(1), Decimal(0)),
    datetime: (next_monday(12),),
    date: (next_monday(12).date(),),
    bytes: (b"sample",),
}
"""Samples without a marker, by type."""


OF_ONE_MODEL: Mapping[str, Mapping[str, Callable[[int], Any]]] = {
    "PatientMerge": {"former_id": lambda number: f"{number:024x}"},
    "InventoryItem": {"stock": lambda _: 5, "low": lambda _: True},
    "StockLot": {  # expired, so that it is listed as such and can be written off
        "balance": lambda _: 5,
        "expires_on": lambda _: "2020-01-31",
        "order_day": lambda _: "2020-01-31",
    },
    "StockMovement": {"kind": lambda _: "dispensed"},
    "DayClosing": {"day": lambda number: (date(2000, 1, 1) + timedelta(days=number % 100_000)).isoformat()},
}
"""What fields of one model hold, by the document's number: there is one closing per day, of what is kept in stock
there is some, and an id is one."""


class NoSample(AssertionError):
    """A field for which no value is known. The text says what to add."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """Makes the values of one document. `point` answers a reference with an id; `number` keeps texts apart."""

    marker: Marker
    number: int
    point: Callable[[Mark], ObjectId]

    def values(self, model: type[BaseModel], skip: Sequence[str] = ()) -> dict[str, Any]:
        """Values for `model(**values)`: all that is required, and all else that can carry the marker or an id."""
        found: dict[str, Any] = {}
        for name, info in model.model_fields.items():
            if name not in skip:
                found.update(self._field(model, name, info))
        found |= {name: value(self.number) for name, value in OF_ONE_MODEL.get(model.__name__, {}).items()}
        if issubclass(model, Staged):  # a step's state is plain text, and one of those that its document knows
            for step in found.get("history", ()):
                step["status"] = next(iter(model.transitions)).value
        return found

    def _field(self, model: type[BaseModel], name: str, info: FieldInfo) -> dict[str, Any]:
        wanted = info.is_required()
        value = self._value(name, info.annotation, tuple(info.metadata), marked=not wanted)
        if value is not None:
            return {name: value}
        if wanted:
            raise NoSample(
                f"{model.__name__}.{name} is required and no sample fits it: add one under its name to NAMED in "
                "tests/contracts/_samples.py"
            )
        return {}

    def _value(self, name: str, annotation: Any, metadata: tuple[Any, ...], *, marked: bool) -> Any:
        """A value; with `marked` only one that carries the marker or an id, else None."""
        mark = next((one for one in (*metadata, *_inside(annotation)) if isinstance(one, Mark)), None)
        bare, rules = _bare(annotation, metadata)
        if get_origin(bare) in (list, set, tuple):
            inner = self._value(name, get_args(bare)[0], () if mark is None else (mark,), marked=marked)
            return None if inner is None else [inner]
        if mark is not None:
            return self.point(mark)
        if isinstance(bare, type) and issubclass(bare, BaseModel):
            return self._part(bare, marked=marked)
        return next((one for one in self._candidates(name, bare, marked=marked) if _fits(one, bare, rules)), None)

    def _part(self, model: type[BaseModel], *, marked: bool) -> dict[str, Any] | None:
        values = self.values(model)
        return values if not marked or self.marker.text in str(values) or self.marker.digits in str(values) else None

    def _candidates(self, name: str, bare: Any, *, marked: bool) -> Iterator[Any]:
        if bare is str and name.startswith("phone"):
            yield self.marker.digits if name.endswith("_key") else f"+{self.marker.digits}"
        if bare is str and not isinstance(NAMED.get(name), str):
            yield from self.marker.texts(self.number)
        if marked:
            return
        if name in NAMED:
            value = NAMED[name]
            yield value(self.number) if callable(value) else value
        if isinstance(bare, type) and issubclass(bare, Enum):
            yield from bare
        yield from PLAIN.get(bare, ())


def _fits(value: Any, bare: Any, rules: tuple[Any, ...]) -> bool:
    place = (bare, tuple(map(id, rules)))
    if place not in _adapters:  # making one takes far longer than asking it
        _adapters[place] = rules, TypeAdapter(Annotated[bare, *rules] if rules else bare)
    try:
        _adapters[place][1].validate_python(value)
    except ValidationError:
        return False
    return True


_adapters: dict[Any, tuple[Any, TypeAdapter[Any]]] = {}


def _bare(annotation: Any, rules: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """The annotation without `Annotated` and `| None`, and the rules that it carried."""
    if get_origin(annotation) is Annotated:
        bare, *more = get_args(annotation)
        return _bare(bare, (*more, *rules))
    if get_origin(annotation) in (Union, UnionType):
        return _bare(next(one for one in get_args(annotation) if one is not NoneType), rules)
    return annotation, rules


def _inside(annotation: Any) -> Iterator[Any]:
    for argument in get_args(annotation):
        yield argument
        yield from _inside(argument)
