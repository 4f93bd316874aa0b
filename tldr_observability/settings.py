"""Every `LOGFIRE_*` variable that this package reads, checked.

A value comes from the argument of `setup()`, else from the environment, else from the preset of the deployment
environment (`PRESETS`), else from the field's default. The environment is read when the settings are made, not on
import. Variables of Logfire's own that are not listed here (`LOGFIRE_CONSOLE_COLORS`, ...) reach Logfire untouched.
"""

from __future__ import annotations

import difflib
import os
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from tldr_observability.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

__all__ = ["PRESETS", "ObservabilitySettings", "fits_in_a_header", "http_url_problem", "load", "preset_of"]

PRESETS: dict[str, dict[str, Any]] = {
    "development": {"console_enabled": True, "log_level": "debug", "capture_headers": True, "flush_interval": 1.0},
    "staging": {"console_enabled": False, "log_level": "debug", "capture_headers": True, "flush_interval": 5.0},
    "production": {"console_enabled": False, "log_level": "info", "capture_headers": False, "flush_interval": 5.0},
}
"""What a deployment environment changes. Every other environment name takes production's values."""

_HOST = re.compile(r"(?:\*\.)?[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]+)*|\[?[0-9A-Fa-f:]+\]?")
_ENVIRONMENT_NAMES = {"dev": "development", "local": "development", "stage": "staging", "prod": "production"}

LevelName = Literal["trace", "debug", "info", "notice", "warn", "warning", "error", "fatal"]


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _comma_list(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _if_token_present(value: object) -> object:
    return True if _lower(value) == "if-token-present" else value  # nothing is ever sent without one


def _variable(*names: str, **constraints: Any) -> Any:
    """Describe a field: the environment variables that it is read from, first found wins, and its bounds."""
    return Field(validation_alias=AliasChoices(*names), **constraints)


class _PresetSource(PydanticBaseSettingsSource):
    """The lowest source: what the chosen deployment environment sets."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Say nothing of single fields: `__call__` gives all at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the preset, under the fields' first alias."""
        state = self.current_state
        name = _environment_name(str(state.get("environment") or state.get("LOGFIRE_ENVIRONMENT") or "production"))
        return {key: value for key, value in preset_of(name).items() if not self._is_given(key)}

    def _is_given(self, name: str) -> bool:
        return any(key in self.current_state for key in (name, *_variables(name)))


class ObservabilitySettings(BaseSettings):
    """The settings of `setup()`, frozen and checked.

    `setup()` makes them and reports bad values as one `ConfigurationError`. Made by hand, `ObservabilitySettings(...)`
    takes the fields by name and raises pydantic's `ValidationError`.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_ignore_empty=True, populate_by_name=True, use_attribute_docstrings=True
    )

    enabled: bool = _variable("LOGFIRE_ENABLED", default=True)
    """Off means: no thread, no network, no spans, no metrics; decorators and middleware call straight through."""

    project_name: str | None = _variable("LOGFIRE_PROJECT_NAME", default=None, max_length=256)
    """The project that the service belongs to: the resource's `service.namespace`, and its `service.name` where
    `service_name` is not given."""

    token: SecretStr | None = _variable("LOGFIRE_TOKEN", default=None)
    """Logfire's write token, or several separated by commas to send to several projects. Without one nothing is sent to
    Logfire, and nothing fails."""

    api_key: SecretStr | None = _variable("LOGFIRE_API_KEY", default=None)
    """Logfire's API key. It serves as write token where `token` is not set, and is never sent to ingest where it is."""

    send_to_logfire: Annotated[bool, BeforeValidator(_if_token_present)] = _variable(
        "LOGFIRE_SEND_TO_LOGFIRE", default_factory=lambda: "PYTEST_VERSION" not in os.environ
    )
    """Logfire's own switch, with its default: true, but false under pytest, where a developer's token must not send the
    telemetry of tests. False keeps everything in the process although there is a token."""

    base_url: str | None = _variable("LOGFIRE_BASE_URL", default=None)
    """Where telemetry is sent (`http(s)://host[:port]`): a self-hosted or local backend. By default Logfire's region
    that the token names."""

    environment: Annotated[str, BeforeValidator(_lower)] = _variable(
        "LOGFIRE_ENVIRONMENT", default="production", min_length=1, max_length=128
    )
    """The deployment environment: the resource's `deployment.environment.name`, and the choice of preset. `dev`,
    `local`, `stage` and `prod` are short for `development`, `staging` and `production`; any other name is allowed."""

    service_name: str | None = _variable("LOGFIRE_SERVICE_NAME", "OTEL_SERVICE_NAME", default=None, max_length=256)
    """The resource's `service.name`."""

    service_version: str | None = _variable(
        "LOGFIRE_SERVICE_VERSION", "OTEL_SERVICE_VERSION", default=None, max_length=256
    )
    """The resource's `service.version`; by default the current git commit, where there is one."""

    console_enabled: bool = _variable("LOGFIRE_CONSOLE_ENABLED", "LOGFIRE_CONSOLE", default=False)
    """Print spans and logs to the terminal as they happen."""

    log_level: Annotated[LevelName, BeforeValidator(_lower)] = _variable(
        "LOGFIRE_LOG_LEVEL", "LOGFIRE_MIN_LEVEL", default="info"
    )
    """Log records, and spans with an explicit level, below this are neither exported nor printed."""

    capture_headers: bool = _variable("LOGFIRE_CAPTURE_HEADERS", default=False)
    """Put HTTP headers on server spans; values of sensitive ones are withheld."""

    capture_body: bool = _variable("LOGFIRE_CAPTURE_BODY", default=False)
    """Put the first 10 kB of textual request and response bodies on server spans."""

    excluded_paths: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_list)] = _variable(
        "LOGFIRE_EXCLUDED_PATHS", default=("/health", "/healthz", "/livez", "/ready", "/readyz", "/metrics")
    )
    """Paths, separated by commas, whose requests are neither traced nor counted; what is below them counts as them."""

    fastapi_instrumentation: Annotated[Literal["middleware", "contrib"], BeforeValidator(_lower)] = _variable(
        "LOGFIRE_FASTAPI_INSTRUMENTATION", default="middleware"
    )
    """Who makes the server span: our middleware, or `opentelemetry-instrumentation-fastapi`, which ours then joins."""

    fastapi_enabled: bool = _variable("LOGFIRE_FASTAPI_ENABLED", default=True)
    """Observe the application given as `app`."""

    sql_enabled: bool = _variable("LOGFIRE_SQL_ENABLED", default=True)
    """Trace and measure the SQLAlchemy engines given as `engine` or `engines`."""

    redis_enabled: bool = _variable("LOGFIRE_REDIS_ENABLED", default=True)
    """Trace and measure the Redis clients given as `redis`."""

    celery_enabled: bool = _variable("LOGFIRE_CELERY_ENABLED", default=True)
    """Trace and measure the tasks of the Celery application given as `celery`."""

    s3_enabled: bool = _variable("LOGFIRE_S3_ENABLED", default=True)
    """Trace and measure the calls of botocore (boto3), where it is installed."""

    httpx_enabled: bool = _variable("LOGFIRE_HTTPX_ENABLED", default=True)
    """Trace the requests of httpx, where it is installed."""

    propagate_context_to: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_list)] = _variable(
        "LOGFIRE_PROPAGATE_CONTEXT_TO", default=()
    )
    """Hosts, separated by commas, that requests of httpx tell the correlation id (`X-Request-ID`); `*.example.com`
    stands for all hosts below. No other host learns it."""

    threading_enabled: bool = _variable("LOGFIRE_THREADING_ENABLED", default=True)
    """Carry the current span and context into threads and thread pools."""

    pydantic_ai_enabled: bool = _variable("LOGFIRE_PYDANTIC_AI_ENABLED", default=True)
    """Trace and measure the agents of pydantic-ai, where it is installed."""

    pydantic_ai_content: bool = _variable("LOGFIRE_PYDANTIC_AI_CONTENT", default=False)
    """Put prompts, answers, tool calls and images on the spans of agents."""

    logging_enabled: bool = _variable("LOGFIRE_LOGGING_ENABLED", default=False)
    """Export the records of Python's `logging` from `log_level` on, and give every record the ids of its trace and
    request. No logger and no handler is touched."""

    system_metrics_enabled: bool = _variable("LOGFIRE_SYSTEM_METRICS_ENABLED", default=True)
    """Measure the process and its machine (CPU, memory, threads, descriptors, garbage collection), where psutil and its
    instrumentation are installed."""

    prometheus_enabled: bool = _variable("LOGFIRE_PROMETHEUS_ENABLED", default=False)
    """Keep all metrics ready for Prometheus as well; `Observability.prometheus_app()` serves them."""

    custom_metrics_enabled: bool = _variable("LOGFIRE_CUSTOM_METRICS_ENABLED", default=True)
    """Record what the service reports through `metrics`; off, these calls do nothing."""

    redaction_enabled: bool = _variable("LOGFIRE_REDACTION_ENABLED", default=True)
    """Take secrets out of everything before it leaves or is printed."""

    redaction_patterns: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_list)] = _variable(
        "LOGFIRE_REDACTION_PATTERNS", default=()
    )
    """Regular expressions for more that must not leave, separated by commas (a list where they hold commas themselves):
    what they match in a value is taken out, and a value is taken out whole where they match its name."""

    sample_rate: float = _variable(
        "LOGFIRE_SAMPLE_RATE", "LOGFIRE_TRACE_SAMPLE_RATE", "OTEL_TRACES_SAMPLER_ARG", default=1.0, ge=0, le=1
    )
    """The share of traces kept, 0 to 1; a trace is kept or left out as a whole, metrics and log records always stay."""

    batch_size: int = _variable("LOGFIRE_BATCH_SIZE", default=100, ge=1, le=10_000)
    """The most spans or log records in one request to the backend; that many waiting are sent at once."""

    flush_interval: float = _variable("LOGFIRE_FLUSH_INTERVAL", default=5.0, gt=0, le=3600)
    """The longest that a span or log record waits before it is sent, in seconds."""

    slow_threshold: float | None = _variable("LOGFIRE_SLOW_THRESHOLD", default=None, ge=0)
    """Decorated calls that take longer, in seconds, are marked `tldr.slow` and logged; by default none is."""

    shutdown_timeout: float = _variable("LOGFIRE_SHUTDOWN_TIMEOUT", default=2.0, ge=0, le=300)
    """The most that `flush()`, `shutdown()`, the flush at exit and the one at SIGTERM may take, in seconds."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, preset."""
        if isinstance(env_settings, EnvSettingsSource):
            # Fields may be given by name as arguments, but a variable called TOKEN is somebody else's.
            env_settings.env_vars = {
                name: value for name, value in env_settings.env_vars.items() if name.startswith(("logfire_", "otel_"))
            }
        return init_settings, env_settings, _PresetSource(settings_cls)

    @field_validator("environment")
    @classmethod
    def _full_environment_name(cls, value: str) -> str:
        return _environment_name(value)

    @field_validator("base_url")
    @classmethod
    def _is_an_http_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if http_url_problem(value) is not None:
            raise ValueError("http(s)://host[:port] without user and password")
        return value.rstrip("/")

    @field_validator("token", "api_key")
    @classmethod
    def _fit_for_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not fits_in_a_header(value.get_secret_value()):
            raise ValueError("visible ASCII characters, for it is sent in a header")
        return value

    @field_validator("excluded_paths")
    @classmethod
    def _start_with_a_slash(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not path.startswith("/") for path in value):
            raise ValueError("paths that start with '/', separated by commas")
        return value

    @field_validator("propagate_context_to")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(_HOST.fullmatch, value)):
            raise ValueError("host names without scheme and port, separated by commas; *.example.com for all below")
        return value

    @property
    def write_tokens(self) -> tuple[str, ...]:
        """The tokens to send with: one for each project, none when nothing is to be sent."""
        secret = self.token or self.api_key
        return tuple(dict.fromkeys(_comma_list(secret.get_secret_value()))) if secret else ()  # type: ignore[call-overload]


def load(overrides: Mapping[str, Any] | None = None) -> ObservabilitySettings:
    """Settings from `overrides`, the environment and the preset.

    Raises:
        ConfigurationError: with a line for each bad value: its name, what is expected, what was given.
    """
    overrides = dict(overrides or {})
    unknown = [name for name in overrides if name not in ObservabilitySettings.model_fields]
    problems = [_unknown_setting(name) for name in unknown]
    try:
        settings = ObservabilitySettings(**{k: v for k, v in overrides.items() if k not in unknown})
    except ValidationError as error:
        raise ConfigurationError(*problems, *map(_problem, error.errors())) from None
    if problems:
        raise ConfigurationError(*problems)
    return settings


def preset_of(environment: str) -> dict[str, Any]:
    """What a deployment environment sets."""
    return PRESETS.get(environment, PRESETS["production"])


def http_url_problem(value: str) -> str | None:
    """What is wrong with a value that should be the URL of a backend; None when nothing is. Shows no credentials."""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, usable = None, False
    if parts is not None and parts.username is not None:
        return "expected http(s)://host[:port] without user and password: credentials belong into headers"
    if not usable or (parts is not None and (parts.query or parts.fragment)):
        return f"expected http(s)://host[:port], got {value!r:.200}"
    return None


def fits_in_a_header(value: str) -> bool:
    """Whether HTTP can carry a text as the value of a header."""
    return all(" " <= character <= "~" for character in value)


def _environment_name(name: str) -> str:
    name = name.strip().lower()
    return _ENVIRONMENT_NAMES.get(name, name)


def _variables(field_name: str) -> list[str]:
    alias = ObservabilitySettings.model_fields[field_name].validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else []


def _unknown_setting(name: str) -> str:
    close = difflib.get_close_matches(name, ObservabilitySettings.model_fields, n=1)
    return f"{name}: no such setting{f'; did you mean {close[0]}?' if close else ''}"


_KINDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "string": "text"}


def _problem(error: Any) -> str:
    """One line for one of pydantic's errors: the variable (or argument), what was expected and what arrived."""
    location = str(error["loc"][0])
    key = next(key for key in ObservabilitySettings.model_fields if location in (key, *_variables(key)))
    # Pydantic names a field's first variable, whichever was set.
    name = next((v for v in _variables(key) if os.environ.get(v)), location) if location != key else key
    if key in ("token", "api_key"):
        given = "another value"
    else:
        given = re.sub(r"//[^/@]*@", "//***@", repr(error["input"])[:100])
    return f"{name}: expected {_expected(ObservabilitySettings.model_fields[key], error)}, got {given}"


def _expected(field: FieldInfo, error: Any) -> str:
    match error["type"]:
        case "value_error":
            return str(error["ctx"]["error"])
        case "literal_error":
            return f"one of {error['ctx']['expected']}"
    kind = next((text for part, text in _KINDS.items() if part in str(field.annotation)), "text")
    return f"{kind}{_bounds(field)}"


def _bounds(field: FieldInfo) -> str:
    limits = {
        attribute: getattr(item, attribute)
        for item in field.metadata
        for attribute in _LIMITS
        if hasattr(item, attribute)
    }
    match limits:
        case {"ge": low, "le": high}:
            return f" from {low} to {high}"
        case {"gt": low, "le": high}:
            return f" above {low} and up to {high}"
        case {"ge": low}:
            return f" of at least {low}"
        case {"max_length": high}:
            return f" of at most {high} characters"
    return ""


_LIMITS = ("ge", "gt", "le", "max_length")
