"""Which libraries can be observed, by which switch and with what installed: for `setup()` and `doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from tldr_observability.settings import ObservabilitySettings

__all__ = ["INTEGRATIONS", "Integration"]


class Integration(NamedTuple):
    """One library that can be observed."""

    part: str
    """Its row in the report and in `doctor`."""
    switch: str
    """The setting that turns it on and off."""
    extra: str
    """The extra that installs all that it needs; empty where nothing has to be installed."""
    libraries: tuple[str, ...]
    """The distributions that are observed; one of them is enough, and none means Python itself."""
    needs: tuple[str, ...] = ()
    """The distributions that do the observing."""
    by_hand: str = ""
    """What the service writes to have it observed; empty where it is found by itself."""
    imported: tuple[str, ...] = ()
    """The modules of which each, imported before or after `setup()`, starts the observing."""

    @property
    def variable(self) -> str:
        """The switch as an environment variable."""
        return f"LOGFIRE_{self.switch.upper()}"

    def is_on(self, settings: ObservabilitySettings) -> bool:
        """Whether its switch is on."""
        return bool(getattr(settings, self.switch))

    def is_asked_for(self, settings: ObservabilitySettings) -> bool:
        """Whether its switch was turned on by hand, so that silence about what is missing would be a lie."""
        return self.switch in settings.model_fields_set and self.is_on(settings)

    def lack(self, is_installed: Callable[[str], bool]) -> str:
        """What is missing here, in words; empty where nothing is."""
        if self.libraries and not any(map(is_installed, self.libraries)):
            return f"{self.libraries[0]} is not installed"
        return next((f"{name} is not installed" for name in self.needs if not is_installed(name)), "")

    @property
    def remedy(self) -> str:
        """What to type where something is missing."""
        return f"pip install 'tldr-observability[{self.extra}]'"


_CONTRIB = "opentelemetry-instrumentation-"

INTEGRATIONS: tuple[Integration, ...] = (
    Integration(
        "sqlalchemy", "sql_enabled", "sqlalchemy", ("sqlalchemy",), (f"{_CONTRIB}sqlalchemy",), "engine=engine"
    ),
    Integration("redis", "redis_enabled", "redis", ("redis",), (), "redis=client"),
    Integration("celery", "celery_enabled", "celery", ("celery",), (), "celery=app"),
    Integration(
        "s3",
        "s3_enabled",
        "s3",
        ("botocore",),
        (f"{_CONTRIB}botocore",),
        imported=("botocore.client", "opentelemetry.instrumentation.botocore"),
    ),
    Integration(
        "httpx",
        "httpx_enabled",
        "httpx",
        ("httpx", "httpx2"),
        (f"{_CONTRIB}httpx",),
        imported=("httpx", "httpx2", "opentelemetry.instrumentation.httpx"),
    ),
    Integration("threading", "threading_enabled", "", (), imported=("threading",)),
    Integration(
        "pydantic-ai",
        "pydantic_ai_enabled",
        "pydantic-ai",
        ("pydantic-ai", "pydantic-ai-slim"),
        (),
        "",
        ("pydantic_ai",),
    ),
    Integration("logging", "logging_enabled", "", (), imported=("logging",)),
    Integration("system metrics", "system_metrics_enabled", "system", ("psutil",), (f"{_CONTRIB}system-metrics",)),
    Integration(
        "prometheus", "prometheus_enabled", "prometheus", ("prometheus-client",), ("opentelemetry-exporter-prometheus",)
    ),
)
"""FastAPI has a place of its own: its switch chooses between two ways."""
