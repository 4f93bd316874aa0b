"""What `celery -A highlights.worker worker` runs."""

from highlights.celery_app import celery
from highlights.telemetry import observe

__all__ = ["celery"]

observe("worker")
