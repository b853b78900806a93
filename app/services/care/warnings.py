"""What speaks against medicines for a patient: known allergies, and what the patient takes already.

Nothing is forbidden: whoever signs must say why they go on. A list like this finds what is written in it and no more,
so that nothing is found never means that nothing is to be feared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.services.care.allergy_classes import GROUPS, SYNONYMS
from app.services.changes import Row
from models import Patient, Prescription
from models.prescription import CURRENT, PrescriptionStatus, WarningKind
from models.values import search_key

MOST_CURRENT = 100
"""So many current prescriptions are looked at for each patient, the latest."""
CHEMICAL_GROUP = 5
"""Characters of an ATC code down to its fourth level: what acts alike by the same kind of molecule."""
_LEAST = 4
"""A name of fewer letters is found as a whole only."""


@dataclass(frozen=True, slots=True)
class Warned:
    """One warning. `key` is the same for the same reason; `item_number` is the item that it is about."""

    kind: WarningKind
    item_number: int
    text: str
    severe: bool
    key: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one patient: the rows of their allergies, and the items they take by prescription."""

    allergies: Sequence[Row]
    taken: Mapping[ObjectId, Sequence[Row]]


async def warnings_for(
    patient_id: ObjectId,
    items: Sequence[Row],
    *,
    besides: Sequence[ObjectId | None] = (),
    session: AsyncClientSession | None = None,
) -> list[Warned]:
    """What speaks against `items` (rows of prescription items) for this patient; severe ones first.

    `besides` are prescriptions that are not looked at: the one with these items, and the one that it replaces.
    """
    known = await _known([patient_id], session)
    return judged(items, known[patient_id], besides)


async def open_warnings(prescription_ids: list[Any]) -> dict[Any, list[Row]]:
    """For each prescription the rows of what speaks against it now, as long as it is a draft."""
    drafts = await Prescription.rows(
        {"_id": {"$in": prescription_ids}, "status": PrescriptionStatus.DRAFT.value},
        projection=["patient_id", "replaces_id", "items"],
    )
    known = await _known(sorted({row["patient_id"] for row in drafts})) if drafts else {}
    found: dict[Any, list[Row]] = {one: [] for one in prescription_ids}
    for row in drafts:
        warned = judged(row["items"], known[row["patient_id"]], [row["_id"], row.get("replaces_id")])
        found[row["_id"]] = [asdict(one) for one in warned]
    return found


def judged(items: Sequence[Row], known: Known, besides: Sequence[ObjectId | None] = ()) -> list[Warned]:
    """The warnings about items, by what is known of the patient."""
    taken = [item for key, others in known.taken.items() if key not in besides for item in others]
    found: dict[str, Warned] = {}
    for place, item in enumerate(items):
        for one in (*_allergic(item, known.allergies), *_twice(item, [*taken, *items[:place]])):
            found.setdefault(one.key, one)
    return sorted(found.values(), key=lambda one: (not one.severe, one.item_number, one.kind, one.key))


async def _known(patient_ids: list[ObjectId], session: AsyncClientSession | None = None) -> dict[ObjectId, Known]:
    patients = await Patient.rows({"_id": {"$in": patient_ids}}, projection=["allergies"], session=session)
    rows = await Prescription.rows(
        {"patient_id": {"$in": patient_ids}, "status": {"$in": [one.value for one in CURRENT]}},
        projection=["patient_id", "items.name", "items.atc_code", "items.ingredient_keys"],
        sort=[("prescribed_at", -1), ("_id", -1)],
        limit=MOST_CURRENT * len(patient_ids),
        session=session,
    )
    taken: dict[ObjectId, dict[ObjectId, Sequence[Row]]] = {one: {} for one in patient_ids}
    for row in rows:
        taken[row["patient_id"]][row["_id"]] = row["items"]
    allergies = {row["_id"]: row.get("allergies") or [] for row in patients}
    return {one: Known(allergies.get(one, []), taken[one]) for one in patient_ids}


def _allergic(item: Row, allergies: Sequence[Row]) -> Iterator[Warned]:
    for allergy in allergies:
        if reacts(search_key(allergy["substance"]), item):
            text = f"The patient is allergic to {allergy['substance']}: {item['name']}"
            severe = bool(allergy.get("severe"))
            yield _warned(WarningKind.ALLERGY, item, search_key(allergy["substance"]), text, severe=severe)


def reacts(allergen: str, item: Row) -> bool:
    """Whether what somebody is allergic to (a search key) is in a medicine, or names its group or the medicine."""
    wanted = SYNONYMS.get(allergen, allergen)
    code = item.get("atc_code") or ""
    if any(code.startswith(group) for group in GROUPS.get(wanted, ())):
        return True
    return any(_same(wanted, one) for one in (*item["ingredient_keys"], search_key(item["name"])))


def _same(allergen: str, substance: str) -> bool:
    """Whether one name is the other, or stands in it as whole words: `amoxicillin` in `amoxicillin trihydrate`."""
    shorter, longer = sorted((allergen, substance), key=len)
    return shorter == longer or (len(shorter) >= _LEAST and f" {shorter} " in f" {longer} ")


def _twice(item: Row, others: Sequence[Row]) -> Iterator[Warned]:
    for other in others:
        shared = sorted(set(item["ingredient_keys"]) & set(other["ingredient_keys"]))
        group = (item.get("atc_code") or "")[:CHEMICAL_GROUP]
        if shared:
            text = f"{item['name']} and {other['name']} both contain {', '.join(shared)}"
            yield _warned(WarningKind.SAME_INGREDIENT, item, f"{other['name']}/{shared}", text)
        elif len(group) == CHEMICAL_GROUP and (other.get("atc_code") or "").startswith(group):
            text = f"{item['name']} and {other['name']} are of one group ({group})"
            yield _warned(WarningKind.SAME_GROUP, item, f"{other['name']}/{group}", text)


def _warned(kind: WarningKind, item: Row, about: str, text: str, *, severe: bool = False) -> Warned:
    named = f"{kind}/{item['medicine_id']}/{about}"
    return Warned(kind, item["number"], f"{text[:198]}.", severe, sha256(named.encode()).hexdigest()[:16])
