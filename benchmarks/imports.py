"""How long an import and an export of many patients take, and how much memory: `make bench ARGS=imports`.

`python -m benchmarks.imports`. A file of 100,000 patients with phone numbers, e-mail addresses and sealed numbers is
imported by the command into a fresh clinic of a local mongod that is thrown away, then the list is read as CSV. Seconds
are those of the whole command; memory is the largest resident set of its process.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from secrets import token_urlsafe
from time import perf_counter

from app.config import PROJECT_ROOT
from app.db.mongod import embedded_mongod
from benchmarks.data.people import generator, person

PATIENTS = 100_000
HEADER = (
    "external_id",
    "given_name",
    "family_name",
    "birth_date",
    "sex",
    "phone",
    "email",
    "city",
    "national_id",
    "notes",
)


def write_file(path: Path, count: int) -> None:
    """Made-up patients of whom no two are alike in anything that would make them possible duplicates."""
    rng = generator(7)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number in range(count):
            one = person(rng)
            born = f"{1920 + number % 100}-{1 + number // 100 % 12:02}-{1 + number // 1_200 % 28:02}"
            named = (one.given_name, f"{one.family_name} {number:x}", born, "female")
            reached = (f"+1212{number + 2_000_000:07}", f"patient{number}@example.com", "New York")
            writer.writerow([f"old-{number}", *named, *reached, f"NY-{number:08}", "Came with the former system."])


def timed(arguments: list[str], environment: dict[str, str]) -> str:
    """Seconds, those of them on a processor, and the largest resident set of one command, which must succeed."""
    started = perf_counter()
    process = subprocess.Popen([sys.executable, "-m", *arguments], cwd=PROJECT_ROOT, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{arguments[0]} failed")
    seconds, on_cpu = perf_counter() - started, usage.ru_utime + usage.ru_stime
    return f"{seconds:6.1f} s  {on_cpu:6.1f} s CPU  {usage.ru_maxrss / 1024:6.0f} MB"


def measure(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="polyclinic-") as folder, embedded_mongod(Path(folder) / "db") as uri:
        environment = {
            **os.environ,
            "ENVIRONMENT": "test",
            "MONGODB_URI": uri,
            "MONGODB_DATABASE": "imports",
            "ROOT_DOMAIN": "polyclinic.test",
            "DATA_DIR": folder,
            "POLYCLINIC_ADMIN_PASSWORD": token_urlsafe(),
            **{name: token_urlsafe(48) for name in ("SESSION_SECRET", "AUDIT_SECRET", "ENCRYPTION_KEY")},
        }
        clinic = ["--name", "Import", "--subdomain", "import", "--timezone", "America/New_York", "--json"]
        admin = ["--admin-name", "Ada Admin", "--admin-email", "ada@example.com"]
        timed(["scripts.onboard_tenant", *clinic, *admin], environment)
        path = Path(folder) / "patients.csv"
        write_file(path, count)
        for name, more in (("check (--dry-run)", ["--dry-run"]), ("import", []), ("the same file once more", [])):
            took = timed(["scripts.import_patients", "import", str(path), "--json", *more], environment)
            print(f"{name:26} {count:,} lines  {took}", flush=True)
        print(f"{'the list as CSV':26} {count:,} lines  {timed(['benchmarks.imports', 'export'], environment)}")


def export() -> None:
    """Reads the clinic's list of patients as CSV, as the route that streams it does."""
    from app.config import load_settings
    from app.services import csv_export
    from app.services.clinics import clinic_named
    from app.tenancy.crossing import tenant_scope
    from scripts.runtime import backend

    async def work() -> int:
        async with tenant_scope(await clinic_named("import")):
            return sum([part.count(b"\r\n") async for part in csv_export.patients()])

    with backend(load_settings(), with_schema=False) as ready:
        print(ready.run(work()) - 1, "patients")


if __name__ == "__main__":
    if sys.argv[1:] == ["export"]:
        export()
    else:
        measure(int(sys.argv[1]) if len(sys.argv) > 1 else PATIENTS)
