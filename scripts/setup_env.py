"""Makes `.venv` from the lock file. Needs nothing but Python itself; does nothing when all is up to date.

Written for old Pythons too, so that one of them can say that it is too old.
"""

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
VENV = ROOT / ".venv"
STAMP = VENV / "installed-lock.sha256"

_NETWORK_SIGNS = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|Name or service|name resolution|Network is unreachable"
    r"|ProxyError|No matching distribution|SSLError|Connection refused",
    re.IGNORECASE,
)


class SetupFailed(Exception):
    """The environment cannot be made. The text is one sentence that says what to do."""


def main():  # type: () -> int
    try:
        if sys.version_info < OLDEST:
            return _run_with_newer_python()
        with LOCK.open("rb") as lock:
            if _is_current():
                return 0
            fcntl.flock(lock, fcntl.LOCK_EX)  # two at once: the second waits, then finds the work done
            if not _is_current():
                _install()
        return 0
    except SetupFailed as error:
        print(f"Setup failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Setup was interrupted; the next start begins it anew.", file=sys.stderr)
        return 130


def _run_with_newer_python():  # type: () -> int
    for minor in range(14, OLDEST[1] - 1, -1):
        newer = shutil.which(f"python3.{minor}")
        if newer and _starts(newer):
            return subprocess.call([newer, __file__])  # noqa: S603
    raise SetupFailed(
        "Python {}.{} or newer is needed and this is {}.{}: install one and name it, "
        "for instance make run PYTHON=python3.12.".format(*OLDEST, *sys.version_info[:2])
    )


def _starts(python):  # type: (str) -> bool
    """Whether there is a Python behind the name: a version manager may have put a signpost to none there."""
    command = [python, "-c", "import venv"]
    return subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0  # noqa: S603


def _is_current():  # type: () -> bool
    return STAMP.is_file() and (VENV / "bin" / "python").exists() and STAMP.read_text() == _fingerprint()


def _fingerprint():  # type: () -> str
    """Changes with the locked packages and with the folder, for an environment cannot be moved."""
    return hashlib.sha256(LOCK.read_bytes() + str(VENV).encode()).hexdigest()


def _install():  # type: () -> None
    print(f"Setting up {VENV.name} with Python {sys.version.split()[0]} (once, a minute or less)", flush=True)
    _make_venv()
    _install_packages()
    STAMP.write_text(_fingerprint())


def _make_venv():  # type: () -> None
    if VENV.is_symlink():  # clearing it would empty what it leads to, which others may be using
        raise SetupFailed(f"{VENV} is a link to {VENV.resolve()}: remove the link, and it gets one of its own.")
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode == 0:
        return
    text = result.stdout + result.stderr
    if "ensurepip" in text or "No module named venv" in text:
        raise SetupFailed("Python's venv module is missing: apt-get install python3-venv, then try again.")
    raise SetupFailed(f"{VENV} cannot be made: {_last_line(text)}")


def _install_packages():  # type: () -> None
    """Runs pip on the lock file, every file checked against its hash, no code run at installation."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--require-hashes", "--no-deps"]
    command += [
        "--only-binary",
        ":all:",
        "--no-input",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
    ]
    command += ["-r", str(LOCK)]
    total = len(re.findall(r"^[a-z0-9].*==", LOCK.read_text(), re.MULTILINE))
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        output = _show_progress(pip, total)
    if pip.returncode == 0:
        return
    if _NETWORK_SIGNS.search(output):
        raise SetupFailed("the packages cannot be fetched: check the network or pip's settings, then try again.")
    print(output[-4000:], file=sys.stderr)
    raise SetupFailed("pip could not install requirements.lock: its last lines stand above.")


def _show_progress(pip, total):  # type: (subprocess.Popen[str], int) -> str
    lines = []
    fetched = 0
    on_terminal = sys.stdout.isatty()
    for line in pip.stdout or ():
        lines.append(line)
        if line.startswith(("Collecting ", "Processing ")):
            fetched += 1
            if on_terminal:
                name = line.split()[1].rpartition("/")[2]
                print(f"\r\x1b[K  package {fetched} of {total}: {name}", end="", flush=True)
            elif fetched % 20 == 0:
                print(f"  package {fetched} of {total}", flush=True)
        elif line.startswith("Installing collected"):
            print("\r\x1b[K" * on_terminal + "  writing them to disk", flush=True)
    return "".join(lines)


def _last_line(text):  # type: (str) -> str
    return (text.strip().splitlines() or ["no reason was given"])[-1]


if __name__ == "__main__":
    raise SystemExit(main())
