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
GOOD_KEY = "Q7mZ2xLr9-VbN4cKt8_JwHy3sDfGp6uTeXa1oRi5"
DEVELOPMENT = {
    "MONGODB_URI": "mongodb://127.0.0.1:27017/?replicaSet=rs0",
    "SESSION_SECRET": GOOD_SECRET,
    "ENCRYPTION_KEY": GOOD_KEY,
    "AUDIT_SECRET": GOOD_SECRET[::-1],
    "ROOT_DOMAIN": "localhost",
}
PRODUCTION = DEVELOPMENT | {
    "ENVIRONMENT": "production",
    "ROOT_DOMAIN": "clinics.io",
    "COOKIE_DOMAIN": ".clinics.io",
    "MAIL_URL": "smtps://clinics:let-me-send@mail.clinics.io",
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


def test_roots_of_a_simulator_do_not_go_with_paypal_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "PAYPAL_ROOTS is for a simulator alone" in _refusal(
        monkeypatch, DEVELOPMENT | {"PAYPAL_ROOTS": "/etc/ssl/roots.pem"}
    )


def test_one_clinic_that_owns_the_system_needs_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _load(monkeypatch, DEVELOPMENT).subscriptions
    assert not _load(monkeypatch, DEVELOPMENT | {"SINGLE_CLINIC": "true", "DEFAULT_TENANT": "north"}).subscriptions


def test_the_sandbox_of_paypal_needs_settings_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(
        monkeypatch,
        DEVELOPMENT
        | {
            "PAYPAL_URL": "https://api-m.sandbox.paypal.com",
            "PAYPAL_CLIENT_ID": "app",
            "PAYPAL_CLIENT_SECRET": "whatever it is",
            "PAYPAL_WEBHOOK_ID": "7BS56736HU608525B",
            "PAYPAL_PLANS": "basic-monthly=P-5ML4271244454362WXNWU5NQ, pro-yearly=P-1",
        },
    )
    assert settings.paypal_plans == {"basic-monthly": "P-5ML4271244454362WXNWU5NQ", "pro-yearly": "P-1"}
    assert "whatever" not in repr(settings)


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
    assert len(text.splitlines()) == 7


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("SESSION_SECRET", "a" * 64, "guessable"),
        ("SESSION_SECRET", "0123456789" * 5, "guessable"),
        ("SESSION_SECRET", "abcdefghijklmnopqrstuvwxyz0123456789", "guessable"),
        ("SESSION_SECRET", "change-me-" + GOOD_SECRET, "example"),
        ("SESSION_SECRET", "Pass_Word" + GOOD_SECRET, "common word"),
        ("SESSION_SECRET", GOOD_SECRET[:31], "32 characters"),
        ("SESSION_SECRETS_OLD", GOOD_SECRET[:31], "32 characters"),
        ("SESSION_SECRETS_OLD", f"{GOOD_KEY},{GOOD_SECRET}", "only earlier ones belong here"),
        ("SESSION_IDLE_MINUTES", "1", "greater than or equal to 5"),
        ("ENCRYPTION_KEY", "", "is missing"),
        ("ENCRYPTION_KEY", "a" * 64, "guessable"),
        ("ENCRYPTION_KEY", GOOD_KEY[:31], "32 characters"),
        ("ENCRYPTION_KEY", "change-me-" + GOOD_KEY, "example"),
        ("ENCRYPTION_KEY", GOOD_SECRET, "another one than SESSION_SECRET"),
        ("ENCRYPTION_KEY", GOOD_SECRET[::-1], "another one than SESSION_SECRET and AUDIT_SECRET"),
        ("KMS_URL", "https://vault.clinics.io/transit/keys/data", "vault+https://"),
        ("KMS_URL", "vault+https://root:token@vault.clinics.io/transit/keys/data", "without user"),
        ("KMS_URL", "vault+http://vault.clinics.io/transit/keys/data", "over https in production"),
        ("KMS_URL", "vault+https://vault.clinics.io/data", "/transit/keys/NAME"),
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
        ("MAIL_URL", "", "is missing, and production needs it"),
        ("MAIL_URL", "file:/tmp/mail", "must not leave messages in files"),
        ("MAIL_URL", "http://user:hunter2@mail.clinics.io", "must be smtp://"),
        ("MAIL_URL", "smtp://mail.clinics.io:port", "must be smtp://"),
        ("MAIL_FROM", "Clinic <a@clinics.io>", "must be one bare e-mail address"),
        ("MAIL_FROM", "a@clinics.io\nBcc: b@clinics.io", "must be one bare e-mail address"),
        ("SMS_URL", "twilio://+15005550006", "must be twilio://SID:TOKEN@"),
        ("SMS_URL", "twilio://AC1:hunter2@+15005550006?base=http://evil.org", "must have a base that begins"),
        ("SMS_URL", "file:/tmp/sms", "must not leave messages in files"),
        ("PAYPAL_URL", "https://api.paypal.com.evil.org", "must be https://api-m.paypal.com"),
        ("PAYPAL_URL", "http://api-m.paypal.com", "a port of this machine"),
        ("PAYPAL_URL", "http://127.0.0.1:8001/api", "a port of this machine"),
        ("PAYPAL_URL", "http://127.0.0.1:8001", "must be PayPal's own in production"),
        ("PAYPAL_CLIENT_ID", "app", "PAYPAL_CLIENT_SECRET is missing, and PAYPAL_CLIENT_ID needs it"),
        ("PAYPAL_CLIENT_ID", "app", "PAYPAL_WEBHOOK_ID is missing, and PAYPAL_CLIENT_ID needs it"),
        ("PAYPAL_ROOTS", "/etc/ssl/roots.pem", "none of a simulator"),
        ("PAYPAL_PLANS", "gold-monthly=P-1", "names gold-monthly; there are: basic-monthly"),
        ("PAYPAL_PLANS", "trial-monthly=P-1", "names trial-monthly"),
        ("PAYPAL_PLANS", "basic-monthly=x", "must give PayPal's id of each plan"),
        ("PAYPAL_VERIFICATION", "none", "'certificate' or 'postback'"),
        ("OUTBOX_SECONDS", "-1", "greater than or equal to 0"),
        ("LAB_INBOX_SECONDS", "-1", "greater than or equal to 0"),
        ("JOBS_SECONDS", "-1", "greater than or equal to 0"),
        ("JOBS_URL", "http://queue.clinics.io", "must be redis://"),
        ("JOBS_URL", "redis://", "must be redis://"),
        ("JOBS_URL", "redis://queue.clinics.io/jobs", "must be redis://"),
        ("JOBS_URL", "redis://user:password@queue.clinics.io", "example"),
        ("CRON_SECRET", "a" * 64, "guessable"),
        ("CRON_SECRET", GOOD_SECRET, "another one than the other secrets"),
        ("CRON_SECRET", GOOD_KEY, "another one than the other secrets"),
        ("INSTALL_SECRET", GOOD_SECRET[:31], "32 characters"),
        ("INSTALL_SECRET", GOOD_SECRET[::-1], "another one than the other secrets"),
        ("INTROSPECTION", "true", "must be off in production"),
        ("LOOPBACK_PROVIDERS", "true", "must be off in production"),
        ("PORT", "0", "greater than or equal to 1"),
        ("WORKERS", "0", "greater than or equal to 1"),
        ("WORKERS", "65", "less than or equal to 64"),
        ("WORKERS", "all", "should be a valid integer"),
        ("TIME_LIMIT_MS", "0", "greater than or equal to 100"),
        ("COST_PER_CLINIC", "999", "greater than or equal to 1000"),
        ("COST_PER_PERSON", "0", "greater than or equal to 1000"),
        ("COST_PER_ADDRESS", "all", "should be a valid integer"),
        ("GRAPHQL_CONCURRENCY", "0", "greater than or equal to 1"),
        ("GRAPHQL_QUEUE", "0", "greater than or equal to 1"),
        ("PERSISTED_QUERIES", "on", "'off', 'automatic' or 'required'"),
    ],
)
def test_one_bad_value_stops_production(monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str) -> None:
    text = _refusal(monkeypatch, PRODUCTION | {name: value})
    assert f"{name} " in text
    assert complaint in text


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (6, 6), (200, 64)])
def test_there_is_a_server_process_for_each_core(monkeypatch: pytest.MonkeyPatch, cores: int, workers: int) -> None:
    monkeypatch.setattr("app.config.available_cores", lambda: cores)
    assert _load(monkeypatch, PRODUCTION).workers == workers
    assert _load(monkeypatch, PRODUCTION | {"WORKERS": "3"}).workers == 3


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
    assert text.count(" is missing") == 5
    assert len(text.splitlines()) == 6


def test_a_line_that_is_no_setting_is_refused_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PORT=8001\nthis is no setting\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigurationError, match=r"\.env cannot be read at line 2"):
        load_settings()


def test_in_development_messages_stay_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(monkeypatch, DEVELOPMENT)
    assert (settings.mail_target, settings.sms_target) == ("file:.data/mail", "file:.data/sms")
    assert settings.mail_sender == "no-reply@localhost"


def test_in_production_no_text_messages_are_sent_unless_a_way_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _load(monkeypatch, PRODUCTION).sms_target is None
    way = "twilio://AC1:hunter2@+15005550006"
    settings = _load(monkeypatch, PRODUCTION | {"SMS_URL": way})
    assert settings.sms_target == way
    assert "hunter2" not in repr(settings)


def test_a_key_service_takes_the_place_of_the_local_key(monkeypatch: pytest.MonkeyPatch) -> None:
    service = {"KMS_URL": "vault+https://vault.clinics.io:8200/team/transit/keys/data", "ENCRYPTION_KEY": ""}
    assert "KMS_TOKEN is missing" in _refusal(monkeypatch, PRODUCTION | service)
    settings = _load(monkeypatch, PRODUCTION | service | {"KMS_TOKEN": "hvs.a-token"})
    assert settings.encryption_key is None
    assert "hvs." not in repr(settings)


def test_former_session_secrets_are_read_by_after_the_present_one_and_shown_to_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    former = [GOOD_KEY[::-1], GOOD_KEY.swapcase()]
    settings = _load(monkeypatch, DEVELOPMENT | {"SESSION_SECRETS_OLD": f"{former[0]}, {former[1]},"})
    assert [one.get_secret_value() for one in settings.session_ring] == [GOOD_SECRET, *former]
    assert not [one for one in former if one in repr(settings)]


def test_former_encryption_keys_are_listed_with_commas_and_shown_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    former = [secrets.token_urlsafe(48) for _ in range(2)]
    settings = _load(monkeypatch, DEVELOPMENT | {"ENCRYPTION_KEYS_OLD": f"{former[0]}, {former[1]}"})
    assert [old.get_secret_value() for old in settings.encryption_keys_old] == former
    assert former[0] not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PATIENT_SESSION_HOURS", "0"), ("PATIENT_SESSION_HOURS", "169"), ("PATIENT_IDLE_MINUTES", "4")],
)
def test_patients_sessions_are_neither_endless_nor_useless(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    settings = _load(monkeypatch, DEVELOPMENT)
    assert (settings.patient_session_hours, settings.patient_idle_minutes) == (12, 30)
    assert name in _refusal(monkeypatch, DEVELOPMENT | {name: value})
