"""The settings: one typed class, read once; the process refuses to start on a missing or weak value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv.parser import parse_stream
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parent.parent

MAKE_SECRET = 'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
_HINTS = {
    "MONGODB_URI": (
        "give your replica set, for instance mongodb://127.0.0.1:27017/?replicaSet=rs0; in development "
        "make run starts one and tells it to the other commands while it runs"
    ),
    "SESSION_SECRET": f"make one with: {MAKE_SECRET}",
    "ROOT_DOMAIN": "give the domain whose subdomains are the clinics; in development: localhost",
    "COOKIE_DOMAIN": "give ROOT_DOMAIN with a dot before it",
    "TRUSTED_PROXIES": "give addresses or networks separated by commas, for instance 10.0.0.5,10.1.0.0/16",
}

_SECRET_MIN_LENGTH = 32
_COMMON_WORDS = ("changeme", "changethis", "password", "secret", "example", "polyclinic", "default", "qwerty")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_RESERVED_DOMAIN = re.compile(r"(.*\.)?(localhost|test|invalid|local|example|example\.(com|net|org))")
_EXAMPLE_CREDENTIALS = re.compile(r"://(user|username|admin|root):(pass|password|secret|changeme|change-me)@")


class ConfigurationError(Exception):
    """The settings do not allow a start. The text lists each wrong setting and the way to a good value."""


class Settings(BaseSettings):
    """All settings, by their environment names in upper case; `.env.example` explains each."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    environment: Literal["development", "test", "production"] = Field(
        "development", description="What this process is for. Production refuses every insecure choice below."
    )
    mongodb_uri: str = Field(
        repr=False,
        description="The MongoDB replica set or sharded cluster. Empty: `make run` starts a local one.",
    )
    mongodb_database: str = Field(
        "polyclinic", pattern=r"^[a-z][a-z0-9_-]{0,37}$", description="The shared database's name."
    )
    session_secret: SecretStr = Field(
        description=(
            "Signs the session tokens: at least 32 characters that nobody can guess. Make one with:\n"
            f"{MAKE_SECRET}\n"
            "Empty: `make run` makes and keeps its own."
        )
    )
    root_domain: str = Field(
        description="The domain whose subdomains are the clinics. Empty: `make run` takes localhost."
    )
    cookie_domain: str | None = Field(
        None,
        description=(
            "ROOT_DOMAIN with a dot before it, so that one sign-in serves a person's several clinics. "
            "Required in production; in development an empty value keeps the cookie on its own host."
        ),
    )
    preview_domain: str | None = Field(
        None, description="Hosts named {clinic}---{anything}.PREVIEW_DOMAIN show that clinic. Empty: none do."
    )
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (),
        description=(
            "Addresses or networks, separated by commas, whose X-Forwarded-* headers are believed. Empty: nobody's are."
        ),
    )
    single_clinic: bool = Field(False, description="One clinic owns the whole system: each host shows it.")
    default_tenant: str | None = Field(
        None,
        description="The subdomain of that one clinic. Required by SINGLE_CLINIC and refused without it.",
    )
    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(8000, ge=1, le=65535, description="The port to listen on.")
    workers: int = Field(1, ge=1, le=64, description="Server processes.")
    data_dir: Path = Field(Path(".data"), description="Where `make run` keeps the local database and its own secrets.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least level logged.")
    session_days: int = Field(7, ge=1, le=30, description="Days until a session ends, however much it is used.")
    allow_onboarding: bool = Field(True, description="Whether anybody may open a clinic over HTTP.")
    time_limit_ms: int = Field(
        10_000, ge=100, le=60_000, description="Milliseconds that one database operation may take."
    )
    max_body_bytes: int = Field(
        1_048_576, ge=1_024, le=67_108_864, description="The largest request body that is read, in bytes."
    )
    graphql_ide: bool = Field(
        default_factory=lambda data: data.get("environment") == "development",
        description="The query page at /graphql. Empty: on in development only. Refused in production.",
    )
    introspection: bool = Field(
        default_factory=lambda data: data.get("environment") == "development",
        description="Clients may read the schema. Empty: in development only. Refused in production.",
    )

    @property
    def is_production(self) -> bool:
        return self.environment == "production"

    @property
    def cookie_secure(self) -> bool:
        """Whether cookies are for https alone."""
        return self.is_production

    @field_validator("mongodb_uri")
    @classmethod
    def _mongodb_uri_is_real(cls, value: str) -> str:
        if not value.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("must start with mongodb:// or mongodb+srv://")
        if _EXAMPLE_CREDENTIALS.search(value):
            raise ValueError("carries the user and password of an example")
        return value

    @field_validator("session_secret")
    @classmethod
    def _session_secret_is_strong(cls, value: SecretStr) -> SecretStr:
        if weakness := secret_weakness(value.get_secret_value()):
            raise ValueError(weakness)
        return value

    @field_validator("root_domain", "preview_domain")
    @classmethod
    def _domain_is_a_name(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        if not _DOMAIN.fullmatch(value):
            raise ValueError("must be a bare domain in lower case: no scheme, port, path or dot at the edge")
        if info.data.get("environment") == "production" and _RESERVED_DOMAIN.fullmatch(value):
            raise ValueError("is a name for examples and tests, not one for production")
        return value

    @field_validator("preview_domain")
    @classmethod
    def _preview_domain_stands_apart(cls, value: str | None, info: ValidationInfo) -> str | None:
        root = info.data.get("root_domain")
        if value is not None and root is not None and (value == root or value.endswith(f".{root}")):
            raise ValueError("must lie outside ROOT_DOMAIN, or a preview host would be read as a clinic's")
        return value

    @field_validator("cookie_domain")
    @classmethod
    def _cookie_domain_covers_the_clinics(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("environment") == "production":
            raise ValueError("is missing, and production needs it")
        root = info.data.get("root_domain")
        if value is not None and root is not None and value != f".{root}":
            raise ValueError(f"must be .{root}")
        return value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _somebody_is_not_trusted(
        cls, value: tuple[IPv4Network | IPv6Network, ...]
    ) -> tuple[IPv4Network | IPv6Network, ...]:
        if any(network.prefixlen == 0 for network in value):
            raise ValueError("would trust every address in the world")
        return value

    @field_validator("default_tenant")
    @classmethod
    def _default_tenant_needs_single_clinic(cls, value: str | None, info: ValidationInfo) -> str | None:
        single = info.data.get("single_clinic")
        if value is not None and single is False:
            raise ValueError("is allowed only with SINGLE_CLINIC=true")
        if value is None and single is True:
            raise ValueError("is missing, and SINGLE_CLINIC=true needs it")
        return value

    @field_validator("graphql_ide", "introspection")
    @classmethod
    def _closed_in_production(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("environment") == "production":
            raise ValueError("must be off in production")
        return value


def secret_weakness(secret: str) -> str | None:
    """What makes `secret` guessable, or None when nothing is seen. The secret itself is never in the text."""
    if any(word in re.sub(r"[^a-z0-9]", "", secret.lower()) for word in _COMMON_WORDS):
        return "is an example or holds a common word"
    if len(secret) < _SECRET_MIN_LENGTH:
        return f"is too short: {_SECRET_MIN_LENGTH} characters at least"
    pairs = list(pairwise(secret))
    runs = sum(abs(ord(left) - ord(right)) <= 1 for left, right in pairs)
    if len(set(pairs)) < len(pairs) // 2 or runs > len(pairs) * 2 // 3:
        return "is guessable: it repeats itself or runs through the alphabet"
    return None


class Whereabouts(BaseSettings):
    """What must be known before the rest can be read. It cannot be wrong: `Settings` checks the values."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    environment: str = "development"
    data_dir: Path = Path(".data")

    @property
    def dev_env(self) -> Path:
        """The file in which `make run` leaves what it chose itself. Only development reads it."""
        return self.data_dir / "dev.env"


class StartSettings(Whereabouts):
    """What `make run` goes by until its database runs and all settings can be read."""

    mongodb_uri: str | None = Field(None, repr=False)
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)


def load_start_settings() -> StartSettings:
    """Reads the environment, then `.env`. Raises `ConfigurationError`."""
    with _explained():
        return StartSettings(_env_file=_env_files())


def load_settings() -> Settings:
    """Reads the environment, then `.env`, then in development what a running `make run` chose.

    Raises `ConfigurationError` naming every wrong setting at once.
    """
    where = Whereabouts(_env_file=_env_files())
    chosen = (where.dev_env,) if where.environment == "development" else ()
    with _explained():
        return Settings(_env_file=(*chosen, *_env_files()))


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """This process's settings, read at the first call. Raises `ConfigurationError`."""
    return load_settings()


def _env_files() -> tuple[Path, ...]:
    """A later file wins. Raises `ConfigurationError` for a line that is no setting: it would be passed over."""
    files = (PROJECT_ROOT / ".env", Path(".env"))
    for file in files:
        _check_lines(file)
    return files


def _check_lines(file: Path) -> None:
    if not file.is_file():
        return
    with file.open(encoding="utf-8") as lines:
        wrong = [str(found.original.line) for found in parse_stream(lines) if found.error]
    if wrong:
        raise ConfigurationError(f"{file} cannot be read at line {', '.join(wrong)}: write NAME=value.")


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        raise ConfigurationError(_explain(error.errors())) from None


def _explain(problems: list[ErrorDetails]) -> str:
    lines = ["Polyclinic cannot start; these settings (environment or .env) are wrong:"]
    for problem in problems:
        if problem["type"] == "default_factory_not_called":  # only says that another setting is wrong
            continue
        name = str(problem["loc"][0]).upper()
        hint = f"; {_HINTS[name]}" if name in _HINTS else ""
        lines.append(f"  {name} {_describe(problem)}{hint}")
    return "\n".join(lines)


def _describe(problem: ErrorDetails) -> str:
    match problem["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is not a setting: take it out of .env"
        case "value_error":
            return str(problem["ctx"]["error"])
        case _:
            text = problem["msg"].removeprefix("Input ")
            return text[:1].lower() + text[1:]
