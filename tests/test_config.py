"""A server must not start on a missing, weak or copied setting, and must say all that is wrong at once."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import config
from app.config import ConfigurationError, Settings, get_settings, load_settings, secret_weakness
from scripts.export_env_example import PATH, render

GOOD_SECRET = "jX0v3Wq8-rT5nKz1_PdYb7hLs9uMfEcGa2iRoBt4"
DEVELOPMENT = {
    "MONGODB_URI": "mongodb://127.0.0.1:27017/?replicaSet=rs0",
    "SESSION_SECRET": GOOD_SECRET,
    "ROOT_DOMAIN": "localhost",
}
PRODUCTION = DEVELOPMENT | {
    "ENVIRONMENT": "production",
    "ROOT_DOMAIN": "clinics.io",
    "COOKIE_DOMAIN": ".clinics.io",
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the developer's `.env` nor a running `make run` is seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "PROJECT_ROOT", tmp_path)


def _load(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def _refusal(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as refused:
        _load(monkeypatch, values)
    return str(refused.value)


def test_three_settings_are_enough_in_development(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(monkeypatch, DEVELOPMENT)
    assert (settings.environment, settings.port, settings.cookie_secure) == ("development", 8000, False)
    assert settings.graphql_ide
    assert settings.introspection


def test_production_is_closed_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(monkeypatch, PRODUCTION)
    assert settings.is_production
    assert settings.cookie_secure
    assert not settings.graphql_ide
    assert not settings.introspection


def test_everything_wrong_is_said_at_once_by_name_and_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = _refusal(monkeypatch, {"PORT": "eighty", "SESSION_SECRET": "short"})
    assert "MONGODB_URI is missing" in text
    assert "ROOT_DOMAIN is missing" in text
    assert "SESSION_SECRET is too short" in text
    assert config.MAKE_SECRET in text
    assert "PORT should be a valid integer" in text
    assert len(text.splitlines()) == 5


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("SESSION_SECRET", "a" * 64, "guessable"),
        ("SESSION_SECRET", "0123456789" * 5, "guessable"),
        ("SESSION_SECRET", "abcdefghijklmnopqrstuvwxyz0123456789", "guessable"),
        ("SESSION_SECRET", "change-me-" + GOOD_SECRET, "example"),
        ("SESSION_SECRET", "Pass_Word" + GOOD_SECRET, "common word"),
        ("SESSION_SECRET", GOOD_SECRET[:31], "32 characters"),
        ("MONGODB_URI", "postgres://127.0.0.1", "mongodb://"),
        ("MONGODB_URI", "mongodb://user:password@db.clinics.io/", "example"),
        ("MONGODB_DATABASE", "a b", "should match pattern"),
        ("ENVIRONMENT", "prod", "'development', 'test' or 'production'"),
        ("ROOT_DOMAIN", "https://clinics.io", "bare domain"),
        ("ROOT_DOMAIN", "clinics.io:8000", "bare domain"),
        ("ROOT_DOMAIN", "Clinics.io", "lower case"),
        ("ROOT_DOMAIN", ".clinics.io", "dot at the edge"),
        ("ROOT_DOMAIN", "localhost", "not one for production"),
        ("ROOT_DOMAIN", "clinics.example.com", "not one for production"),
        ("COOKIE_DOMAIN", "clinics.io", "must be .clinics.io"),
        ("COOKIE_DOMAIN", ".io", "must be .clinics.io"),
        ("COOKIE_DOMAIN", "", "is missing, and production needs it"),
        ("PREVIEW_DOMAIN", "preview.clinics.io", "outside ROOT_DOMAIN"),
        ("TRUSTED_PROXIES", "0.0.0.0/0", "every address in the world"),
        ("TRUSTED_PROXIES", "10.0.0.1,::/0", "every address in the world"),
        ("TRUSTED_PROXIES", "proxy.clinics.io", "network"),
        ("DEFAULT_TENANT", "north", "only with SINGLE_CLINIC=true"),
        ("GRAPHQL_IDE", "true", "must be off in production"),
        ("INTROSPECTION", "true", "must be off in production"),
        ("PORT", "0", "greater than or equal to 1"),
        ("WORKERS", "0", "greater than or equal to 1"),
        ("TIME_LIMIT_MS", "0", "greater than or equal to 100"),
    ],
)
def test_one_bad_value_stops_production(monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str) -> None:
    text = _refusal(monkeypatch, PRODUCTION | {name: value})
    assert f"{name} " in text
    assert complaint in text


def test_a_single_clinic_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    text = _refusal(monkeypatch, PRODUCTION | {"SINGLE_CLINIC": "true"})
    assert "DEFAULT_TENANT is missing" in text
    assert _load(monkeypatch, PRODUCTION | {"SINGLE_CLINIC": "true", "DEFAULT_TENANT": "north"}).single_clinic


def test_no_secret_shows_in_a_refusal_or_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = "hunter2-hunter2-hunter2-hunter2-hunter2"
    text = _refusal(monkeypatch, DEVELOPMENT | {"SESSION_SECRET": weak, "MONGODB_URI": "mysql://me:hush@db"})
    assert "hunter2" not in text
    assert "hush" not in text
    good = _load(monkeypatch, DEVELOPMENT | {"MONGODB_URI": "mongodb://me:hush@db/"})
    assert "hush" not in repr(good)
    assert GOOD_SECRET not in repr(good)


def test_proxies_are_listed_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(monkeypatch, DEVELOPMENT | {"TRUSTED_PROXIES": "10.0.0.5, 10.1.0.0/16,::1"})
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.5/32", "10.1.0.0/16", "::1/128"]


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=8111\nLOG_LEVEL=debug\nSESSION_DAYS=\n")
    settings = _load(monkeypatch, DEVELOPMENT | {"PORT": "8222"})
    assert (settings.port, settings.log_level, settings.session_days) == (8222, "debug", 7)


def test_a_misspelt_name_in_the_file_is_not_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SESION_DAYS=1\n")
    assert "SESION_DAYS is not a setting" in _refusal(monkeypatch, DEVELOPMENT)


def test_what_make_run_chose_is_seen_by_other_commands_but_never_in_production(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".data").mkdir()
    (tmp_path / ".data" / "dev.env").write_text("\n".join(f"{key}={DEVELOPMENT[key]}" for key in DEVELOPMENT))
    assert load_settings().root_domain == "localhost"
    without = {name: value for name, value in PRODUCTION.items() if name not in ("MONGODB_URI", "SESSION_SECRET")}
    text = _refusal(monkeypatch, without)
    assert "MONGODB_URI is missing" in text
    assert "SESSION_SECRET is missing" in text


def test_settings_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    get_settings.cache_clear()
    try:
        for name, value in DEVELOPMENT.items():
            monkeypatch.setenv(name, value)
        first = get_settings()
        monkeypatch.setenv("PORT", "8333")
        assert get_settings() is first
    finally:
        get_settings.cache_clear()


@given(st.integers(min_value=24, max_value=64))
def test_random_secrets_are_accepted(size: int) -> None:
    assert secret_weakness(secrets.token_urlsafe(size)) is None
    assert secret_weakness(secrets.token_hex(size)) is None


@given(st.text("abcdef0123456789", min_size=1, max_size=5), st.integers(min_value=7, max_value=40))
def test_a_repeated_piece_is_refused_however_long(piece: str, times: int) -> None:
    assert secret_weakness(piece * times) is not None


def test_the_example_file_names_every_setting_with_its_default() -> None:
    assert PATH.read_text() == render(), "run make schema"


def test_the_example_file_alone_starts_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(PATH.read_text())
    text = _refusal(monkeypatch, {})
    assert text.count(" is missing") == 3
    assert len(text.splitlines()) == 4


def test_a_line_that_is_no_setting_is_refused_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PORT=8001\nthis is no setting\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigurationError, match=r"\.env cannot be read at line 2"):
        load_settings()
