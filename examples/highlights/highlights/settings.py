"""What an operator decides: the services that this one stands on, and its limits, from environment variables."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["Settings", "settings"]


class Settings(BaseSettings):
    """Real services or embedded ones: the addresses tell them apart, the code doesn't (`embedded.env` has theirs)."""

    model_config = SettingsConfigDict(env_prefix="HIGHLIGHTS_", frozen=True)

    database_url: str = Field(validation_alias="DATABASE_URL")
    """SQLAlchemy's: `sqlite:///var/highlights.db`, `postgresql+psycopg://user:password@host/name`."""
    redis_url: str = Field(validation_alias="REDIS_URL")
    """Rate limits and Celery's broker: `redis://host:6379/0`."""
    s3_endpoint_url: str | None = Field(None, validation_alias="S3_ENDPOINT_URL")
    """None is Amazon's; keys and region are boto3's own `AWS_*`."""
    s3_bucket: str = "highlights"
    link_seconds: int = 3600
    """How long the links to clips and thumbnails hold."""

    port: int = 8000
    """Where `python -m highlights.api` listens."""
    work_dir: Path = Path("var/work")
    """Segments and key frames between ingest and detection; shared by all workers, so one host or one volume."""

    model: str | None = None
    """A language model that judges key frames, `openai:gpt-...`, `google:gemini-...`; None: the formula alone."""
    model_base_url: str | None = None
    """An OpenAI-compatible endpoint for a model named `openai:...`, with its key in `OPENAI_API_KEY`."""
    confidence_threshold: float = Field(0.55, ge=0, le=1)
    """From where on a segment is a highlight, unless the stream's own options say otherwise."""

    allow_private_addresses: bool = False
    """Whether customers' URLs may lead to loopback or private networks; for development alone."""
    segment_seconds: float = Field(5.0, ge=1)
    """The shortest segment; long streams get longer ones, never more than `most_segments`."""
    most_segments: int = Field(120, ge=1)
    max_stream_seconds: float = 3 * 3600
    """Where ingest stops reading, however much more there is."""
    max_stream_bytes: int = 20 * 1024**3
    most_pixels: int = 8192 * 4320
    """Of a picture; memory and time go with it."""
    source_timeout: float = 10.0
    """Seconds without a byte after which a source counts as dead."""

    task_attempts: int = Field(4, ge=1)
    """How often a pipeline task is tried where a service that it needs is away."""
    retry_seconds: float = Field(2.0, gt=0)
    """Before the second attempt of a task or webhook; it doubles with each further one."""
    tasks_per_child: int = Field(100, ge=1)
    """Tasks after which a process of the worker's pool makes room for a new one: media libraries keep memory."""
    visibility_seconds: int = 6 * 3600
    """When the broker gives a task to another worker; longer than the longest task."""
    webhook_attempts: int = Field(6, ge=1)
    webhook_timeout: float = 10.0
    webhook_failures: int = Field(5, ge=1)
    """Deliveries in a row that failed for good, after which an endpoint is disabled."""

    cpu_hour_usd: float = 0.04
    """What an hour of processor time costs."""

    secret_pepper: SecretStr = SecretStr("")
    """Mixed into the hashes of API keys; changing it revokes all of them."""


@cache
def settings() -> Settings:
    """This process's settings; a ValidationError names every variable that is missing or wrong."""
    return Settings()  # type: ignore[call-arg]  # the environment has them
