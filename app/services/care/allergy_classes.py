"""What people call themselves allergic to, when that is no single substance of the catalogue.

Groups are ATC codes of any level: whatever lies in one of them is meant. Names are as `search_key` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping

_PENICILLINS = ("J01C",)
_CEPHALOSPORINS = ("J01DB", "J01DC", "J01DD", "J01DE")
_SULFONAMIDES = ("J01E", "A07EC01", "D06BA01")
_NSAIDS = ("M01A", "M02AA", "N02BA", "B01AC06")
_SALICYLATES = ("N02BA", "B01AC06")
_QUINOLONES = ("J01M", "S01AE", "S02AA15")
_OPIOIDS = ("N02A",)
_STATINS = ("C10AA",)
_ACE_INHIBITORS = ("C09A", "C09B")

GROUPS: Mapping[str, tuple[str, ...]] = {
    "penicillin": _PENICILLINS,
    "penicillins": _PENICILLINS,
    "beta-lactams": (*_PENICILLINS, "J01D"),
    "beta-lactam antibiotics": (*_PENICILLINS, "J01D"),
    "cephalosporin": _CEPHALOSPORINS,
    "cephalosporins": _CEPHALOSPORINS,
    "cefalosporins": _CEPHALOSPORINS,
    "carbapenems": ("J01DH",),
    "sulfa": _SULFONAMIDES,
    "sulfa drugs": _SULFONAMIDES,
    "sulfonamide": _SULFONAMIDES,
    "sulfonamides": _SULFONAMIDES,
    "sulphonamides": _SULFONAMIDES,
    "nsaid": _NSAIDS,
    "nsaids": _NSAIDS,
    "aspirin": _SALICYLATES,
    "salicylates": _SALICYLATES,
    "macrolide": ("J01FA",),
    "macrolides": ("J01FA",),
    "quinolones": _QUINOLONES,
    "fluoroquinolones": _QUINOLONES,
    "tetracycline": ("J01AA",),
    "tetracyclines": ("J01AA",),
    "aminoglycosides": ("J01G", "S01AA12"),
    "opioid": _OPIOIDS,
    "opioids": _OPIOIDS,
    "opiates": _OPIOIDS,
    "statin": _STATINS,
    "statins": _STATINS,
    "ace inhibitor": _ACE_INHIBITORS,
    "ace inhibitors": _ACE_INHIBITORS,
    "iodine": ("D08AG", "V08A"),
    "contrast media": ("V08",),
    "local anaesthetics": ("N01B",),
    "local anesthetics": ("N01B",),
    "heparins": ("B01AB",),
    "insulin": ("A10A",),
    "benzodiazepines": ("N05BA", "N05CD"),
    "barbiturates": ("N03AA", "N05CA"),
    "triptans": ("N02CC",),
    "corticosteroids": ("H02A", "D07", "R03BA", "A07EA"),
}
SYNONYMS: Mapping[str, str] = {
    "acetaminophen": "paracetamol",
    "adrenaline": "epinephrine",
    "albuterol": "salbutamol",
    "cephalexin": "cefalexin",
    "dipyrone": "metamizole sodium",
    "frusemide": "furosemide",
    "glyburide": "glibenclamide",
    "metamizole": "metamizole sodium",
    "nitroglycerin": "glyceryl trinitrate",
    "penicillin g": "benzylpenicillin",
    "penicillin v": "phenoxymethylpenicillin",
    "rifampin": "rifampicin",
    "vitamin k": "phytomenadione",
}
"""Other names of a substance → its international nonproprietary one."""
