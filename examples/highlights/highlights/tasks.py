"""The pipeline in the workers: a stream is read into segments and key frames, then an agent looks for highlights.

Both tasks may run twice, in whole or in part: a worker can die at any moment, and the broker then gives its task to
another. So every change is guarded by the state that it starts from, and what is made has ids of its own making.
"""

from __future__ import annotations

import fcntl
import shutil
from time import process_time
from typing import TYPE_CHECKING, Any, Final

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from celery.exceptions import OperationalError as BrokerError
from celery.exceptions import Reject
from pydantic import BaseModel
from redis.exceptions import RedisError
from sqlalchemy import func
from sqlalchemy.exc import InterfaceError, OperationalError

from highlights import media, platforms, repositories
from highlights.celery_app import again, celery
from highlights.database import transaction
from highlights.failures import StreamFailure
from highlights.media import Keyframe, Segment
from highlights.models import Highlight, Stream, StreamStatus, derived_id, now
from highlights.quota import reserve_minutes
from highlights.repositories import OPEN
from highlights.services import StreamProcessingService
from highlights.settings import settings
from highlights.storage import storage
from highlights.webhooks import trigger_webhook
from tldr_observability import add_processing_context, add_user_context, log_event, metrics, traced_background_task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import IO

    from celery import Task

    from highlights.agent import Candidate

__all__ = ["detect_highlights_with_ai", "end_stream", "ingest_stream_with_ffmpeg"]

_service = StreamProcessingService()
_LONGEST_WAIT_SECONDS: Final = 60.0
_DATABASE_AWAY: Final = (OperationalError, InterfaceError)
_QUEUE_AWAY: Final = (BrokerError, RedisError)
_QUEUE_WAIT: Final = {"max_retries": 30, "interval_start": 0.2, "interval_step": 0.5, "interval_max": 5.0}
"""How a worker that is done with its part waits for the queue, for two minutes: no task could wait in its place."""
_AWAY: Final[dict[tuple[type[Exception], ...], StreamFailure]] = {
    _DATABASE_AWAY: StreamFailure("database_unavailable", "Our database was not available. Please try again later."),
    (BotoCoreError, ClientError, Boto3Error): StreamFailure(
        "storage_unavailable", "Our storage was not available. Please try again later."
    ),
    _QUEUE_AWAY: StreamFailure("queue_unavailable", "Our task queue was not available. Please try again later."),
}
"""What can be away for a while, and what the customer is told if it stays away."""


class _Stopped(Exception):  # noqa: N818 - nothing went wrong
    """The customer has stopped the stream meanwhile."""


class _Ingested(BaseModel):
    """What ingest leaves for detection, in the stream's directory."""

    segments: list[Segment]
    keyframes: list[Keyframe]


@celery.task(name="ingest_stream_with_ffmpeg", bind=True, max_retries=None)
@traced_background_task
def ingest_stream_with_ffmpeg(self: Task, stream_id: str) -> None:
    """Read a stream, cut it into segments, take its key frames, and hand them to the agent."""
    _work(self, stream_id, _ingest)


@celery.task(name="detect_highlights_with_ai", bind=True, max_retries=None)
@traced_background_task
def detect_highlights_with_ai(self: Task, stream_id: str) -> None:
    """Let the agent look at a stream's segments, and publish what it finds."""
    _work(self, stream_id, _detect)


@celery.task(name="end_stream", bind=True, max_retries=None)
@traced_background_task
def end_stream(self: Task, stream_id: str, code: str, reason: str) -> None:
    """Record a failure that couldn't be recorded when it happened, for the database was away as well."""
    try:
        _service.end_stream(stream_id, StreamStatus.FAILED, failure=StreamFailure(code, reason))
    except _DATABASE_AWAY as error:
        raise again(self, _wait(self), error) from error


def _work(task: Task, stream_id: str, step: Callable[[Stream], None]) -> None:
    """Do one step of a stream that is still wanted, and see to it that each way out leaves the stream right."""
    lock = _lock(task, stream_id)
    if lock is None:
        raise again(task, _wait(task))
    with lock:
        try:
            stream = _claim(stream_id)
            if stream is None:
                _service.tell_end(stream_id)
                _discard(stream_id)
            else:
                step(stream)
        except _Stopped:
            log_event("stream.stopped")
            _discard(stream_id)
        except StreamFailure as failure:
            _fail(stream_id, failure)
            raise
        except Exception as error:
            away = next((failure for kinds, failure in _AWAY.items() if isinstance(error, kinds)), None)
            tries_left = task.request.retries + 1 < settings().task_attempts
            if away is not None and tries_left and not isinstance(error, _QUEUE_AWAY):
                raise again(task, _wait(task), error) from error
            _fail(stream_id, away or StreamFailure("internal_error", "Something went wrong on our side."))
            raise


def _lock(task: Task, stream_id: str) -> IO[str] | None:
    """What is to be closed when the task is done with the stream; None while another process is at it.

    A broker gives a task to a second worker when it has lost sight of the first one, which may well go on.
    """
    directory = _directory(stream_id)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / f"{task.name}.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):  # or it has just ended, and removes the directory
        return None
    return lock


def _claim(stream_id: str) -> Stream | None:
    """The stream, if it hasn't ended, with one more attempt of this step on its count."""
    values = {
        "status": StreamStatus.PROCESSING,
        "attempts": Stream.attempts + 1,
        "started_at": func.coalesce(Stream.started_at, now()),
    }
    with transaction() as session:
        stream = repositories.update_stream(session, stream_id, when=OPEN, values=values)
    if stream is None:
        return None
    add_user_context(organization_id=stream.organization_id)
    add_processing_context(stream_id=stream.id, platform=stream.platform)
    if stream.attempts > settings().task_attempts:
        raise StreamFailure("processing_interrupted", "The processing was interrupted too often.")
    return stream


def _ingest(stream: Stream) -> None:
    add_processing_context(processing_stage="ingest")
    if stream.stage == "detecting":  # it was handed over, and the worker died before it could say so
        _hand_over(stream)
        return
    began = process_time()
    directory = _directory(stream.id)
    _note(stream.id, stage="probing")
    url = platforms.media_url(stream.url, stream.platform)
    probe = media.probe_stream(url)
    with transaction() as session:
        most_seconds = reserve_minutes(session, session.get_one(Stream, stream.id), probe.duration)
        # With the reservation, for nobody would give back that of a stream which was stopped meanwhile.
        if repositories.update_stream(session, stream.id, when=OPEN, values={"stage": "segmenting"}) is None:
            raise _Stopped

    segments = media.create_segments(
        url,
        directory / "segments",
        **_segment_lengths(probe.duration, most_seconds),
        most_seconds=most_seconds,
        most_bytes=settings().max_stream_bytes,
        go_on=lambda: _note(stream.id),
        on_segment=lambda segment: _note(stream.id, segments=segment.index + 1, seconds=segment.end),
    )
    _go_on(stream.id, stage="extracting", segments=len(segments))
    keyframes = media.extract_keyframes(segments, directory / "keyframes")
    ingested = _Ingested(segments=segments, keyframes=keyframes)
    (directory / "ingested.json").write_text(ingested.model_dump_json(), encoding="utf-8")

    seconds = segments[-1].end - segments[0].start
    values = {
        "stage": "detecting",
        "attempts": 0,
        "keyframes": len(keyframes),
        "seconds": seconds,
        "billed_seconds": seconds,
        "cpu_seconds": Stream.cpu_seconds + process_time() - began,
    }
    with transaction() as session:
        if repositories.update_stream(session, stream.id, when=[StreamStatus.PROCESSING], values=values) is None:
            raise _Stopped
    _hand_over(stream)


def _hand_over(stream: Stream) -> None:
    celery.send_task("detect_highlights_with_ai", (stream.id,), retry_policy=_QUEUE_WAIT)


def _detect(stream: Stream) -> None:
    # It loads pydantic-ai: seconds, and 90 MB, for this task alone.
    from highlights.agent import AgentConfig, B2BStreamAgent

    add_processing_context(processing_stage="detection")
    began = process_time()
    try:
        ingested = _Ingested.model_validate_json((_directory(stream.id) / "ingested.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StreamFailure("processing_interrupted", "The processing was interrupted.") from error
    agent = B2BStreamAgent(
        AgentConfig.model_validate(stream.agent_config),
        ingested.segments,
        ingested.keyframes,
        publish=lambda candidate: _publish(stream, ingested.segments, candidate),
        on_progress=lambda analyzed: _go_on(stream.id, analyzed=analyzed),
        organization_id=stream.organization_id,
        platform=stream.platform,
    )
    agent.run()
    _service.end_stream(
        stream.id,
        StreamStatus.COMPLETED,
        cpu_seconds=process_time() - began,
        model_usd=agent.model_cost_usd,
    )
    _discard(stream.id)


def _publish(stream: Stream, segments: list[Segment], candidate: Candidate) -> bool:
    """Make a highlight of a candidate: its files first, then its row, then the customer is told; whether it's new."""
    highlight_id = derived_id(stream.id, candidate.first_segment)
    directory = _directory(stream.id)
    clip, thumbnail = directory / f"{highlight_id}.mp4", directory / f"{highlight_id}.jpg"
    media.cut_clip(segments, candidate.start, candidate.end, clip)
    media.thumbnail(segments, (candidate.start + candidate.end) / 2, thumbnail)
    highlight = Highlight(
        id=highlight_id,
        stream_id=stream.id,
        start_seconds=candidate.start,
        end_seconds=candidate.end,
        confidence=candidate.confidence,
        type=candidate.type,
        title=candidate.title,
        reason=candidate.reason,
        method=candidate.method,
        clip_key=f"{stream.id}/{clip.name}",
        thumbnail_key=f"{stream.id}/{thumbnail.name}",
        bytes=clip.stat().st_size + thumbnail.stat().st_size,
    )
    _upload(stream, clip, highlight.clip_key, "video/mp4")
    _upload(stream, thumbnail, highlight.thumbnail_key, "image/jpeg")
    with transaction() as session:
        # Takes the row's lock: a stop comes wholly before this highlight or wholly after it.
        values = {"stage": "detecting"}
        wanted = repositories.update_stream(session, stream.id, when=[StreamStatus.PROCESSING], values=values)
        is_new = wanted is not None and repositories.save_highlight(session, highlight)
        kept = session.get(Highlight, highlight_id) is not None
        used = repositories.storage_used(session, stream.organization_id)
    if not kept:
        storage().delete_prefix(f"{stream.id}/{highlight_id}")
    if not wanted:
        raise _Stopped
    if is_new:
        metrics.increment_highlights_detected(1, stream.platform, stream.organization_id, candidate.method)
        metrics.record_storage_usage(used, stream.organization_id, "s3")
        log_event("highlight.detected", confidence=candidate.confidence, method=candidate.method)
    told = {
        "highlight_id": highlight_id,
        "stream_id": stream.id,
        "start_seconds": candidate.start,
        "end_seconds": candidate.end,
        "confidence": candidate.confidence,
        "type": candidate.type,
        "title": candidate.title,
        "reason": candidate.reason,
    }
    # Told again where a worker died between the row and this: one event has one id, and nobody gets it twice.
    trigger_webhook(stream.organization_id, "highlight.detected", told, event_id=highlight_id)
    return is_new


def _upload(stream: Stream, path: Path, key: str, content_type: str) -> None:
    stored = False
    try:
        storage().upload(path, key, content_type)
        stored = True
    finally:
        metrics.increment_storage_operations("upload", stream.organization_id, stored)


def _fail(stream_id: str, failure: StreamFailure) -> None:
    try:
        _service.end_stream(stream_id, StreamStatus.FAILED, failure=failure)
    except _DATABASE_AWAY as error:
        values = (stream_id, failure.code, failure.reason)
        try:
            celery.send_task("end_stream", values, countdown=settings().retry_seconds)
        except _QUEUE_AWAY:  # there's nowhere to write it down: it is to be done again
            raise Reject(error, requeue=True) from error
    _discard(stream_id)


def _note(stream_id: str, **progress: Any) -> bool:
    """Tell how far it is; whether the stream is still wanted. A database that is away is no reason to give up."""
    try:
        return repositories.note_progress(stream_id, progress)
    except _DATABASE_AWAY:
        return True


def _go_on(stream_id: str, **progress: Any) -> None:
    if not _note(stream_id, **progress):
        raise _Stopped


def _segment_lengths(duration: float | None, most_seconds: float) -> dict[str, float]:
    """So that there are never more than `most_segments`: even ones, or ones that grow where it's live."""
    shortest, most = settings().segment_seconds, settings().most_segments
    if duration is not None:
        return {"seconds": max(shortest, most_seconds / most), "growth": 0.0}
    # Of 120: twenty of the shortest, then each a twentieth of all before it, which makes 116 in three hours.
    return {"seconds": shortest, "growth": 6 / most}


def _wait(task: Task) -> float:
    wait: float = settings().retry_seconds * 2**task.request.retries
    return min(wait, _LONGEST_WAIT_SECONDS)


def _directory(stream_id: str) -> Path:
    return settings().work_dir / stream_id


def _discard(stream_id: str) -> None:
    shutil.rmtree(_directory(stream_id), ignore_errors=True)
