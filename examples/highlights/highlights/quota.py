"""What a plan allows, and whether an organization has room for more; exact, however many ask at once."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from redis.exceptions import RedisError
from sqlalchemy import func, select, update

from highlights.failures import StreamFailure
from highlights.models import Highlight, Organization, Stream, now
from highlights.problems import QuotaExceeded
from highlights.repositories import OPEN
from highlights.settings import settings
from tldr_observability import metrics, traced_service_method

if TYPE_CHECKING:
    from datetime import datetime

    from redis import Redis
    from sqlalchemy.orm import Session

    from highlights.principal import Principal

__all__ = ["PLANS", "Limited", "Plan", "Usage", "check_quota", "check_rate", "reserve_minutes", "usage"]

_log = logging.getLogger(__name__)

_WINDOW_SECONDS = 60


class Plan(NamedTuple):
    """What an organization pays for."""

    concurrent_streams: int
    minutes_per_month: int
    requests_per_minute: int


PLANS: Final = {
    "free": Plan(concurrent_streams=1, minutes_per_month=60, requests_per_minute=60),
    "pro": Plan(concurrent_streams=5, minutes_per_month=1_200, requests_per_minute=300),
    "business": Plan(concurrent_streams=20, minutes_per_month=12_000, requests_per_minute=1_200),
}


class Limited(NamedTuple):
    """Something that a plan limits."""

    used: float
    limit: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What an organization has used since the month began, in UTC."""

    plan: str
    since: datetime
    streams: int
    highlights: int
    cost_usd: float
    concurrent_streams: Limited
    minutes_per_month: Limited
    """Of streams that still run what is reserved for them."""
    requests_per_minute: int
    """The limit; what is used of it is gone within the minute."""


@traced_service_method
def check_quota(session: Session, organization_id: str, plan: str) -> None:
    """Return if the organization may start one more stream in this transaction; until its end no other check counts.

    Raises:
        QuotaExceeded: as many streams run, or as many minutes are used, as the plan allows.
    """
    _stand_in_line(session, organization_id)
    for quota, limited in _limited(session, organization_id, plan).items():
        metrics.increment_quota_checked(organization_id, quota)
        if limited.used >= limited.limit:
            metrics.increment_quota_exceeded(organization_id, quota)
            raise QuotaExceeded(quota, limited.used, limited.limit)


def check_rate(redis: Redis, principal: Principal, endpoint: str) -> None:
    """Count a request of the organization; without Redis nothing is counted and nobody is refused.

    Raises:
        QuotaExceeded: it has had its requests of this minute, with the seconds until the next one begins.
    """
    limit = PLANS[principal.plan].requests_per_minute
    window, passed = divmod(int(time.time()), _WINDOW_SECONDS)
    key = f"highlights:rate:{principal.organization_id}:{window}"
    try:
        with redis.pipeline(transaction=True) as together:
            together.incr(key)
            together.expire(key, 2 * _WINDOW_SECONDS)
            count, _ = together.execute()
    except RedisError as error:
        _log.warning("Redis is away: the rate of requests is not limited (%s)", type(error).__name__)
        return
    if count > limit:
        metrics.increment_rate_limit_exceeded(principal.api_key_id, principal.organization_id, endpoint)
        raise QuotaExceeded("requests_per_minute", limit, limit, retry_after=_WINDOW_SECONDS - passed)


@traced_service_method
def reserve_minutes(session: Session, stream: Stream, seconds: float | None) -> float:
    """Set aside what a stream may use of the month's minutes, and return how many seconds of it may be read.

    Asking again for the same stream replaces what was set aside before.

    Args:
        session: the caller's transaction; until its end no other reservation of the organization counts.
        stream: whose `billed_seconds` are set.
        seconds: how long it is; None: live, which gets what is left.

    Raises:
        StreamFailure: `minutes_exceeded`, less is left than a recording takes, or nothing for a live stream.
    """
    plan = PLANS[_stand_in_line(session, stream.organization_id)]
    spent = select(func.coalesce(func.sum(Stream.billed_seconds), 0.0)).where(
        Stream.organization_id == stream.organization_id, Stream.created_at >= _month(), Stream.id != stream.id
    )
    left = plan.minutes_per_month * 60.0 - session.scalars(spent).one()
    limits = (seconds, stream.max_seconds, settings().max_stream_seconds)
    wanted = max(0.0, min(each for each in limits if each is not None))
    metrics.increment_quota_checked(stream.organization_id, "minutes_per_month")
    if left <= 0 or (seconds is not None and wanted > left):
        metrics.increment_quota_exceeded(stream.organization_id, "minutes_per_month")
        needed = "" if seconds is None else f" The recording takes {wanted / 60:.1f}."
        reason = f"The plan has {max(left, 0.0) / 60:.1f} minutes left this month.{needed}"
        raise StreamFailure("minutes_exceeded", reason)
    stream.billed_seconds = min(wanted, left)
    session.flush()
    return stream.billed_seconds


@traced_service_method
def usage(session: Session, organization_id: str, plan: str) -> Usage:
    """What the organization has used and what runs now; told as metrics too."""
    limited, since = _limited(session, organization_id, plan), _month()
    own = Stream.organization_id == organization_id
    streams, cost = session.execute(
        select(func.count(), func.coalesce(func.sum(Stream.cost_usd), 0.0)).where(own, Stream.created_at >= since)
    ).one()
    highlights = select(func.count()).select_from(Highlight).join(Stream).where(own, Highlight.created_at >= since)
    return Usage(
        plan=plan,
        since=since,
        streams=streams,
        highlights=session.scalars(highlights).one(),
        cost_usd=cost,
        requests_per_minute=PLANS[plan].requests_per_minute,
        **limited,
    )


def _limited(session: Session, organization_id: str, plan: str) -> dict[str, Limited]:
    own = Stream.organization_id == organization_id
    running = select(func.count()).where(own, Stream.status.in_(OPEN))
    spent = select(func.coalesce(func.sum(Stream.billed_seconds), 0.0)).where(own, Stream.created_at >= _month())
    limited = {
        "concurrent_streams": Limited(session.scalars(running).one(), PLANS[plan].concurrent_streams),
        "minutes_per_month": Limited(session.scalars(spent).one() / 60, PLANS[plan].minutes_per_month),
    }
    for quota, (used, limit) in limited.items():
        metrics.set_quota(organization_id, quota, used, limit)
    return limited


def _stand_in_line(session: Session, organization_id: str) -> str:
    """Wait for other checks of this organization to commit or roll back; returns its plan as it is then.

    The update is what makes them wait: a row's lock in PostgreSQL, the one writer's in SQLite.
    """
    return session.scalars(
        update(Organization)
        .where(Organization.id == organization_id)
        .values(quota_checks=Organization.quota_checks + 1)
        .returning(Organization.plan)
        .execution_options(synchronize_session=False)
    ).one()


def _month() -> datetime:
    return now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
