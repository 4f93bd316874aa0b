"""The delivery of webhooks in the workers: one signed request a run of the task, until it is answered or given up."""

from __future__ import annotations

import json
import logging
import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Final

import httpx
from celery.bootsteps import StartStopStep
from celery.exceptions import Retry
from opentelemetry.semconv.attributes.url_attributes import URL_FULL
from sqlalchemy import update
from sqlalchemy.exc import InterfaceError, OperationalError
from standardwebhooks import Webhook as Signer

from highlights.addresses import ForbiddenAddress, guarded_client
from highlights.celery_app import again, celery
from highlights.database import transaction
from highlights.models import Delivery, Webhook, now
from highlights.settings import settings
from highlights.webhooks import UNQUEUED, enqueue, mark_unqueued
from tldr_observability import (
    add_user_context,
    current_span,
    log_event,
    metrics,
    traced_background_task,
    traced_repository_method,
    traced_service_method,
)

if TYPE_CHECKING:
    from celery import Task
    from sqlalchemy.orm import Session

__all__ = ["Attempt", "deliver_webhook", "resume_deliveries"]

_AGAIN: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
_MOST_WAIT_SECONDS: Final = 3600.0
_MOST_DATABASE_WAIT_SECONDS: Final = 60.0
_LONGEST_ERROR: Final = 200
_USER_AGENT: Final = "highlights-webhooks/1"

# At level info it writes the whole address of each request, and those of webhooks are secrets as often as not.
logging.getLogger("httpx").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one request ended.

    Attributes:
        status: what was answered, if anything was.
        error: what went wrong, for the customer; None where the webhook was accepted.
        again: whether the same request may succeed later.
        seconds: how long the answer took.
        wait: seconds that the receiver asks for until the next.
    """

    status: int | None
    error: str | None
    again: bool
    seconds: float = 0.0
    wait: float = 0.0


@celery.task(name="deliver_webhook", bind=True, max_retries=None)
@traced_background_task
def deliver_webhook(self: Task, delivery_id: str) -> None:
    """Send what is still to be sent, once; where that fails for now, a later run of the task sends it again."""
    try:
        with transaction() as session:
            delivery, webhook = load_delivery(session, delivery_id)
        if webhook is None:
            return
        add_user_context(organization_id=delivery.organization_id)
        attempt = send_webhook(delivery, webhook)
        with transaction() as session:
            ended, disabled = record_attempt(session, delivery, attempt)
    except (OperationalError, InterfaceError) as error:
        # Where it was sent already it will be sent again under the same id.
        wait = min(_MOST_DATABASE_WAIT_SECONDS, _backoff(self.request.retries))
        raise again(self, wait, error) from error
    _tell(delivery, attempt, ended, disabled)
    if ended == "pending":
        later = again(self, max(attempt.wait, _backoff(delivery.attempts)))
        if isinstance(later, Retry):
            raise later
        mark_unqueued([delivery_id])


@traced_repository_method
def load_delivery(session: Session, delivery_id: str) -> tuple[Delivery, Webhook | None]:
    """A delivery, and where to send it; None where it isn't to be sent, for it was or its webhook is disabled."""
    delivery = session.get_one(Delivery, delivery_id)
    webhook = session.get_one(Webhook, delivery.webhook_id)
    if delivery.status != "pending":
        return delivery, None
    if not webhook.enabled:
        delivery.status, delivery.error, delivery.ended_at = "failed", "The webhook is disabled.", now()
        session.flush()
        return delivery, None
    return delivery, webhook


@traced_service_method
def send_webhook(delivery: Delivery, webhook: Webhook) -> Attempt:
    """Make one request, signed as Standard Webhooks has it. What is answered is not read."""
    moment = now()
    body = json.dumps(delivery.payload, separators=(",", ":"))
    headers = {
        "content-type": "application/json",
        "user-agent": _USER_AGENT,
        "webhook-id": delivery.id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Signer(webhook.secret).sign(delivery.id, moment, body),
    }
    timeout = settings().webhook_timeout
    began = perf_counter()
    try:
        url = httpx.URL(webhook.url)
        hidden = {"trace": partial(_hide, url.copy_with(raw_path=b"/"))}
        with (
            guarded_client(timeout=timeout, on_wait=partial(_end, began + timeout)) as client,
            client.stream("POST", url, content=body, headers=headers, extensions=hidden) as answer,
        ):
            return _judge(answer, perf_counter() - began)
    except ForbiddenAddress as error:
        return Attempt(None, error.reason, again=False)
    except httpx.InvalidURL:
        return Attempt(None, "The URL is not valid.", again=False)
    except httpx.TimeoutException:
        return Attempt(None, f"No answer within {timeout:g} seconds.", again=True)
    except httpx.TransportError as error:
        return Attempt(None, f"No answer: {str(error)[:_LONGEST_ERROR] or type(error).__name__}.", again=True)


@traced_repository_method
def record_attempt(session: Session, delivery: Delivery, attempt: Attempt) -> tuple[str | None, str | None]:
    """Keep how an attempt went.

    Returns:
        The delivery's status now, None where another run of the task has ended it meanwhile; and why its webhook is
        disabled from now on, if it is.
    """
    one_more = update(Delivery).where(Delivery.id == delivery.id).values(attempts=Delivery.attempts + 1)
    kept = session.scalars(one_more.returning(Delivery)).one()  # has the row's lock from here on
    if kept.status != "pending":
        return None, None
    kept.response_status, kept.error = attempt.status, attempt.error
    goes_on = attempt.error is not None and attempt.again and kept.attempts < settings().webhook_attempts
    if not goes_on:
        kept.status, kept.ended_at = "delivered" if attempt.error is None else "failed", now()
    session.flush()
    return kept.status, None if goes_on else _note_outcome(session, delivery, attempt)


def _note_outcome(session: Session, delivery: Delivery, attempt: Attempt) -> str | None:
    """Count a delivery's end for its webhook; the reason, where that disables it."""
    failures = 0 if attempt.error is None else Webhook.failures + 1
    its = update(Webhook).where(Webhook.id == delivery.webhook_id).values(failures=failures)
    webhook = session.scalars(its.returning(Webhook)).one()
    if attempt.status == HTTPStatus.GONE:
        reason = "The endpoint answered 410 Gone."
    elif webhook.failures >= settings().webhook_failures:
        reason = f"{webhook.failures} deliveries in a row failed. The last one: {attempt.error}"
    else:
        return None
    if not webhook.enabled:
        return None
    webhook.enabled, webhook.disabled_reason = False, reason
    session.flush()
    return reason


@celery.task(
    name="resume_deliveries",
    queue="webhooks",
    autoretry_for=(OperationalError, InterfaceError),
    retry_backoff=True,
    max_retries=None,
)
@traced_background_task
def resume_deliveries() -> None:
    """Enqueue what the queue could not take when it happened."""
    with transaction() as session:
        unqueued = update(Delivery).where(Delivery.status == "pending", Delivery.error == UNQUEUED).values(error=None)
        ids = list(session.scalars(unqueued.returning(Delivery.id)))
    enqueue(ids)


class ResumeDeliveries(StartStopStep):  # type: ignore[misc] # Celery has no types
    """Part of each worker: has that done whenever the worker has connected to the queue, again too."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: object) -> None:  # noqa: ARG002 - Celery's signature
        """Ask for it by a task, for no connection to the database may be open where worker processes are forked."""
        resume_deliveries.delay()


celery.steps["consumer"].add(ResumeDeliveries)


def _hide(host: httpx.URL, *_: object) -> None:
    """Leave only the host on the client's span: addresses of webhooks often are secrets, in any part of them."""
    current_span().set_attribute(URL_FULL, str(host))


def _end(at: float) -> None:
    """A receiver that answers a byte now and then must not keep a worker for ever."""
    if perf_counter() > at:
        raise httpx.ReadTimeout("the whole answer took too long")


def _judge(answer: httpx.Response, seconds: float) -> Attempt:
    status = answer.status_code
    said = f"{status} {answer.reason_phrase}".strip()[:_LONGEST_ERROR]
    if answer.is_success:
        return Attempt(status, None, again=False, seconds=seconds)
    if answer.is_redirect:
        return Attempt(status, f"{said}: redirects are not followed.", again=False, seconds=seconds)
    again = answer.is_server_error or status in _AGAIN
    return Attempt(status, f"{said}.", again=again, seconds=seconds, wait=_asked_wait(answer))


def _asked_wait(answer: httpx.Response) -> float:
    """The seconds of `Retry-After`, which may be a date; no more than an hour, and 0 where it says nothing."""
    asked = answer.headers.get("retry-after", "")
    try:
        wait = float(asked) if asked.isdecimal() else (parsedate_to_datetime(asked) - now()).total_seconds()
    except (ValueError, TypeError, OverflowError):  # no date, or one without a zone, or beyond all calendars
        return 0.0
    return min(max(wait, 0.0), _MOST_WAIT_SECONDS)


def _backoff(before: int) -> float:
    """Seconds until the next try after so many: doubling, and not the same for all that failed at one moment."""
    wait: float = settings().retry_seconds * 2 ** min(before, 16) * random.uniform(1, 1.25)  # noqa: S311 - spreads load
    return min(wait, _MOST_WAIT_SECONDS)


def _tell(delivery: Delivery, attempt: Attempt, ended: str | None, disabled: str | None) -> None:
    organization, event_type = delivery.organization_id, delivery.event_type
    metrics.increment_webhook_sent(organization, event_type, success=attempt.error is None)
    if delivery.attempts:
        metrics.increment_webhook_retry(organization, event_type, delivery.attempts)
    if attempt.status is not None:
        metrics.record_webhook_latency(attempt.seconds, organization, event_type)
    if ended in {"delivered", "failed"}:
        metrics.track_webhook_delivery_usage(None, organization, delivery.webhook_id, success=ended == "delivered")
    about = {"webhook_id": delivery.webhook_id, "delivery_id": delivery.id, "event_type": event_type}
    if ended == "failed":
        log_event("webhook.failed", level="warn", error=attempt.error, attempts=delivery.attempts + 1, attributes=about)
    if disabled is not None:
        log_event("webhook.disabled", level="warn", reason=disabled, attributes=about)
