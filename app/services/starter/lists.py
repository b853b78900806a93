"""The lists themselves: text files of this folder, one entry a line below a line of names, parted by semicolons."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

_FOLDER = Path(__file__).parent


def medicines() -> Iterator[dict[str, object]]:
    """Values of common generic medicines: `name, form, strength, atc_code, ingredients`."""
    for line in _lines("medicines.csv"):
        yield {
            "name": line["name"],
            "form": line["form"],
            "strength": line["strength"],
            "atc_code": line["atc"],
            "ingredients": [one.strip() for one in line["ingredients"].split(",")],
        }


def specializations() -> Iterator[dict[str, object]]:
    """Values of the usual fields of medicine: `name, description`."""
    for line in _lines("specializations.csv"):
        yield {"name": line["name"], "description": f"{line['description']}."}


def _lines(name: str) -> list[dict[str, str]]:
    with (_FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=";"))
