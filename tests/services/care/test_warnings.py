"""What speaks against a medicine: who is allergic to what, and what is the same under two names."""

from __future__ import annotations

from typing import Any

import pytest
from bson import ObjectId

from app.services.care.allergy_classes import GROUPS, SYNONYMS
from app.services.care.warnings import Known, judged, reacts
from app.services.starter import lists
from models.medicine import atc_levels
from models.values import search_key

LISTED: list[dict[str, Any]] = [dict(one) for one in lists.medicines()]


def item(name: str, number: int = 1) -> dict[str, Any]:
    """The item of a prescription with that medicine of the list."""
    one = next(row for row in LISTED if row["name"] == name)
    return {
        "number": number,
        "medicine_id": ObjectId(),
        "name": one["name"],
        "atc_code": one["atc_code"],
        "ingredient_keys": sorted(search_key(substance) for substance in one["ingredients"]),
    }


@pytest.mark.parametrize(
    ("allergen", "medicine"),
    [
        ("Amoxicillin", "Amoxicillin"),
        ("amoxicillin trihydrate", "Amoxicillin + clavulanic acid"),
        ("Penicillin", "Amoxicillin"),
        ("penicillins", "Piperacillin + tazobactam"),
        ("Penicillin G", "Benzylpenicillin"),
        ("Beta-lactams", "Meropenem"),
        ("Cephalosporins", "Ceftriaxone"),
        ("Sulfa", "Sulfamethoxazole + trimethoprim"),
        ("sulfonamides", "Sulfasalazine"),
        ("NSAIDs", "Ibuprofen"),
        ("NSAIDs", "Acetylsalicylic acid"),
        ("Aspirin", "Acetylsalicylic acid"),
        ("Acetaminophen", "Codeine + paracetamol"),
        ("Dipyrone", "Metamizole sodium"),
        ("Clavulánic ACID", "Amoxicillin + clavulanic acid"),
        ("insulin", "Insulin glargine"),
        ("ACE inhibitors", "Perindopril + amlodipine"),
        ("iodine", "Povidone-iodine"),
    ],
)
def test_what_somebody_is_allergic_to_is_found(allergen: str, medicine: str) -> None:
    assert reacts(search_key(allergen), item(medicine))


@pytest.mark.parametrize(
    ("allergen", "medicine"),
    [
        ("Penicillin", "Ceftriaxone"),
        ("Penicillin", "Azithromycin"),
        ("Sulfa", "Ferrous sulfate"),
        ("Peanuts", "Amoxicillin"),
        ("acid", "Amoxicillin"),
        ("oxi", "Amoxicillin"),
        ("zinc", "Amoxicillin"),
        ("Latex", "Paracetamol"),
        ("NSAIDs", "Paracetamol"),
    ],
)
def test_what_has_nothing_to_do_with_it_is_not(allergen: str, medicine: str) -> None:
    assert not reacts(search_key(allergen), item(medicine))


def known(allergies: list[dict[str, Any]] | None = None, **taken: str) -> Known:
    return Known(allergies or [], {ObjectId(): [item(name)] for name in taken.values()})


@pytest.mark.parametrize(
    ("taken", "prescribed", "kinds"),
    [
        ("Paracetamol", "Codeine + paracetamol", ["same_ingredient"]),
        ("Enalapril", "Ramipril", ["same_group"]),
        ("Omeprazole", "Pantoprazole", ["same_group"]),
        ("Enalapril", "Losartan", []),
        ("Metformin", "Sitagliptin + metformin", ["same_ingredient"]),
        ("Diclofenac", "Ketorolac", ["same_group"]),
        ("Diclofenac", "Ibuprofen", []),
    ],
)
def test_what_is_taken_already_is_found_by_substance_and_chemical_group(
    taken: str, prescribed: str, kinds: list[str]
) -> None:
    assert [one.kind for one in judged([item(prescribed)], known(taken=taken))] == kinds


def test_what_is_twice_on_one_prescription_is_found_at_the_second() -> None:
    found = judged([item("Paracetamol"), item("Tramadol + paracetamol", 2)], known())
    assert [(one.kind, one.item_number) for one in found] == [("same_ingredient", 2)]
    assert found[0].text == "Tramadol + paracetamol and Paracetamol both contain paracetamol."


def test_severe_warnings_come_first_and_each_once_under_a_key_that_stays() -> None:
    allergies = [{"substance": "Penicillin", "severe": True}, {"substance": "amoxicillin", "severe": False}]
    items = [item("Amoxicillin")]
    about = known(allergies, taken="Amoxicillin + clavulanic acid")
    found = judged(items, about)
    assert [(one.kind, one.severe) for one in found] == [
        ("allergy", True), ("allergy", False), ("same_ingredient", False)
    ]  # fmt: skip
    assert len({one.key for one in found}) == 3
    assert judged(items, about) == found
    assert judged([{**items[0], "medicine_id": ObjectId()}], about)[0].key != found[0].key


def test_prescriptions_that_are_set_aside_are_not_looked_at() -> None:
    about = known(taken="Paracetamol")
    assert judged([item("Paracetamol")], about, besides=list(about.taken)) == []


def test_the_names_of_groups_are_search_keys_and_their_codes_are_codes() -> None:
    assert [name for name in (*GROUPS, *SYNONYMS) if name != search_key(name)] == []
    assert [code for codes in GROUPS.values() for code in codes if code not in atc_levels(code)] == []
    listed = {search_key(one) for row in LISTED for one in row["ingredients"]}
    assert set(SYNONYMS.values()) <= listed
