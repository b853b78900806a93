"""The catalogue of all that can be permitted, in words."""

from __future__ import annotations

from collections.abc import Mapping

from app.permissions import Permission

_SENTENCES = {
    "read": "See {}.",
    "create": "Add {}.",
    "update": "Change {}.",
    "archive": "Archive and restore {}.",
    "share": "Share {} with other clinics.",
    "export": "Take along all data of {}.",
    "erase": "Erase {} for good.",
    "merge": "Merge {} that stand for the same person.",
    "break_glass": "Open other clinics' records of {} in an emergency, under review.",
    "cancel": "Cancel {}.",
    "overbook": "Book {} over others, with a reason.",
    "manage": "Manage {}.",
    "write": "Write {}.",
    "sign": "Sign {}.",
    "release": "Release {} to patients.",
}
_NOUNS = {
    "audit_log": "the audit log",
    "availability": "working hours and time off",
    "dispensing": "what is handed out",
    "imaging": "imaging",
    "inventory": "the stock",
    "lab_result": "lab results",
    "membership": "membership plans",
    "queue": "the queue",
    "settings": "the clinic's settings",
    "staff": "staff and their access",
    "statistics": "the clinic's figures",
    "subscription": "the clinic's subscription",
}


def describe(right: Permission) -> str:
    """What a right permits, as a sentence.

    >>> describe(Permission.LAB_RESULT_RELEASE)
    'Release lab results to patients.'
    """
    return _SENTENCES[right.action].format(_NOUNS.get(right.resource, f"{right.resource}s"))


CATALOGUE: Mapping[Permission, str] = {right: describe(right) for right in Permission}
"""Each right with its sentence, in the order of the enum."""
