"""The settings: one typed class, read once; the process refuses to start on a missing or weak value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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

from app.addresses import (
    PAYPAL,
    PAYPAL_SANDBOX,
    blob_url_fault,
    jobs_url_fault,
    mail_from_fault,
    mail_url_fault,
    paypal_url_fault,
    sms_url_fault,
)
from app.cores import available_cores
from app.plans import PLANS, BillingCycle, PlanName

MOST_WORKERS = 64
PROJECT_ROOT = Path(__file__).resolve().parent.parent

MAKE_SECRET = 'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
_HINTS = {
    "MONGODB_URI": (
        "give your replica set, for instance mongodb://127.0.0.1:27017/?replicaSet=rs0; in development "
        "make run starts one and tells it to the other commands while it runs"
    ),
    "SESSION_SECRET": f"make one with: {MAKE_SECRET}",
    "AUDIT_SECRET": f"make one with: {MAKE_SECRET}",
    "ENCRYPTION_KEY": f"make one with: {MAKE_SECRET}",
    "CRON_SECRET": f"make one with: {MAKE_SECRET}",
    "METRICS_SECRET": f"make one with: {MAKE_SECRET}",
    "INSTALL_SECRET": f"make one with: {MAKE_SECRET}",
    "KMS_TOKEN": "give a token that may use the key of KMS_URL for encrypt and decrypt",
    "ROOT_DOMAIN": "give the domain whose subdomains are the clinics; in development: localhost",
    "COOKIE_DOMAIN": "give ROOT_DOMAIN with a dot before it",
    "MAIL_URL": "give your mail server, for instance smtps://user:password@mail.your-domain.org",
    "TRUSTED_PROXIES": "give addresses or networks separated by commas, for instance 10.0.0.5,10.1.0.0/16",
}

_SECRET_MIN_LENGTH = 32
_COMMON_WORDS = ("changeme", "changethis", "password", "secret", "example", "polyclinic", "default", "qwerty")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_KMS_URL = re.compile(r"vault\+https?://[A-Za-z0-9.-]+(:\d{1,5})?(/[A-Za-z0-9_-]+)+/keys/[A-Za-z0-9_.-]+")
_RESERVED_DOMAIN = re.compile(r"(.*\.)?(localhost|test|invalid|local|example|example\.(com|net|org))")
_PAYPAL_PLAN = re.compile(r"P-[A-Z0-9]{1,40}")
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
    session_secrets_old: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        repr=False,
        description=(
            "Earlier values of SESSION_SECRET, separated by commas, the newest first: tokens that they signed stay "
            "good, and none is signed by them. `python -m scripts.rotate_session_key` says how to rotate."
        ),
    )
    audit_secret: SecretStr = Field(
        description=(
            "Keys the chain of each clinic's audit log, as SESSION_SECRET is made. Whoever has it can forge the log, "
            "and without it nobody can verify it: keep it apart from the database and never lose it.\n"
            "Empty: `make run` makes and keeps its own."
        )
    )
    audit_secrets_old: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        repr=False,
        description="Earlier values of AUDIT_SECRET, separated by commas: the entries that they keyed stay verifiable.",
    )
    kms_url: str | None = Field(
        None,
        description=(
            "A key service that wraps the clinics' data keys, by HashiCorp Vault's Transit protocol: "
            "vault+https://HOST/transit/keys/NAME. Empty: ENCRYPTION_KEY wraps them."
        ),
    )
    kms_token: SecretStr | None = Field(None, description="The token for KMS_URL. Required by it.")
    encryption_key: SecretStr | None = Field(
        None,
        description=(
            "Wraps the clinics' data keys, under which sensitive fields are encrypted: as strong as SESSION_SECRET, "
            "and another one. Losing it loses those fields. Required unless KMS_URL is set. Make one with:\n"
            f"{MAKE_SECRET}\n"
            "Empty: `make run` makes and keeps its own."
        ),
    )
    encryption_keys_old: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description=(
            "Former values of ENCRYPTION_KEY, separated by commas, until `python -m scripts.rotate_keys --master` "
            "has rewrapped the data keys under the present one."
        ),
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
    workers: int = Field(
        default_factory=lambda: min(available_cores(), MOST_WORKERS),
        ge=1,
        le=MOST_WORKERS,
        description=(
            "Server processes, of 120 MB or so each. Empty: one for each processor core that may be used here; a "
            "container's limit counts."
        ),
    )
    data_dir: Path = Field(Path(".data"), description="Where `make run` keeps the local database and its own secrets.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least level logged.")
    session_days: int = Field(7, ge=1, le=30, description="Days until a session ends, however much it is used.")
    session_idle_minutes: int = Field(
        720, ge=5, le=10_080, description="Minutes without a request after which a session ends."
    )
    patient_session_hours: int = Field(
        12, ge=1, le=168, description="Hours until a patient's session ends, however much it is used."
    )
    patient_idle_minutes: int = Field(
        30, ge=5, le=1_440, description="Minutes without a request after which a patient's session ends."
    )
    allow_onboarding: bool = Field(True, description="Whether anybody may open a clinic over HTTP.")
    time_limit_ms: int = Field(
        10_000, ge=100, le=60_000, description="Milliseconds that one database operation may take."
    )
    max_body_bytes: int = Field(
        1_048_576, ge=1_024, le=67_108_864, description="The largest request body that is read, in bytes."
    )
    cost_per_clinic: int = Field(
        5_000_000,
        ge=1_000,
        le=10**12,
        description=(
            "Points that the queries of one clinic's people may cost in a minute, and once more so many those of its "
            "visitors and patients. A point is a field of the answer."
        ),
    )
    cost_per_person: int = Field(
        500_000, ge=1_000, le=10**12, description="Points that the queries of one person may cost in a minute."
    )
    cost_per_address: int = Field(
        250_000,
        ge=1_000,
        le=10**12,
        description="Points that the queries of visitors and patients from one address may cost in a minute.",
    )
    graphql_concurrency: int = Field(
        32,
        ge=1,
        le=1_000,
        description=(
            "Places for the operations that one process runs at once, one for each 400 points that they cost; one "
            "clinic has three quarters of them at most."
        ),
    )
    graphql_queue: int = Field(
        256,
        ge=1,
        le=10_000,
        description="Operations of one clinic that may wait in one process; more are refused at once.",
    )
    persisted_queries: Literal["off", "automatic", "required"] = Field(
        "automatic",
        description=(
            "Documents by their hash. automatic: clients send a document once and its hash from then on. required: "
            "only documents run that `python -m scripts.register_queries` registered. off: none are kept."
        ),
    )
    compiled_execution: bool = Field(
        True,
        description=(
            "Whether operations are compiled once and run by their plan. Off: graphql-core runs them, with the same "
            "answers and several times the work; for comparison."
        ),
    )
    graphql_ide: bool = Field(
        default_factory=lambda data: data.get("environment") == "development",
        description="The query page at /graphql. Empty: on in development only. Refused in production.",
    )
    introspection: bool = Field(
        default_factory=lambda data: data.get("environment") == "development",
        description="Clients may read the schema. Empty: in development only. Refused in production.",
    )

    loopback_providers: bool = Field(
        False,
        description=(
            "Whether clinics' identity providers may run on this machine, without TLS too: for development and tests. "
            "Refused in production."
        ),
    )
    mail_url: SecretStr | None = Field(
        None,
        description=(
            "How mail goes out: smtp://user:password@host:587 (with STARTTLS) or smtps://user:password@host:465, "
            "reserved characters percent-encoded; file:FOLDER writes .eml files instead, not in production. "
            "Required in production. Empty: file:DATA_DIR/mail."
        ),
    )
    mail_from: str | None = Field(None, description="The address that mail comes from. Empty: no-reply@ROOT_DOMAIN.")
    sms_url: SecretStr | None = Field(
        None,
        description=(
            "How text messages go out: twilio://SID:TOKEN@+12125550100 (?base=https://… for another host), or "
            "file:FOLDER, not in production. Empty: file:DATA_DIR/sms, and none in production."
        ),
    )

    blob_url: SecretStr | None = Field(
        None,
        description=(
            "Where files are kept: file:FOLDER, s3://KEY:SECRET@BUCKET/PREFIX?region=… (&endpoint=https://… for "
            "another host that speaks S3), gs://BUCKET/PREFIX?credentials=FILE, or az://ACCOUNT:KEY@CONTAINER/PREFIX. "
            "Without a key in it, the machine's own rights count. Several machines need one place. "
            "Empty: file:DATA_DIR/blobs."
        ),
    )
    max_upload_bytes: int = Field(
        26_214_400, ge=1_024, le=1_073_741_824, description="The largest file that is taken, in bytes."
    )
    storage_per_clinic: int | None = Field(
        None, ge=1_024, le=10**15, description="Bytes of files that each clinic may keep. Empty: what its plan gives."
    )

    outbox_seconds: int = Field(
        1,
        ge=0,
        le=3_600,
        description="Seconds between two looks for messages to send. 0: this process sends none, another one does.",
    )
    lab_inbox_seconds: int = Field(
        15,
        ge=0,
        le=3_600,
        description=(
            "Seconds between two looks for laboratory reports that were stored and not handled. 0: this process looks "
            "for none, another one or the job retry-lab-inbox does."
        ),
    )
    jobs_url: SecretStr | None = Field(
        None,
        description=(
            "A Redis through whose streams the parts of jobs go: redis://user:password@host:6379/0, rediss://… with "
            "TLS. `python -m scripts.worker`, on any number of machines, then does them and keeps the schedule. "
            "Only ids go through it. Empty: the server's processes do both beside the requests."
        ),
    )
    jobs_seconds: int = Field(
        15,
        ge=0,
        le=3_600,
        description=(
            "Seconds between two looks for jobs that are due by the schedule, in a worker and, without JOBS_URL, in "
            "each server process. 0: this process looks for none; another one, or a scheduler of yours, does."
        ),
    )
    subscriptions: bool = Field(
        default_factory=lambda data: not data.get("single_clinic", False),
        description=(
            "Whether clinics need a plan: without one that has not ended they can read, export and pay. Off: each has "
            "all of the largest plan, without an end. Empty: on, and off with SINGLE_CLINIC."
        ),
    )
    paypal_url: str = Field(
        PAYPAL,
        description=(
            f"Where PayPal is: {PAYPAL}, its sandbox {PAYPAL_SANDBOX}, or a simulator on this machine, not in "
            "production. docs/paypal.md tells how to set it up."
        ),
    )
    paypal_client_id: str | None = Field(
        None,
        description="The client id of the app at PayPal. Empty: clinics cannot pay their plans by PayPal here.",
    )
    paypal_client_secret: SecretStr | None = Field(
        None, description="The secret of that app. Required by PAYPAL_CLIENT_ID."
    )
    paypal_webhook_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9-]{1,50}$",
        description="The id of the app's webhook, whose events are believed. Required by PAYPAL_CLIENT_ID.",
    )
    paypal_verification: Literal["certificate", "postback"] = Field(
        "certificate",
        description=(
            "How PayPal's events are proven. certificate: by their signature and PayPal's certificate. postback: "
            "PayPal is asked about each."
        ),
    )
    paypal_roots: Path | None = Field(
        None,
        description=(
            "A PEM file with the roots that count for the certificate of events, for a simulator. Refused in "
            "production and for PayPal itself. Empty: the public ones."
        ),
    )
    paypal_plans: Annotated[Mapping[str, str], NoDecode] = Field(
        default_factory=dict,
        description=(
            "The plans at PayPal by which plans here renew themselves, as PLAN-CYCLE=ID separated by commas: "
            "basic-monthly=P-…,basic-yearly=P-…. Empty: clinics pay each cycle by hand."
        ),
    )
    paypal_inbox_seconds: int = Field(
        5,
        ge=0,
        le=3_600,
        description=(
            "Seconds between two looks for events of PayPal that were stored and not handled. 0: this process looks "
            "for none, another one or the job retry-paypal-events does."
        ),
    )
    push_key: SecretStr | None = Field(
        None,
        description=(
            "The private key by which push services know this system (VAPID): 32 bytes of a P-256 key. Make one with:\n"
            'python3 -c "import secrets; print(secrets.token_urlsafe(32))"\n'
            "Empty: nothing is pushed to browsers. Another key makes all browsers subscribe anew."
        ),
    )
    export_passphrase: SecretStr | None = Field(
        None,
        description=(
            "What exports of clinics are sealed under, those that a deletion makes among them, made as SESSION_SECRET "
            "is. Keep it for as long as the exports. Empty: the commands ask for --passphrase-file or --plain."
        ),
    )
    cron_secret: SecretStr | None = Field(
        None,
        description=(
            "What a scheduler sends as `Authorization: Bearer …` to /api/cron/JOB, made as SESSION_SECRET is. Empty: "
            "nobody can start jobs over HTTP; `python -m scripts.cron JOB` needs no secret."
        ),
    )
    metrics_secret: SecretStr | None = Field(
        None,
        description=(
            "What Prometheus sends as `Authorization: Bearer …` to /metrics, made as SESSION_SECRET is. Empty: there "
            "is no /metrics."
        ),
    )
    install_secret: SecretStr | None = Field(
        None,
        description=(
            "What the installer sends as `Authorization: Bearer …` to /api/install, made as SESSION_SECRET is. "
            "Empty: nobody can install over HTTP. Take it away once the system is installed."
        ),
    )

    @property
    def mail_target(self) -> str:
        """The `MAIL_URL` that counts."""
        return self.mail_url.get_secret_value() if self.mail_url else f"file:{self.data_dir / 'mail'}"

    @property
    def mail_sender(self) -> str:
        """The `MAIL_FROM` that counts."""
        return self.mail_from or f"no-reply@{self.root_domain}"

    @property
    def sms_target(self) -> str | None:
        """The `SMS_URL` that counts; None when no text messages can be sent."""
        if self.sms_url:
            return self.sms_url.get_secret_value()
        return None if self.is_production else f"file:{self.data_dir / 'sms'}"

    @property
    def blob_target(self) -> str:
        """The `BLOB_URL` that counts."""
        return self.blob_url.get_secret_value() if self.blob_url else f"file:{self.data_dir / 'blobs'}"

    @property
    def session_ring(self) -> tuple[SecretStr, ...]:
        """Every secret of sessions that is read by, the one that signs first."""
        return (self.session_secret, *self.session_secrets_old)

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

    @field_validator("session_secret", "audit_secret")
    @classmethod
    def _secret_is_strong(cls, value: SecretStr) -> SecretStr:
        if weakness := secret_weakness(value.get_secret_value()):
            raise ValueError(weakness)
        return value

    @field_validator("session_secrets_old")
    @classmethod
    def _old_session_secrets_are_strong(
        cls, value: tuple[SecretStr, ...], info: ValidationInfo
    ) -> tuple[SecretStr, ...]:
        for secret in value:
            if weakness := secret_weakness(secret.get_secret_value()):
                raise ValueError(weakness)
        if info.data.get("session_secret") in value:
            raise ValueError("holds the present SESSION_SECRET: only earlier ones belong here")
        return value

    @field_validator("cron_secret", "metrics_secret", "install_secret")
    @classmethod
    def _bearer_secret_is_strong_and_its_own(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            return None
        if weakness := secret_weakness(value.get_secret_value()):
            raise ValueError(weakness)
        others = ("session_secret", "audit_secret", "encryption_key", "cron_secret", "metrics_secret")
        if value in [info.data.get(name) for name in others if name != info.field_name]:
            raise ValueError("must be another one than the other secrets")
        return value

    @field_validator("export_passphrase")
    @classmethod
    def _export_passphrase_is_strong(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and (weakness := secret_weakness(value.get_secret_value())):
            raise ValueError(weakness)
        return value

    @field_validator("kms_url")
    @classmethod
    def _kms_url_is_one(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        if not _KMS_URL.fullmatch(value):
            raise ValueError("must read vault+https://HOST/transit/keys/NAME, without user, password or query")
        if value.startswith("vault+http:") and info.data.get("environment") == "production":
            raise ValueError("must go over https in production")
        return value

    @field_validator("kms_token")
    @classmethod
    def _kms_token_goes_with_its_url(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("kms_url"):
            raise ValueError("is missing, and KMS_URL needs it")
        return value

    @field_validator("encryption_key")
    @classmethod
    def _encryption_key_is_strong(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            if info.data.get("kms_url"):
                return None
            raise ValueError("is missing")
        if weakness := secret_weakness(value.get_secret_value()):
            raise ValueError(weakness)
        if value in (info.data.get("session_secret"), info.data.get("audit_secret")):
            raise ValueError("must be another one than SESSION_SECRET and AUDIT_SECRET")
        return value

    @field_validator("encryption_keys_old", mode="before")
    @classmethod
    def _old_keys_at_commas(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

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

    @field_validator("trusted_proxies", "audit_secrets_old", "session_secrets_old", mode="before")
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

    @field_validator("mail_url", "sms_url")
    @classmethod
    def _address_can_be_used(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        production = info.data.get("environment") == "production"
        if value is None:
            if production and info.field_name == "mail_url":
                raise ValueError("is missing, and production needs it")
            return None
        url = value.get_secret_value()
        if fault := (mail_url_fault if info.field_name == "mail_url" else sms_url_fault)(url):
            raise ValueError(fault)
        if production and url.startswith("file:"):
            raise ValueError("must not leave messages in files in production")
        return value

    @field_validator("push_key")
    @classmethod
    def _push_key_is_one(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9_-]{43}", value.get_secret_value()):
            raise ValueError("must be 32 bytes as base64url: 43 letters, digits, - and _")
        return value

    @field_validator("blob_url")
    @classmethod
    def _files_can_be_kept_there(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and (fault := blob_url_fault(value.get_secret_value())):
            raise ValueError(fault)
        return value

    @field_validator("jobs_url")
    @classmethod
    def _parts_can_go_through_it(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        if fault := jobs_url_fault(value.get_secret_value()):
            raise ValueError(fault)
        if _EXAMPLE_CREDENTIALS.search(value.get_secret_value()):
            raise ValueError("carries the user and password of an example")
        return value

    @field_validator("paypal_url")
    @classmethod
    def _paypal_can_be_called(cls, value: str, info: ValidationInfo) -> str:
        if fault := paypal_url_fault(value):
            raise ValueError(fault)
        if info.data.get("environment") == "production" and not value.startswith("https:"):
            raise ValueError("must be PayPal's own in production")
        return value

    @field_validator("paypal_client_secret", "paypal_webhook_id")
    @classmethod
    def _paypal_is_whole(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.data.get("paypal_client_id"):
            raise ValueError("is missing, and PAYPAL_CLIENT_ID needs it")
        return value

    @field_validator("paypal_roots")
    @classmethod
    def _only_a_simulator_brings_roots(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("environment") == "production":
            raise ValueError("must be empty in production: there the public roots count, and none of a simulator")
        if value is not None and str(info.data.get("paypal_url", "")).startswith("https:"):
            raise ValueError("is for a simulator alone, and PAYPAL_URL is PayPal")
        return value

    @field_validator("paypal_plans", mode="before")
    @classmethod
    def _paypal_plans_by_name(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
        return {name.strip(): id.strip() for name, _, id in pairs}

    @field_validator("paypal_plans")
    @classmethod
    def _paypal_plans_are_ours(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        known = {f"{plan}-{cycle}" for plan in PlanName for cycle in BillingCycle if cycle in PLANS[plan].prices}
        if unknown := sorted(value.keys() - known):
            raise ValueError(f"names {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
        if not all(_PAYPAL_PLAN.fullmatch(id) for id in value.values()):
            raise ValueError("must give PayPal's id of each plan, such as P-5ML4271244454362WXNWU5NQ")
        return value

    @field_validator("mail_from")
    @classmethod
    def _mail_from_is_an_address(cls, value: str | None) -> str | None:
        if value is not None and (fault := mail_from_fault(value)):
            raise ValueError(fault)
        return value

    @field_validator("graphql_ide", "introspection", "loopback_providers")
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
    root_domain: str = "localhost"
    paypal_client_id: str | None = None
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
