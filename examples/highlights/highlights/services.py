"""What the service does with a stream: begins its processing, keeps track of it, and ends it exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.exceptions import OperationalError

from highlights import platforms, repositories
from highlights.celery_app import celery
from highlights.database import transaction
from highlights.failures import StreamFailure
from highlights.models import Stream, StreamStatus, now
from highlights.problems import Unavailable
from highlights.quota import usage
from highlights.repositories import OPEN
from highlights.settings import settings
from highlights.webhooks import enqueue, save_deliveries, untold
from tldr_observability import log_event, metrics, traced_service_method

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from highlights.models import Organization
    from highlights.schemas import StreamRequest

__all__ = ["StreamProcessingService"]


class StreamProcessingService:
    """Streams from the request that asks for one to the end of its processing."""

    @traced_service_method
    def start_stream_processing(self, session: Session, organization: Organization, request: StreamRequest) -> Stream:
        """Keep a stream and hand it to the workers; it is committed before they can see it.

        Raises:
            Unavailable: the workers' queue is away; the stream has failed.
        """
        url = str(request.url)
        platform = self.detect_platform(url)
        stream = Stream(
            organization_id=organization.id,
            url=url,
            title=request.title,
            platform=platform,
            type=request.type or platforms.stream_type(url, platform),
            reference=request.reference,
            max_seconds=request.max_seconds,
        )
        repositories.save_stream(session, stream)
        stream.agent_config = self.get_agent_config(request)
        session.commit()
        metrics.increment_stream_started(platform, organization.id, stream.type)
        log_event("stream.started", platform=platform, stream_type=stream.type)
        self.trigger_async_processing(stream)
        return stream

    @traced_service_method
    def detect_platform(self, url: str) -> str:
        """Whose stream it is."""
        return platforms.detect_platform(url)

    @traced_service_method
    def get_agent_config(self, request: StreamRequest) -> dict[str, Any]:
        """What the agent is to look for: the customer's options over the service's settings."""
        return {
            "threshold": settings().confidence_threshold,
            "model": settings().model,
            **request.options.for_agent(),
        }

    @traced_service_method
    def trigger_async_processing(self, stream: Stream) -> None:
        """Hand the stream to the workers."""
        try:
            celery.send_task("ingest_stream_with_ffmpeg", (stream.id,))
        except OperationalError as error:
            reason = "The stream could not be queued. Please send it again."
            self.end_stream(stream.id, StreamStatus.FAILED, failure=StreamFailure("queue_unavailable", reason))
            raise Unavailable(reason, code="queue_unavailable", stream_id=stream.id) from error

    @traced_service_method
    def end_stream(
        self,
        stream_id: str,
        status: StreamStatus,
        *,
        failure: StreamFailure | None = None,
        cpu_seconds: float = 0.0,
        model_usd: float = 0.0,
    ) -> Stream | None:
        """Bring a stream to its end, count it and tell the customer; None if it has ended before.

        Args:
            stream_id: which.
            status: a final one.
            failure: why, where it failed.
            cpu_seconds: of this last step.
            model_usd: what the language model has cost.
        """
        values: dict[str, Any] = {
            "status": status,
            "stage": "done",
            "ended_at": now(),
            "cpu_seconds": Stream.cpu_seconds + cpu_seconds,
            "cost_usd": (Stream.cpu_seconds + cpu_seconds) / 3600 * settings().cpu_hour_usd + model_usd,
        }
        if failure is not None:
            values |= {"failure_code": failure.code, "failure_reason": failure.reason}
        with transaction() as session:
            stream = repositories.update_stream(session, stream_id, when=OPEN, values=values)
            if stream is None:
                return None
            # Reserved is what might have been read.
            stream.billed_seconds = min(stream.billed_seconds, stream.seconds or 0.0)
            session.flush()
            usage(session, stream.organization_id, repositories.organization(session, stream.organization_id).plan)
            found = len(repositories.highlights(session, stream_id))
            active = repositories.active_streams(session)
            # With the state and not after it: whoever finds the stream ended tells nobody.
            told = save_deliveries(
                session,
                stream.organization_id,
                f"stream.{status}",
                _told(stream, found),
                event_id=f"{stream.id}:{status}",
            )
        self._count(stream, active)
        enqueue(told)
        log_event(f"stream.{status}", platform=stream.platform, highlights=found)
        return stream

    @traced_service_method
    def tell_end(self, stream_id: str) -> None:
        """Tell the customer of a stream's end, where a worker died between the end and the telling."""
        with transaction() as session:
            stream = session.get_one(Stream, stream_id)
            waiting = untold(session, stream.organization_id, f"{stream.id}:{stream.status}")
        enqueue(waiting)

    @staticmethod
    def _count(stream: Stream, active: dict[str, int]) -> None:
        organization, platform = stream.organization_id, stream.platform
        outcome: Any = {StreamStatus.COMPLETED: "success"}.get(StreamStatus(stream.status), stream.status)
        metrics.increment_stream_completed(platform, organization, stream.type, outcome=outcome)
        metrics.record_stream_duration((now() - stream.created_at).total_seconds(), platform, organization)
        metrics.record_stream_cost(stream.cost_usd, platform, organization)
        metrics.track_stream_processing_usage(None, organization, stream.id, stream.billed_seconds / 60)
        for each, count in active.items():
            metrics.set_active_streams(count, each)


def _told(stream: Stream, highlights: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "stream_id": stream.id,
        "reference": stream.reference,
        "status": stream.status,
        "highlights": highlights,
        "seconds": stream.seconds,
    }
    if stream.failure_code is not None:
        told["failure"] = {"code": stream.failure_code, "reason": stream.failure_reason}
    return told
