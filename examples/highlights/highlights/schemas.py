"""What customers send and get, as JSON; the pages under `/docs` are made of this."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FutureDatetime,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from highlights.keys import SCOPES
from highlights.models import StreamStatus
from highlights.storage import storage
from highlights.webhooks import EVENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from highlights.models import Highlight, Stream

__all__ = [
    "DeliveryAnswer",
    "DeliveryList",
    "HighlightAnswer",
    "HighlightList",
    "KeyAnswer",
    "KeyList",
    "KeyRequest",
    "NewKeyAnswer",
    "NewWebhookAnswer",
    "ProblemAnswer",
    "StreamAnswer",
    "StreamList",
    "StreamOptions",
    "StreamRequest",
    "TestAnswer",
    "UsageAnswer",
    "WebhookAnswer",
    "WebhookChange",
    "WebhookList",
    "WebhookRequest",
]

_LONGEST_CLIP_SECONDS = 300


def _one_of(words: Sequence[str]) -> tuple[AfterValidator, WithJsonSchema]:
    def check(word: str) -> str:
        if word not in words:
            raise ValueError(f"expected one of {', '.join(words)}")
        return word

    return AfterValidator(check), WithJsonSchema({"type": "string", "enum": list(words)})


def _each_once(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _plain(url: str) -> str:
    if not re.fullmatch(r"[!-~]+", url):
        raise ValueError("expected an address in ASCII without spaces")
    return url


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected one line without control characters")
    return text


def _in_utc(at: datetime) -> datetime:
    """The same moment: SQLite keeps no zones, and would let a key live for hours more or less."""
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("expected a time before the year 10000") from None


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_line)]
Url = Annotated[str, StringConstraints(max_length=2048), AfterValidator(_plain)]
Event = Annotated[str, *_one_of([each for each in EVENTS if each != "webhook.test"])]
Scope = Annotated[str, *_one_of(SCOPES)]
Events = Annotated[list[Event], Field(min_length=1, max_length=100), AfterValidator(_each_once)]
ClipSeconds = Annotated[float, Field(ge=1, le=_LONGEST_CLIP_SECONDS)]


class _Request(BaseModel):
    """What is not known is refused: a misspelt option would otherwise be an option that does nothing."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ProblemAnswer(BaseModel):
    """RFC 9457: what is wrong with a request."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    """For programs: what to do about it depends on this alone."""

    model_config = ConfigDict(extra="allow")


class StreamOptions(_Request):
    """What counts as a highlight, and how long clips are."""

    confidence_threshold: float | None = Field(default=None, ge=0, le=1)
    min_clip_seconds: ClipSeconds | None = None
    max_clip_seconds: ClipSeconds | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if (self.min_clip_seconds or 1) > (self.max_clip_seconds or _LONGEST_CLIP_SECONDS):
            raise ValueError("min_clip_seconds is more than max_clip_seconds")
        return self

    def for_agent(self) -> dict[str, Any]:
        """What of `agent.AgentConfig` the customer decides."""
        given = {
            "threshold": self.confidence_threshold,
            "min_clip_seconds": self.min_clip_seconds,
            "max_clip_seconds": self.max_clip_seconds,
        }
        return {name: value for name, value in given.items() if value is not None}


class StreamRequest(_Request):
    """A stream or recording to look for highlights in."""

    url: Url
    title: Text
    type: Literal["live", "recording"] | None = None
    """What it is, where the address doesn't tell."""
    reference: Text | None = None
    """Your own name for it; events carry it."""
    max_seconds: float | None = Field(default=None, gt=0)
    options: StreamOptions = Field(default_factory=StreamOptions)


class Progress(_Answer):
    """How far the processing is."""

    stage: str
    segments: int
    keyframes: int
    analyzed: int


class Failure(_Answer):
    """Why a stream failed."""

    code: str
    reason: str


class StreamAnswer(_Answer):
    """A stream and how far it is."""

    id: str
    url: str
    title: str
    platform: str
    type: str
    reference: str | None
    max_seconds: float | None
    status: StreamStatus
    progress: Progress
    failure: Failure | None
    seconds: float | None
    """How much of it was read."""
    billed_seconds: float
    cost_usd: float
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, stream: Stream) -> StreamAnswer:
        """A row as the customer sees it."""
        failure = None
        if stream.failure_code is not None:
            failure = Failure(code=stream.failure_code, reason=stream.failure_reason or "")
        return cls.model_validate(
            {
                **{name: getattr(stream, name) for name in cls.model_fields if name not in {"progress", "failure"}},
                "progress": Progress.model_validate(stream),
                "failure": failure,
            }
        )


class StreamList(BaseModel):
    """Streams, the newest first."""

    streams: list[StreamAnswer]
    next: str | None
    """`before` of the next page, if there is one."""


class HighlightAnswer(_Answer):
    """A part worth watching. The links hold for an hour or so; ask again for new ones."""

    id: str
    stream_id: str
    start_seconds: float
    end_seconds: float
    confidence: float
    type: str
    title: str
    reason: str
    method: str
    clip_key: str
    thumbnail_key: str
    clip_url: str
    thumbnail_url: str
    created_at: datetime

    @classmethod
    def of(cls, highlight: Highlight) -> HighlightAnswer:
        """A row as the customer sees it."""
        links = {"clip_url", "thumbnail_url"}
        return cls.model_validate(
            {
                **{name: getattr(highlight, name) for name in cls.model_fields if name not in links},
                "clip_url": storage().link(highlight.clip_key),
                "thumbnail_url": storage().link(highlight.thumbnail_key),
            }
        )


class HighlightList(BaseModel):
    """A stream's highlights in the order of time."""

    highlights: list[HighlightAnswer]


class WebhookRequest(_Request):
    """Where to tell of what."""

    url: Url
    events: Events


class WebhookChange(_Request):
    """What is to be different; what is left out stays. Enabling forgets earlier failures."""

    url: Url | None = None
    events: Events | None = None
    enabled: bool | None = None


class WebhookAnswer(_Answer):
    """A webhook."""

    id: str
    url: str
    events: list[str]
    enabled: bool
    failures: int
    disabled_reason: str | None
    created_at: datetime


class NewWebhookAnswer(WebhookAnswer):
    """A webhook, and this once the secret that what it is sent is signed with."""

    secret: str


class WebhookList(BaseModel):
    """All webhooks."""

    webhooks: list[WebhookAnswer]


class DeliveryAnswer(_Answer):
    """One event on its way to a webhook."""

    id: str
    event_type: str
    payload: dict[str, Any]
    status: str
    attempts: int
    response_status: int | None
    error: str | None
    created_at: datetime
    ended_at: datetime | None


class DeliveryList(BaseModel):
    """Deliveries, the newest first."""

    deliveries: list[DeliveryAnswer]
    next: str | None
    """`before` of the next page, if there is one."""


class TestAnswer(BaseModel):
    """A test is on its way."""

    delivery_id: str


class KeyRequest(_Request):
    """A key for a program."""

    name: Text
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=100), AfterValidator(_each_once)]
    expires_at: Annotated[AwareDatetime, FutureDatetime, AfterValidator(_in_utc)] | None = None


class KeyAnswer(_Answer):
    """A key, without its text, which nobody knows but who made it."""

    id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKeyAnswer(KeyAnswer):
    """A key, and this once its text."""

    key: str


class KeyList(BaseModel):
    """All keys, revoked ones too, the newest first."""

    keys: list[KeyAnswer]


class LimitedAnswer(_Answer):
    """Something that the plan limits."""

    used: float
    limit: float


class UsageAnswer(_Answer):
    """What was used since the month began, in UTC."""

    plan: str
    since: datetime
    streams: int
    highlights: int
    cost_usd: float
    concurrent_streams: LimitedAnswer
    minutes_per_month: LimitedAnswer
    requests_per_minute: float
    """How many the plan allows."""
