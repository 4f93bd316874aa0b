"""Streams and highlights in the database: what is asked and changed, each a statement or two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.utils import suppress_instrumentation
from sqlalchemy import func, select, update

from highlights.database import transaction
from highlights.models import Highlight, Organization, Stream, StreamStatus, now
from highlights.problems import NotFound
from tldr_observability import traced_repository_method

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy.orm import Session

__all__ = [
    "OPEN",
    "active_streams",
    "forget_stream",
    "highlights",
    "note_progress",
    "organization",
    "save_highlight",
    "save_stream",
    "storage_used",
    "stream",
    "streams",
    "update_stream",
]

OPEN = (StreamStatus.PENDING, StreamStatus.PROCESSING)
"""The states that aren't final."""


@traced_repository_method
def organization(session: Session, organization_id: str) -> Organization:
    """An organization; NotFound if there is none."""
    found = session.get(Organization, organization_id)
    if found is None:
        raise NotFound("there is no such organization")
    return found


@traced_repository_method
def save_stream(session: Session, stream: Stream) -> None:
    """Keep a new stream."""
    session.add(stream)
    session.flush()


@traced_repository_method
def stream(session: Session, organization_id: str, stream_id: str) -> Stream:
    """One of the organization's streams; NotFound if it has none of this id."""
    found = session.scalar(
        select(Stream).where(
            Stream.id == stream_id, Stream.organization_id == organization_id, Stream.deleted_at.is_(None)
        )
    )
    if found is None:
        raise NotFound("there is no such stream")
    return found


@traced_repository_method
def streams(
    session: Session, organization_id: str, *, limit: int, before: str | None = None, status: str | None = None
) -> list[Stream]:
    """The organization's streams, the newest first; `before` is the id of the last one of the page before."""
    query = select(Stream).where(Stream.organization_id == organization_id, Stream.deleted_at.is_(None))
    if status is not None:
        query = query.where(Stream.status == status)
    if before is not None:
        last = stream(session, organization_id, before)
        query = query.where(
            (Stream.created_at < last.created_at) | ((Stream.created_at == last.created_at) & (Stream.id < last.id))
        )
    return list(session.scalars(query.order_by(Stream.created_at.desc(), Stream.id.desc()).limit(limit)))


@traced_repository_method
def update_stream(
    session: Session, stream_id: str, *, when: Collection[str], values: Mapping[str, Any]
) -> Stream | None:
    """Change a stream if its status is one of these; None, and nothing is changed, if it isn't."""
    changed = update(Stream).where(Stream.id == stream_id, Stream.status.in_(when)).values(dict(values))
    return session.scalars(changed.returning(Stream), execution_options={"populate_existing": True}).one_or_none()


def note_progress(stream_id: str, progress: Mapping[str, Any]) -> bool:
    """Keep how far a stream is; whether it is still being processed. No span: it's asked every second for hours."""
    with suppress_instrumentation(), transaction() as session:
        values = {"status": StreamStatus.PROCESSING, **progress}
        still = update(Stream).where(Stream.id == stream_id, Stream.status == StreamStatus.PROCESSING).values(values)
        return session.scalar(still.returning(Stream.id)) is not None


@traced_repository_method
def forget_stream(session: Session, stream: Stream) -> None:
    """Let nobody see the stream again. What it used of the month's quota stays."""
    for highlight in highlights(session, stream.id):
        session.delete(highlight)
    stream.deleted_at, stream.url, stream.title, stream.reference = now(), "", "", None


@traced_repository_method
def active_streams(session: Session) -> dict[str, int]:
    """How many streams are open on each platform that ever had one."""
    is_open = func.count().filter(Stream.status.in_(OPEN))
    rows = session.execute(select(Stream.platform, is_open).group_by(Stream.platform))
    return dict(rows.all())


@traced_repository_method
def highlights(session: Session, stream_id: str, *, min_confidence: float = 0.0) -> list[Highlight]:
    """A stream's highlights in the order of time."""
    return list(
        session.scalars(
            select(Highlight)
            .where(Highlight.stream_id == stream_id, Highlight.confidence >= min_confidence)
            .order_by(Highlight.start_seconds)
        )
    )


@traced_repository_method
def save_highlight(session: Session, highlight: Highlight) -> bool:
    """Keep a highlight unless one of its id is there; whether it was new. The caller holds its stream's row."""
    if session.get(Highlight, highlight.id) is not None:
        return False
    session.add(highlight)
    session.flush()
    return True


@traced_repository_method
def storage_used(session: Session, organization_id: str) -> int:
    """The bytes of all clips and thumbnails of an organization."""
    total = session.scalar(
        select(func.sum(Highlight.bytes)).join(Stream).where(Stream.organization_id == organization_id)
    )
    return int(total or 0)
