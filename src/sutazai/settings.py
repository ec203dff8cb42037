"""Every setting: an environment variable `SUTAZAI_*`, a line of `.env`, or a flag."""

import ipaddress
import json
import os
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sutazai.errors import Detail, ErrorCode, SutazaiError

_PREFIX = "SUTAZAI_"
_CLIENT_VARIABLES = ("SUTAZAI_URL", "SUTAZAI_TOKEN", "SUTAZAI_API_KEY")
# Each counts for a minute, so that many may have to be remembered at a time.
_MOST_A_MINUTE = 1_000_000
OFF = "off"
"""What `llm_url` says to have no language model looked for."""
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class DeprecatedVersion(BaseModel):
    """What the users of a version of the HTTP API are told; a day begins at midnight UTC."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    deprecated: date
    sunset: date | None = None
    migration_guide: HttpUrl

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.sunset is not None and self.sunset < self.deprecated:
            raise ValueError("sunset must not be before deprecated")
        return self


class ModelPrice(BaseModel):
    """USD for a million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class ModelBudget(BaseModel):
    """Tokens, in and out together, and USD."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: int | None = Field(None, ge=0)
    cost: float | None = Field(None, ge=0)


class Settings(BaseSettings):
    """What is in force; each field's description is what `sutazai config` prints."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(10010, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    data_dir: Path = Field(Path(".sutazai"), description="where the state lives")
    workspace: Path = Field(Path(), description="the directory whose code agents may read")
    agents: bool = Field(True, description="run the built-in agents in this process")
    database_url: SecretStr | None = Field(
        None, description="postgresql://…; without it SQLite in the data directory"
    )
    redis_url: SecretStr | None = Field(
        None,
        description="redis://… or rediss://…, to publish events and share rate limits between "
        "processes; without it both stay in this process",
    )
    rate_limits: bool = Field(True, description="limit requests a minute; off lets everything in")
    rate_limit_requests: int = Field(
        100, ge=1, le=_MOST_A_MINUTE, description="requests a minute of a user, or of an address"
    )
    rate_limit_requests_premium: int = Field(
        1000, ge=1, le=_MOST_A_MINUTE, description="the same, of a user of the tier premium"
    )
    rate_limit_requests_agent: int = Field(
        6000, ge=1, le=_MOST_A_MINUTE, description="the same, of an agent from outside"
    )
    rate_limit_tasks_free: int = Field(
        10, ge=1, le=_MOST_A_MINUTE, description="tasks a minute of a user of the tier free"
    )
    rate_limit_tasks_standard: int = Field(
        100, ge=1, le=_MOST_A_MINUTE, description="the same, of the tier standard"
    )
    rate_limit_tasks_premium: int = Field(
        1000, ge=1, le=_MOST_A_MINUTE, description="the same, of the tier premium"
    )
    jwt_secret: SecretStr | None = Field(
        None, description="signs tokens, 32 bytes or more; generated into the data directory"
    )
    admin_password: SecretStr | None = Field(
        None, description="the first admin's password; generated and shown once"
    )
    log_level: str = Field("WARNING", description="DEBUG, INFO, WARNING or ERROR")
    log_format: Literal["json", "text"] | None = Field(
        None, description="json or text; text on a terminal and json elsewhere unless set"
    )
    otlp_endpoint: HttpUrl | None = Field(
        None,
        description="an OpenTelemetry collector's URL (OTLP over HTTP, such as "
        "http://localhost:4318) that traces are sent to; needs sutazai[otel]",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="origins, comma-separated, whose pages may call the API"
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="addresses, comma-separated, whose X-Forwarded-For is believed"
    )
    # Not the newest version: its users would have nothing to move to.
    deprecated_versions: Annotated[dict[Literal["1.0"], DeprecatedVersion], NoDecode] = Field(
        default_factory=dict,
        description='versions of the HTTP API on their way out, as JSON: {"1.0": {"deprecated": '
        '"2026-12-31", "sunset": "2027-06-30", "migration_guide": "https://…"}}',
    )
    public_url: HttpUrl | None = Field(
        None, description="where users reach this server; begins the links in callbacks"
    )
    callback_allow: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="networks, comma-separated, that callbacks may reach beside the public "
        "internet, such as 10.1.0.0/16",
    )
    schedules_per_user: int = Field(
        100, ge=0, le=10_000, description="how many schedules a user may have"
    )
    events_keep_days: float = Field(
        30, gt=0, description="how long events and the log of callbacks are kept"
    )
    tasks_keep_days: float | None = Field(
        None, gt=0, description="how long ended tasks are kept; for ever unless set"
    )
    llm_url: str | None = Field(
        None,
        description="a language model's server: Ollama's URL, or that of anything compatible with "
        "OpenAI; without it Ollama is looked for on this machine; off for none at all",
    )
    llm_provider: Literal["ollama", "openai", "anthropic"] | None = Field(
        None, description="ollama, openai or anthropic; guessed from the URL unless set"
    )
    llm_api_key: SecretStr | None = Field(None, description="the model server's key")
    llm_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="hosts, comma-separated, that SUTAZAI_LLM_URL may name; empty for any"
    )
    llm_model: str | None = Field(
        None, description="the model to use where the server lacks an agent's usual one"
    )
    llm_fallback_model: str | None = Field(
        None, description="the model to use where an agent's own is not there or fails"
    )
    llm_timeout_seconds: float = Field(
        120, gt=0, le=3600, description="how long one call of a model may take"
    )
    llm_task_seconds: float = Field(
        120, gt=0, le=3600, description="how long a model is asked about what one task found"
    )
    llm_concurrency: int = Field(
        4, ge=1, le=256, description="calls of a model at a time, by this process"
    )
    llm_retries: int = Field(2, ge=0, le=10, description="how often a failed call is repeated")
    llm_cache: bool = Field(True, description="keep a model's answers for equal questions")
    llm_prices: Annotated[dict[str, ModelPrice], NoDecode] = Field(
        default_factory=dict,
        description='USD for a million tokens, by model, * for all others, as JSON: {"large": '
        '{"input": 2.5, "output": 10}}; a model on this machine costs nothing',
    )
    llm_budgets: Annotated[dict[Literal["task", "agent", "user", "day"], ModelBudget], NoDecode] = (
        Field(
            default_factory=dict,
            description="what models may use, of a task, and of an agent, a user and all together "
            'on a day (UTC), as JSON: {"task": {"tokens": 20000}, "day": {"cost": 5}}',
        )
    )
    llm_record: Path | None = Field(
        None, description="a file that exchanges with models are appended to, without secrets"
    )
    llm_replay: Path | None = Field(
        None, description="such a file, to answer from it instead of asking a model"
    )
    analysis_processes: int = Field(
        default_factory=lambda: max(1, min(4, os.cpu_count() or 1)),
        ge=1,
        le=64,
        description="worker processes for analysis, started when first needed",
    )
    advisory_database: Path | None = Field(
        None,
        description="a file of known vulnerabilities in the OSV format (an export for PyPI: zip, "
        "JSON list or JSON lines) that dependency audits look into",
    )
    repository_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        ("bitbucket.org", "codeberg.org", "github.com", "gitlab.com"),
        description="hosts, comma-separated, whose repositories tasks may name; * for every public "
        "one",
    )
    repository_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="folders, comma-separated, below which tasks may name repositories (file://)",
    )
    repository_allow: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="networks, comma-separated, that repositories may be fetched from beside the "
        "public internet",
    )
    repository_certificates: Path | None = Field(
        None, description="a file of certificates to trust for repositories, not the system's"
    )
    repository_megabytes: int = Field(
        200, ge=1, le=100_000, description="how much one repository may hold"
    )
    repository_seconds: float = Field(
        120, gt=0, le=3600, description="how long fetching one may take"
    )
    lease_seconds: float = Field(
        10, ge=1, le=3600, description="how soon a silent worker's task runs elsewhere"
    )
    drain_seconds: float = Field(
        10, ge=0, le=3600, description="how long running tasks may finish at shutdown"
    )

    @field_validator(
        "cors_origins",
        "trusted_proxies",
        "callback_allow",
        "llm_allowed_hosts",
        "repository_hosts",
        "repository_roots",
        "repository_allow",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("deprecated_versions", "llm_prices", "llm_budgets", mode="before")
    @classmethod
    def _decode(cls, value: object) -> object:
        if isinstance(value, str):
            try:
                return json.loads(value)
            except ValueError as error:
                raise ValueError(f"must be JSON: {error}") from None
        return value

    @field_validator("trusted_proxies", "callback_allow", "repository_allow")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            ipaddress.ip_network(address)
        return value

    @field_validator("log_level")
    @classmethod
    def _is_level(cls, value: str) -> str:
        if value.upper() not in _LOG_LEVELS:
            raise ValueError("must be one of " + ", ".join(_LOG_LEVELS))
        return value.upper()

    @field_validator("jwt_secret")
    @classmethod
    def _is_long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < 32:
            raise ValueError("must be 32 bytes or longer; leave it out to have one generated")
        return value

    @field_validator("data_dir", "workspace", "advisory_database", "repository_certificates")
    @classmethod
    def _is_path(cls, value: Path | None) -> Path | None:
        if "\0" in str(value):
            raise ValueError("a path cannot hold a NUL character")
        return value

    @field_validator("llm_url")
    @classmethod
    def _is_model_server(cls, value: str | None) -> str | None:
        if value is None or value == OFF:
            return value
        try:
            parts = urlsplit(value)
            fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            fine = False
        # Not the value: whoever puts a key into it wants it nowhere else.
        if not fine or "@" in value or "?" in value or "#" in value:
            raise ValueError(
                "must look like http://localhost:11434 or https://host/v1, with the key in "
                "SUTAZAI_LLM_API_KEY, or be off"
            )
        return value

    @model_validator(mode="after")
    def _names_an_allowed_host(self) -> Self:
        if self.llm_allowed_hosts and self.llm_url not in (None, OFF):
            host = urlsplit(str(self.llm_url)).hostname or ""
            if host not in {one.lower() for one in self.llm_allowed_hosts}:
                raise ValueError(
                    f"SUTAZAI_LLM_URL names {host}, which SUTAZAI_LLM_ALLOWED_HOSTS does not list"
                )
        return self

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            scheme = value.get_secret_value().split("://", 1)[0]
            if scheme not in ("postgresql", "postgres", "postgresql+asyncpg"):
                raise ValueError("must begin with postgresql://; SQLite needs no URL")
            try:
                _ = urlsplit(value.get_secret_value()).port
            except ValueError:
                # Not its own text: that may quote the password.
                raise ValueError(
                    "must look like postgresql://user:password@host:5432/database, with special "
                    "characters of the password percent-encoded"
                ) from None
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            # Not the parser's own text: that may quote the password.
            try:
                parts = urlsplit(value.get_secret_value())
                fine = parts.scheme == "unix" or parts.port != 0
                fine = fine and bool(parts.path if parts.scheme == "unix" else parts.hostname)
            except ValueError:
                fine = False
            if not fine or parts.scheme not in ("redis", "rediss", "unix"):
                raise ValueError(
                    "must look like redis://user:password@host:6379/0, with rediss:// for TLS or "
                    "unix:///path for a socket, and special characters of the password "
                    "percent-encoded"
                )
        return value


class InForce(NamedTuple):
    """One setting as `sutazai config` shows it; a secret's value is masked."""

    name: str
    value: str
    source: str
    description: str


def load(**flags: Any) -> Settings:
    """The settings, flags over environment over `.env` over defaults.

    VALIDATION_ERROR with a detail a wrong value; the detail's field is the variable's name.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except (UnicodeDecodeError, OSError) as error:
        raise SutazaiError(
            ErrorCode.VALIDATION_ERROR,
            f"The file .env in this folder cannot be read: {error}. Save it as UTF-8 text that "
            "this user may read.",
        ) from error
    except ValidationError as error:
        details = []
        for problem in error.errors(include_url=False, include_input=False):
            name = str(problem["loc"][0]) if problem["loc"] else "settings"
            inner = ".".join(map(str, problem["loc"][1:]))
            message = problem["msg"].removeprefix("Value error, ")
            message = f"{inner}: {message}" if inner else message
            details.append(Detail(_PREFIX + name.upper(), message))
        summary = "; ".join(f"{field}: {message}" for field, message in details)
        raise SutazaiError(
            ErrorCode.VALIDATION_ERROR, f"A setting is wrong. {summary}", details=details
        ) from None


def in_force(settings: Settings, **flags: Any) -> list[InForce]:
    """Every setting with where its value came from."""
    in_file, in_environment = _named_in_file(), _named_in_environment()
    rows = []
    for name, field in Settings.model_fields.items():
        variable = _PREFIX + name.upper()
        if flags.get(name) is not None:
            source = "flag"
        elif variable in in_environment:
            source = "environment"
        elif variable in in_file:
            source = ".env"
        else:
            source = "default"
        value = getattr(settings, name)
        if isinstance(value, tuple):
            value = ",".join(map(str, value))
        elif isinstance(value, dict):
            value = json.dumps(settings.model_dump(mode="json")[name]) if value else ""
        shown = "" if value is None else _written(value)
        rows.append(InForce(variable, shown, source, field.description or ""))
    return rows


def variables() -> list[str]:
    """Every variable that is a setting of the server."""
    return [_PREFIX + name.upper() for name in Settings.model_fields]


class Slip(NamedTuple):
    """What looks like a setting and is none, and what to do about it."""

    problem: str
    remedy: str


def slips() -> list[Slip]:
    """The misspelt settings in the environment and in `.env`."""
    known = {*variables(), *_CLIENT_VARIABLES}
    given = _named_in_file() | _named_in_environment()
    found = []
    for name in sorted(given - known):
        if name.startswith(_PREFIX):
            nearest = get_close_matches(name, variables(), n=1)
            remedy = (
                f"Do you mean {nearest[0]}?" if nearest else "sutazai config lists those there are."
            )
            found.append(Slip(f"{name} is set, but there is no such setting", remedy))
    return found


def _named_in_file() -> set[str]:
    return {key.upper() for key in dotenv_values(".env")}


def _named_in_environment() -> set[str]:
    return {key.upper() for key in os.environ}


def _written(value: object) -> str:
    """As one would write it into the environment."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
