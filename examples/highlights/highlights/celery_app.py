"""The Celery application: queues, delivery guarantees, and which task goes where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.exceptions import Reject

from highlights.settings import settings

if TYPE_CHECKING:
    from celery import Task

__all__ = ["again", "celery"]


def _configuration() -> dict[str, Any]:
    return {
        "broker_url": settings().redis_url,
        "broker_transport": "highlights.broker:Transport",
        "include": ["highlights.tasks", "highlights.deliveries"],
        "task_default_queue": "ingest",
        "task_routes": {
            "ingest_stream_with_ffmpeg": {"queue": "ingest"},
            "detect_highlights_with_ai": {"queue": "detection"},
            "end_stream": {"queue": "webhooks"},
            "deliver_webhook": {"queue": "webhooks"},
        },
        "task_ignore_result": True,
        # A task belongs to its worker once it is done, not before: one that dies leaves it to another.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_max_tasks_per_child": settings().tasks_per_child,
        "broker_transport_options": {
            "visibility_timeout": settings().visibility_seconds,
            "socket_connect_timeout": 5,
            "socket_timeout": 3,
        },
        "broker_connection_retry_on_startup": True,
        # Publishing is part of a request: it fails soon instead of holding up the customer.
        "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0.1, "interval_max": 0.5},
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,  # the console's lines are printed as they are
    }


celery = Celery("highlights")
celery.add_defaults(_configuration)  # called when first needed, so that importing this needs no settings


def again(task: Task, seconds: float, error: Exception | None = None) -> Exception:
    """What to raise so that a task runs once more in so many seconds, or as soon as there is a queue again."""
    later: Exception
    try:
        later = task.retry(exc=error, countdown=seconds, throw=False)
    except Reject:  # the queue is away: what it still has of the task is not to be forgotten
        later = Reject(error, requeue=True)
    return later
