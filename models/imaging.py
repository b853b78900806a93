"""Imaging: ordered, done, reported on, released to the patient."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from beanie import PydanticObjectId
from pydantic import Field, StringConstraints

from app.tenancy.sealing import Sealed
from models.base import TenantDocument
from models.clinical import by_time
from models.lab_order import OrderPriority
from models.references import PlatformReference, Reference
from models.states import Staged, Transitions
from models.uniques import ONE_PER_NUMBER
from models.values import Line, Text, Value, now

MOST_REPORTS = 50


class Modality(StrEnum):
    """How images are made: codes of DICOM's CID 29, with `OT` for others."""

    CR = "CR"
    CT = "CT"
    DX = "DX"
    ECG = "ECG"
    ES = "ES"
    MG = "MG"
    MR = "MR"
    NM = "NM"
    PT = "PT"
    RF = "RF"
    US = "US"
    XA = "XA"
    OT = "OT"


class Laterality(StrEnum):
    """Which side of the body."""

    LEFT = "left"
    RIGHT = "right"
    BOTH = "both"


class ImagingStatus(StrEnum):
    """The states of an imaging study; `Imaging.transitions` says which may follow which."""

    ORDERED = "ordered"
    SCHEDULED = "scheduled"
    PERFORMED = "performed"
    REPORTED = "reported"
    RELEASED = "released"
    CANCELLED = "cancelled"


class ImagingReport(Value):
    """What somebody saw in the images. A later report corrects an earlier one, which stays."""

    at: datetime = Field(default_factory=now)
    by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    findings: Annotated[Annotated[Text, StringConstraints(min_length=1)], Sealed()]
    impression: Annotated[Text | None, Sealed()] = None


_S = ImagingStatus


class Imaging(Staged, TenantDocument):
    """One imaging study. Of its reports the last one counts; a correction must be released anew."""

    transitions: ClassVar[Transitions] = {
        _S.ORDERED: frozenset({_S.SCHEDULED, _S.PERFORMED, _S.CANCELLED}),
        _S.SCHEDULED: frozenset({_S.SCHEDULED, _S.PERFORMED, _S.CANCELLED}),
        _S.PERFORMED: frozenset({_S.REPORTED}),
        _S.REPORTED: frozenset({_S.REPORTED, _S.RELEASED}),
        _S.RELEASED: frozenset({_S.REPORTED}),
        _S.CANCELLED: frozenset(),
    }

    status: ImagingStatus = ImagingStatus.ORDERED
    number: str
    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    doctor_id: Annotated[PydanticObjectId, Reference("staff")]
    visit_id: Annotated[PydanticObjectId, Reference("visits")] | None = None
    modality: Modality
    body_site: Line
    laterality: Laterality | None = None
    contrast: bool = False
    priority: OrderPriority = OrderPriority.ROUTINE
    reason: Annotated[Text | None, Sealed()] = None
    ordered_at: datetime = Field(default_factory=now)
    scheduled_at: datetime | None = None
    performed_at: datetime | None = None
    performed_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    reports: list[ImagingReport] = Field(default_factory=list, max_length=MOST_REPORTS)
    released_at: datetime | None = None

    class Settings:
        name = "imaging"
        indexes = (ONE_PER_NUMBER, *by_time("ordered_at"))
