"""The Celery application: queues, delivery guarantees, and which task goes where."""

from __future__ import annotations

from typing import Any

from celery import Celery

from highlights.settings import settings

__all__ = ["celery"]


def _configuration() -> dict[str, Any]:
    return {
        "broker_url": settings().redis_url,
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
        "broker_transport_options": {"visibility_timeout": settings().visibility_seconds, "socket_connect_timeout": 5},
        "broker_connection_retry_on_startup": True,
        # Publishing is part of a request: it fails soon instead of holding up the customer.
        "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0.1, "interval_max": 0.5},
        "worker_hijack_root_logger": False,
    }


celery = Celery("highlights")
celery.add_defaults(_configuration)  # called when first needed, so that importing this needs no settings
