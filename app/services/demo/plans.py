"""What the demo's clinics are like: their people, rooms, services and hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.services.demo.names import AMERICAN, GERMAN, Region
from models.room import RoomKind

PASSWORD = "open-the-demo-42"
"""Of everybody in the demo."""

MONDAY_TO_FRIDAY = (0, 1, 2, 3, 4)
EVERY_DAY = (*MONDAY_TO_FRIDAY, 5, 6)
_OUTPATIENT = (("09:00", "12:00"), ("13:00", "17:00"))
_LONG_MORNING = (("08:00", "13:00"),)


@dataclass(frozen=True, slots=True)
class DoctorPlan:
    """`email` is set for somebody who works at both clinics; `hours` are wall-clock times of each weekday."""

    name: str
    specialization: str
    weekdays: tuple[int, ...] = MONDAY_TO_FRIDAY
    hours: tuple[tuple[str, str], ...] = _OUTPATIENT
    email: str | None = None


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """`specialization` None: every doctor offers it."""

    name: str
    code: str
    minutes: int
    price: str
    specialization: str | None = None


@dataclass(frozen=True, slots=True)
class SharedPatient:
    """Somebody who goes to both clinics."""

    given_name: str
    family_name: str
    birth_date: str
    sex: str
    phone: str
    email: str


@dataclass(frozen=True, slots=True)
class ClinicPlan:
    """One clinic. `staff` names one person for each role besides the doctors."""

    name: str
    subdomain: str
    settings: Mapping[str, str]
    phone: str
    address: Mapping[str, str]
    region: Region
    patients: int
    staff: Mapping[str, str]
    doctors: tuple[DoctorPlan, ...]
    shared: tuple[SharedPatient, ...] = ()

    def email_of(self, person: str) -> str:
        """The address of a role or a doctor at this clinic."""
        return f"{person}@{self.subdomain}.example.com"

    def doctor_email(self, number: int) -> str:
        """The address of the doctor at that place, from 0."""
        return self.doctors[number].email or self.email_of(f"doctor{number + 1}")

    def settled_at(self, subdomain: str) -> ClinicPlan:
        """The same people and rooms for a clinic that exists: with an admin of its own, and nobody shared."""
        staff = {role: name for role, name in self.staff.items() if role != "admin"}
        doctors = tuple(doctor for doctor in self.doctors if doctor.email is None)
        return replace(self, subdomain=subdomain, staff=staff, doctors=doctors, shared=())


SPECIALIZATIONS: Mapping[str, str] = {
    "Family medicine": "First contact for people of all ages.",
    "Pediatrics": "Infants, children and adolescents.",
    "Cardiology": "Heart and vessels.",
    "Dermatology": "Skin, hair and nails.",
    "Internal medicine": "Diagnosis and long-term care of adults.",
}

ROOMS: tuple[tuple[str, RoomKind, str], ...] = (
    ("Room 101", RoomKind.CONSULTATION, "1"),
    ("Room 102", RoomKind.CONSULTATION, "1"),
    ("Room 103", RoomKind.CONSULTATION, "1"),
    ("Room 201", RoomKind.CONSULTATION, "2"),
    ("Room 202", RoomKind.CONSULTATION, "2"),
    ("Treatment room", RoomKind.PROCEDURE, "1"),
    ("Laboratory", RoomKind.LABORATORY, "0"),
)

HEADINGS: Mapping[str, tuple[str, ...]] = {
    "Visits": ("CONS", "NEW", "FUP"),
    "Prevention": ("VACC", "CHECK", "CHILD", "SKIN"),
    "Diagnostics": ("ECG", "DIAB"),
}
"""Under which heading of the catalogue the services stand, by their codes."""

SERVICES: tuple[ServicePlan, ...] = (
    ServicePlan("Consultation", "CONS", 20, "85.00"),
    ServicePlan("First visit", "NEW", 30, "120.00"),
    ServicePlan("Follow-up", "FUP", 15, "55.00"),
    ServicePlan("Vaccination", "VACC", 10, "35.00", "Family medicine"),
    ServicePlan("Annual check-up", "CHECK", 30, "150.00", "Family medicine"),
    ServicePlan("Well-child visit", "CHILD", 25, "95.00", "Pediatrics"),
    ServicePlan("Electrocardiogram", "ECG", 20, "90.00", "Cardiology"),
    ServicePlan("Skin screening", "SKIN", 25, "110.00", "Dermatology"),
    ServicePlan("Diabetes review", "DIAB", 30, "100.00", "Internal medicine"),
)

_IN_BOTH = "leonie.brandt@doctors.example.com"

SUNSHINE = ClinicPlan(
    name="Sunshine Clinic",
    subdomain="sunshine",
    settings={"timezone": "America/New_York", "currency": "USD", "dateFormat": "MM/DD/YYYY"},
    phone="+1 212 555 0100",
    address={"street": "410 Orchard Avenue", "city": "New York", "state": "NY", "zipCode": "10002", "country": "US"},
    region=AMERICAN,
    patients=160,
    staff={
        "admin": "Olivia Bennett",
        "nurse": "Marcus Reyes",
        "pharmacist": "Elena Petrova",
        "receptionist": "Hannah Cole",
        "accountant": "Priya Desai",
    },
    doctors=(
        DoctorPlan("Grace Okafor", "Family medicine", weekdays=EVERY_DAY),
        DoctorPlan("Daniel Whitman", "Pediatrics"),
        DoctorPlan("Sofia Marchetti", "Cardiology", weekdays=(0, 2, 4)),
        DoctorPlan("Leonie Brandt", "Dermatology", weekdays=(0, 1, 2), email=_IN_BOTH),
    ),
    shared=(
        SharedPatient("Clara", "Neumann", "1979-03-14", "female", "+1 212 555 0171", "clara.neumann@example.com"),
        SharedPatient("Tobias", "Lindqvist", "1986-11-02", "male", "+1 212 555 0172", "tobias.lindqvist@example.com"),
        SharedPatient("Amara", "Osei", "1993-07-28", "female", "+1 212 555 0173", "amara.osei@example.com"),
    ),
)

RIVERSIDE = ClinicPlan(
    name="Riverside Family Practice",
    subdomain="riverside",
    settings={"timezone": "Europe/Berlin", "currency": "EUR", "dateFormat": "DD.MM.YYYY"},
    phone="+49 30 23125 100",
    address={"street": "Uferweg 12", "city": "Berlin", "state": "Berlin", "zipCode": "10245", "country": "DE"},
    region=GERMAN,
    patients=150,
    staff={
        "admin": "Jonas Albrecht",
        "nurse": "Katarzyna Wolny",
        "pharmacist": "Hedwig Lang",
        "receptionist": "Mia Schubert",
        "accountant": "Felix Oswald",
    },
    doctors=(
        DoctorPlan("Friederike Vogt", "Family medicine", weekdays=EVERY_DAY, hours=_LONG_MORNING),
        DoctorPlan("Emre Yildirim", "Internal medicine"),
        DoctorPlan("Anneliese Kern", "Pediatrics", weekdays=(0, 1, 3)),
        DoctorPlan("Leonie Brandt", "Dermatology", weekdays=(3, 4), email=_IN_BOTH),
    ),
)
"""Where one doctor works at both clinics the weekdays differ, so that no slot of hers is another's."""
