"""What is kept: organizations with their keys, streams, highlights, webhooks and their deliveries."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import NAMESPACE_URL, uuid4, uuid5

from sqlalchemy import JSON, DateTime, ForeignKey, Index, String, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = [
    "ApiKey",
    "Base",
    "Delivery",
    "Highlight",
    "Organization",
    "Stream",
    "StreamStatus",
    "Webhook",
    "derived_id",
    "now",
]


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """An id that nobody else has."""
    return str(uuid4())


def derived_id(*parts: object) -> str:
    """The id of a thing that is made of these parts: the same each time, so that making it twice makes it once."""
    return str(uuid5(NAMESPACE_URL, "highlights:" + ":".join(map(str, parts))))


class Moment(TypeDecorator[datetime]):
    """A time in UTC that comes back in UTC, from SQLite too, which keeps no zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        """Read it in UTC."""
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map: ClassVar = {datetime: Moment}


class StreamStatus(enum.StrEnum):
    """Where a stream is. The last three are final."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Organization(Base):
    """A customer."""

    __tablename__ = "organizations"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    name: Mapped[str]
    plan: Mapped[str] = mapped_column(default="free")
    """A key of `quota.PLANS`."""
    active: Mapped[bool] = mapped_column(default=True)
    quota_checks: Mapped[int] = mapped_column(default=0)
    """Raised by each check of a quota, so that checks of one organization stand in line in any database."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class ApiKey(Base):
    """A key by which a customer's programs are known. The key itself is nowhere, only its hash."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"), index=True)
    name: Mapped[str]
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Stream(Base):
    """A recording or live stream to look for highlights in."""

    __tablename__ = "streams"
    __table_args__ = (Index("streams_by_organization", "organization_id", "created_at"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    url: Mapped[str]
    title: Mapped[str]
    platform: Mapped[str]
    """`twitch`, `youtube`, `hls` or `custom`."""
    type: Mapped[str]
    """`live` or `recording`, as the customer or else the platform says."""
    reference: Mapped[str | None]
    """The customer's own name for it."""
    agent_config: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    """`agent.AgentConfig`, as JSON."""
    max_seconds: Mapped[float | None]
    """How much of it the customer wants read; None: as much as the plan and the service allow."""

    status: Mapped[str] = mapped_column(default=StreamStatus.PENDING)
    stage: Mapped[str] = mapped_column(default="waiting")
    """What is done now: `waiting`, `probing`, `segmenting`, `extracting`, `detecting`, `done`."""
    segments: Mapped[int] = mapped_column(default=0)
    keyframes: Mapped[int] = mapped_column(default=0)
    analyzed: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    """How often a worker began with it; a video that ends every worker must not end them for ever."""
    failure_code: Mapped[str | None]
    failure_reason: Mapped[str | None]
    seconds: Mapped[float | None]
    """How long the part is that was read."""
    billed_seconds: Mapped[float] = mapped_column(default=0.0)
    """Of the month's quota: reserved while it runs, what was read in the end."""
    cpu_seconds: Mapped[float] = mapped_column(default=0.0)
    cost_usd: Mapped[float] = mapped_column(default=0.0)
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    """A deleted stream is nobody's to see; it stays for the month's sums."""


class Highlight(Base):
    """A part of a stream worth watching. Its id is derived from the stream and its first segment."""

    __tablename__ = "highlights"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    stream_id: Mapped[str] = mapped_column(ForeignKey("streams.id"), index=True)
    start_seconds: Mapped[float]
    end_seconds: Mapped[float]
    confidence: Mapped[float]
    type: Mapped[str]
    title: Mapped[str]
    reason: Mapped[str]
    method: Mapped[str]
    """Who judged: the formula's name or the model's."""
    clip_key: Mapped[str]
    thumbnail_key: Mapped[str]
    bytes: Mapped[int]
    """Of the clip and its thumbnail."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class Webhook(Base):
    """Where a customer wants to be told of events."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"), index=True)
    url: Mapped[str]
    secret: Mapped[str]
    """Signs what is sent, `whsec_...`; told once, when the webhook is made."""
    events: Mapped[list[str]] = mapped_column(JSON)
    enabled: Mapped[bool] = mapped_column(default=True)
    failures: Mapped[int] = mapped_column(default=0)
    """Deliveries in a row that failed for good."""
    disabled_reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    deleted_at: Mapped[datetime | None]


class Delivery(Base):
    """One event on its way to one webhook. Its id is derived from both and is the `webhook-id` of every attempt."""

    __tablename__ = "deliveries"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id"), index=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    event_type: Mapped[str]
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(default="pending", index=True)
    """`pending`, `delivered` or `failed`."""
    attempts: Mapped[int] = mapped_column(default=0)
    response_status: Mapped[int | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    ended_at: Mapped[datetime | None]
