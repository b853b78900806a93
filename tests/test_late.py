"""What a process loads, and what it does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app.late import emptied, late, left_out

NEVER = ("aiohttp", "aiosmtplib", "authlib", "httpx", "phonenumbers", "pygments", "rich", "segno", "webauthn")
"""Libraries that a server needs for few requests or for none."""


def test_a_late_module_is_loaded_when_something_of_it_is_asked_for() -> None:
    assert late("colorsys").hls_to_rgb(0, 0.5, 0) == (0.5, 0.5, 0.5)


def test_what_is_left_out_can_be_imported_afterwards() -> None:
    sys.modules.pop("colorsys", None)

    with left_out("colorsys"), pytest.raises(ImportError):
        __import__("colorsys")

    assert __import__("colorsys").rgb_to_hls


def test_what_is_loaded_already_is_not_left_out() -> None:
    with left_out("sys"):
        assert __import__("sys") is sys


def test_an_emptied_module_has_the_names_and_goes_again() -> None:
    sys.modules.pop("colorsys", None)

    with emptied("colorsys", "rgb_to_hls"):
        assert __import__("colorsys").rgb_to_hls is None

    assert __import__("colorsys").rgb_to_hls is not None


def test_a_server_and_its_queue_load_nothing_that_they_do_not_need() -> None:
    script = (
        "import sys, app.main, app.jobs.hands as hands, app.config as config\n"
        "hands.broker_of(config.Settings.model_construct(jobs_url=None))\n"
        f"print([name for name in {NEVER!r} if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
