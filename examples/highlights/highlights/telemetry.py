"""All of this service's wiring of observability; what is observed, and where it is sent, is in `LOGFIRE_*`."""

from fastapi import FastAPI

from highlights.celery_app import celery
from highlights.database import engine
from highlights.redis_client import redis_client
from tldr_observability import Observability, setup


def observe(service: str, app: FastAPI | None = None) -> Observability:
    """Trace, measure and log this process, as `highlights-<service>`."""
    return setup(service_name=f"highlights-{service}", engine=engine(), redis=redis_client(), celery=celery, app=app)
