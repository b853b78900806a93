"""Makes up what was done with the demo's patients: visits, prescriptions, laboratory orders with results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from bson import ObjectId

from app.services.changes import build
from models import Appointment, LabOrder, LabResult, MedicalRecord, Prescription, Staff, Visit
from models.appointment import AppointmentStatus
from models.lab import LabResultStatus, LabStep
from models.lab_order import LabOrderStatus
from models.prescription import PrescriptionStatus
from models.states import Step
from models.values import now
from models.visit import VisitStatus

Row = Mapping[str, Any]
_EDITION = "2019"
_A_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Complaint:
    """What doctors of the demo write when somebody comes with this."""

    code: str
    text: str
    found: str
    plan: str
    medicine: str | None = None
    lasting: bool = False


COMPLAINTS: Mapping[str, Complaint] = {
    "Cough for a week": Complaint("J20.9", "Acute bronchitis", "Lungs clear.", "Rest, fluids.", "Ambroxol"),
    "Blood pressure check": Complaint(
        "I10",
        "Essential hypertension",
        "148/92 at rest.",
        "Go on, control in three months.",
        "Amlodipine",
        lasting=True,
    ),
    "Rash on the arm": Complaint("L23.9", "Allergic contact dermatitis", "Red, itching.", "Cream.", "Hydrocortisone"),
    "Back pain": Complaint("M54.5", "Low back pain", "No neurological signs.", "Keep moving.", "Ibuprofen"),
    "New prescription": Complaint(
        "E11.9", "Type 2 diabetes mellitus", "Feet unremarkable.", "Go on with metformin.", "Metformin", lasting=True
    ),
    "Headaches": Complaint("G44.2", "Tension-type headache", "No red flags.", "Headache diary.", "Paracetamol"),
    "Yearly check": Complaint("Z00.0", "General medical examination", "Unremarkable.", "Again in a year."),
    "Fever since yesterday": Complaint("J06.9", "Acute upper respiratory infection", "Throat red.", "Rest."),
    "Knee pain after a fall": Complaint("S80.0", "Contusion of knee", "Swollen, stable.", "Ice, rest.", "Ibuprofen"),
}
_PANEL = {"name": "Blood count", "loinc": "58410-2"}


@dataclass(slots=True)
class DemoCare:
    """What follows from the appointments that took place. `medicines` are rows of the catalogue by name."""

    doctors: Mapping[ObjectId, Staff]
    medicines: Mapping[str, Row]
    rng: Random
    visits: list[Visit] = field(default_factory=list)
    prescriptions: list[Prescription] = field(default_factory=list)
    orders: list[LabOrder] = field(default_factory=list)
    results: list[LabResult] = field(default_factory=list)
    problems: list[MedicalRecord] = field(default_factory=list)
    _known: set[tuple[ObjectId, str]] = field(default_factory=set)

    def follow(self, appointments: Sequence[Appointment]) -> None:
        """Adds what came of each; not yet stored. Prescriptions and orders get their numbers from `numbered`."""
        for one in sorted(appointments, key=lambda one: one.starts_at):
            if one.status is AppointmentStatus.FULFILLED:
                self._seen(one, COMPLAINTS.get(one.reason or ""))

    def numbered(self, prescriptions: Sequence[int], orders: Sequence[int]) -> None:
        """Gives out the numbers, in the order of time."""
        for rx, number in zip(self.prescriptions, prescriptions, strict=True):
            rx.number = f"RX-{number:06d}"
        for order, number in zip(self.orders, orders, strict=True):
            order.number = f"LO-{number:06d}"
        by_id = {order.id: order.number for order in self.orders}
        for result in self.results:
            result.order_number = result.accession = by_id[result.lab_order_id]

    def _seen(self, appointment: Appointment, complaint: Complaint | None) -> None:
        visit = self._visit(appointment, complaint)
        self.visits.append(visit)
        medicine = self.medicines.get(complaint.medicine or "") if complaint is not None else None
        if complaint is not None and medicine is not None:
            self.prescriptions.append(self._prescription(visit, complaint, medicine))
        if complaint is not None and complaint.lasting and (visit.patient_id, complaint.code) not in self._known:
            self._known.add((visit.patient_id, complaint.code))
            self.problems.append(self._problem(visit, complaint))
        if self.rng.random() < 0.25:
            order = self._order(visit)
            self.orders.append(order)
            self.results += self._results(order)

    def _by(self, visit: Visit) -> Any:
        return self.doctors[visit.doctor_id].user_id

    def _visit(self, appointment: Appointment, complaint: Complaint | None) -> Visit:
        ended, by = appointment.ends_at, self.doctors[appointment.doctor_id].user_id
        vitals = {
            "systolic_mmhg": self.rng.randrange(105, 155),
            "diastolic_mmhg": self.rng.randrange(62, 95),
            "heart_rate": self.rng.randrange(56, 98),
            "temperature_celsius": f"{self.rng.uniform(36.2, 37.4):.1f}",
        }
        written: Row = {"assessment": "Nothing that needs treatment.", "plan": "Come again when needed."}
        if complaint is not None:
            coded = {"system": "icd_10", "edition": _EDITION, "code": complaint.code, "text": complaint.text}
            written = {
                "objective": complaint.found,
                "assessment": f"{complaint.text}.",
                "plan": complaint.plan,
                "diagnoses": [{**coded, "primary": True}],
            }
        visit: Visit = build(
            Visit,
            {
                "id": ObjectId(),
                "patient_id": appointment.patient_id,
                "doctor_id": appointment.doctor_id,
                "appointment_id": appointment.id,
                "service_id": appointment.service_id,
                "status": VisitStatus.SIGNED,
                "started_at": appointment.starts_at,
                "ended_at": ended,
                "reason": appointment.reason,
                "vitals": vitals,
                **written,
                "signed_at": ended,
                "signed_by": by,
                "history": [Step(at=ended, by=by, status=VisitStatus.SIGNED.value)],
                "version": 2,
                "created_at": appointment.starts_at,
                "updated_at": ended,
            },
            at="",
        )
        return visit

    def _prescription(self, visit: Visit, complaint: Complaint, medicine: Row) -> Prescription:
        by, at = self._by(visit), visit.signed_at or now()
        over = not complaint.lasting and at + _A_WEEK < now()
        status = PrescriptionStatus.COMPLETED if over else PrescriptionStatus.ACTIVE
        steps = [Step(at=at, by=by, status=PrescriptionStatus.ACTIVE.value)]
        if over:
            steps.append(Step(at=at + _A_WEEK, by=by, status=status.value))
        refills = 3 if complaint.lasting else 0
        item = {
            "number": 1,
            "medicine_id": medicine["_id"],
            **{name: medicine.get(name) for name in ("name", "form", "strength", "atc_code", "ingredient_keys")},
            "dose": "1 unit",
            "frequency": "once a day" if complaint.lasting else "3 times a day",
            "duration_days": 90 if complaint.lasting else 7,
            "quantity": 90 if complaint.lasting else 21,
            "refills": refills,
            "refills_left": refills,
        }
        rx: Prescription = build(
            Prescription,
            {
                "id": ObjectId(),
                "patient_id": visit.patient_id,
                "doctor_id": visit.doctor_id,
                "visit_id": visit.id,
                "status": status,
                "items": [item],
                "medicine_ids": [medicine["_id"]],
                "prescribed_at": at,
                "signed_at": at,
                "signed_by": by,
                "history": steps,
                "version": 1 + len(steps),
            },
            at="",
        )
        return rx

    def _problem(self, visit: Visit, complaint: Complaint) -> MedicalRecord:
        coded = {"system": "icd_10", "edition": _EDITION, "code": complaint.code, "text": complaint.text}
        entry: MedicalRecord = build(
            MedicalRecord,
            {
                "patient_id": visit.patient_id,
                "diagnosis": coded,
                "visit_ids": [visit.id],
                "onset": visit.started_at.date(),
                "recorded_by": self._by(visit),
                "created_at": visit.ended_at,
            },
            at="",
        )
        return entry

    def _order(self, visit: Visit) -> LabOrder:
        """Old ones are released, those of the last days wait for somebody to look, or for the laboratory."""
        by, at = self._by(visit), visit.ended_at or now()
        age = now() - at
        path = [LabOrderStatus.COLLECTED]
        if age > timedelta(days=1):
            path.append(LabOrderStatus.RESULTED)
        if age > timedelta(days=3):
            path += [LabOrderStatus.REVIEWED, LabOrderStatus.RELEASED]
        order: LabOrder = build(
            LabOrder,
            {
                "id": ObjectId(),
                "number": "",
                "patient_id": visit.patient_id,
                "doctor_id": visit.doctor_id,
                "visit_id": visit.id,
                "panels": [_PANEL],
                "specimen": "blood",
                "status": path[-1],
                "ordered_at": at,
                "collected_at": at,
                "collected_by": by,
                "history": [Step(at=at, by=by, status=one.value) for one in path],
                "version": 1 + len(path),
            },
            at="",
        )
        return order

    def _results(self, order: LabOrder) -> Iterator[LabResult]:
        if order.status is LabOrderStatus.COLLECTED:
            return
        status = LabResultStatus(order.status.value)
        at = order.ordered_at + timedelta(hours=20)
        haemoglobin = self.rng.uniform(11.2, 16.4)
        observed = [
            {"name": "Haemoglobin", "loinc": "718-7", "value": f"{haemoglobin:.1f}", "unit": "g/dL",
             "reference_range": "12.0-16.0", "flag": "low" if haemoglobin < 12 else "normal"},
            {"name": "Leukocytes", "loinc": "6690-2", "value": f"{self.rng.uniform(4, 11):.1f}", "unit": "10*9/L",
             "reference_range": "4.0-11.0", "flag": "normal"},
        ]  # fmt: skip
        yield build(
            LabResult,
            {
                "patient_id": order.patient_id,
                "lab_order_id": order.id,
                "accession": "-",
                "panel": _PANEL,
                "observations": observed,
                "performed_at": at,
                "reported_at": at,
                "received_at": at,
                "status": status,
                "history": [LabStep(at=at, action="entered", status=status)],
            },
            at="",
        )
