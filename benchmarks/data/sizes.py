"""How large a data set is."""

from __future__ import annotations

from dataclasses import dataclass, replace

DOCTORS = 10
"""Per clinic; each has a room."""
PER_DAY = 60
"""Appointments of a clinic's day: a page of 50, and some more."""
REGULAR_SHARE = 5
"""Every so many-th appointment is of a patient who comes often."""
VISITS = 10
"""Appointments of each patient who comes often."""


@dataclass(frozen=True, slots=True)
class Size:
    """So many clinics, and so many patients and appointments at each of them."""

    clinics: int
    patients: int
    appointments: int

    @property
    def database(self) -> str:
        """The database that holds it."""
        return f"bench_{self.clinics}x{self.patients}x{self.appointments}"

    @property
    def full_days(self) -> int:
        """Days on which each clinic has `PER_DAY` appointments."""
        return self.appointments // PER_DAY

    @property
    def regulars(self) -> int:
        """Patients of each clinic who come `VISITS` times: the first ones."""
        return self.appointments // (REGULAR_SHARE * VISITS)

    def __str__(self) -> str:
        patients, appointments = self.clinics * self.patients, self.clinics * self.appointments
        return f"{self.clinics:,} clinics, {patients:,} patients, {appointments:,} appointments"


FULL = Size(clinics=200, patients=2_500, appointments=5_000)
SMALL = Size(clinics=20, patients=500, appointments=1_000)
MIXED_CLINICS = 300
"""Clinics of the largest set for growth, whose requests are also mixed."""


def growth_of(size: Size) -> tuple[Size, Size, Size]:
    """For the growth table: a base, the same with ten times the clinics, and with ten times the rows per clinic."""
    base = Size(MIXED_CLINICS // 10, size.patients // 10, size.appointments // 10)
    return (
        base,
        replace(base, clinics=base.clinics * 10),
        replace(base, patients=base.patients * 10, appointments=base.appointments * 10),
    )
