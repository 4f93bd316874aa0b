"""Webhooks: where customers want to be told of what happens, and which deliveries an event makes."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any, Final

from celery.exceptions import OperationalError
from sqlalchemy import select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from highlights.addresses import ForbiddenAddress, check_url
from highlights.celery_app import celery
from highlights.database import transaction
from highlights.models import Delivery, Webhook, derived_id, now
from highlights.problems import Conflict, InvalidRequest, NotFound
from tldr_observability import log_event, traced_repository_method, traced_service_method

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy.orm import Session

__all__ = [
    "EVENTS",
    "UNQUEUED",
    "create_webhook",
    "delete_webhook",
    "deliveries",
    "enqueue",
    "limit_reached",
    "mark_unqueued",
    "save_deliveries",
    "test_webhook",
    "trigger_webhook",
    "untold",
    "update_webhook",
    "webhook",
    "webhooks",
]

EVENTS: Final = (
    "stream.started",
    "stream.completed",
    "stream.failed",
    "stream.cancelled",
    "highlight.detected",
    "usage.limit_reached",
    "webhook.test",
)
UNQUEUED: Final = "Our task queue was not available. It will be sent when it is."
"""The error of a delivery that isn't in the queue."""
_SECRET_BYTES = 32


@traced_repository_method
def create_webhook(session: Session, organization_id: str, url: str, events: Iterable[str]) -> tuple[Webhook, str]:
    """A new webhook, and the secret that its owner verifies signatures with; it is told this once."""
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    made = Webhook(organization_id=organization_id, url=_allowed(url), events=_known(events), secret=secret)
    session.add(made)
    session.flush()
    return made, secret


@traced_repository_method
def webhook(session: Session, organization_id: str, webhook_id: str) -> Webhook:
    """One of the organization's webhooks; NotFound if it has none of this id."""
    found: Webhook | None = session.scalar(_webhooks(organization_id).where(Webhook.id == webhook_id))
    if found is None:
        raise NotFound("there is no such webhook")
    return found


@traced_repository_method
def webhooks(session: Session, organization_id: str) -> list[Webhook]:
    """The organization's webhooks, the oldest first."""
    return list(session.scalars(_webhooks(organization_id).order_by(Webhook.created_at, Webhook.id)))


@traced_repository_method
def update_webhook(  # noqa: PLR0913 - three of them are what may change
    session: Session,
    organization_id: str,
    webhook_id: str,
    *,
    url: str | None = None,
    events: Iterable[str] | None = None,
    enabled: bool | None = None,
) -> Webhook:
    """Change what isn't None. Enabling a webhook forgets its failures."""
    changed = webhook(session, organization_id, webhook_id)
    if url is not None:
        changed.url = _allowed(url)
    if events is not None:
        changed.events = _known(events)
    if enabled is not None:
        changed.enabled, changed.disabled_reason = enabled, None
        changed.failures = 0 if enabled else changed.failures
    session.flush()
    return changed


@traced_repository_method
def delete_webhook(session: Session, organization_id: str, webhook_id: str) -> None:
    """Send nothing there any more. Its deliveries stay on record, its address and secret don't."""
    deleted = webhook(session, organization_id, webhook_id)
    deleted.deleted_at, deleted.enabled, deleted.url, deleted.secret = now(), False, "", ""


@traced_repository_method
def deliveries(
    session: Session, organization_id: str, webhook_id: str, *, limit: int, before: str | None = None
) -> list[Delivery]:
    """What was sent to a webhook, the newest first; `before` is the id of the last one of the page before."""
    query = select(Delivery).where(Delivery.webhook_id == webhook(session, organization_id, webhook_id).id)
    if before is not None:
        last = session.get(Delivery, before)
        if last is None or last.webhook_id != webhook_id:
            raise NotFound("there is no such delivery")
        query = query.where(tuple_(Delivery.created_at, Delivery.id) < (last.created_at, last.id))
    return list(session.scalars(query.order_by(Delivery.created_at.desc(), Delivery.id.desc()).limit(limit)))


@traced_repository_method
def save_deliveries(  # noqa: PLR0913 - whom, what, and which
    session: Session,
    organization_id: str,
    event_type: str,
    data: dict[str, Any],
    *,
    event_id: str,
    to: Collection[Webhook] | None = None,
) -> list[str]:
    """Make an event's deliveries, one for each webhook that wants it; those that were made before stay as they are.

    In the transaction of what the event is about, neither is there without the other; `enqueue` follows its commit.

    Args:
        session: a transaction.
        organization_id: whose webhooks.
        event_type: one of `EVENTS`.
        data: what happened; its values are JSON's.
        event_id: the same each time that this event is told.
        to: the webhooks, where it isn't for all that subscribe to it.

    Returns:
        The ids of the deliveries that weren't there yet.
    """
    if to is None:
        enabled = session.scalars(_webhooks(organization_id).where(Webhook.enabled))
        to = [each for each in enabled if event_type in each.events]
    if not to:
        return []
    payload = {"type": event_type, "timestamp": now().isoformat(), "data": data}
    about = {"organization_id": organization_id, "event_type": event_type, "payload": payload}
    rows = [{**about, "id": derived_id(event_id, each.id), "webhook_id": each.id} for each in to]
    insert: Any = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}[session.get_bind().dialect.name]
    return list(session.scalars(insert(Delivery).values(rows).on_conflict_do_nothing().returning(Delivery.id)))


@traced_service_method
def trigger_webhook(organization_id: str, event_type: str, data: dict[str, Any], *, event_id: str) -> list[str]:
    """Tell the webhooks that want to know; telling the same event again tells nobody twice.

    It has a transaction of its own: call it after the commit of what it tells of.

    Returns:
        The ids of the deliveries that are on their way now.
    """
    with transaction() as session:
        save_deliveries(session, organization_id, event_type, data, event_id=event_id)
        waiting = untold(session, organization_id, event_id)
    enqueue(waiting)
    return waiting


@traced_repository_method
def untold(session: Session, organization_id: str, event_id: str) -> list[str]:
    """The ids of an event's deliveries that nobody has tried yet."""
    ids = [derived_id(event_id, each) for each in session.scalars(_ids(organization_id))]
    untried = (Delivery.status == "pending") & (Delivery.attempts == 0)
    return list(session.scalars(select(Delivery.id).where(Delivery.id.in_(ids), untried)))


@traced_service_method
def limit_reached(organization_id: str, quota: str, used: float, limit: float) -> None:
    """Tell a customer that it has reached a limit of its plan, once a month for each quota."""
    month = f"{now():%Y-%m}"
    data = {"quota": quota, "used": used, "limit": limit, "month": month}
    with transaction() as session:
        new = save_deliveries(
            session,
            organization_id,
            "usage.limit_reached",
            data,
            event_id=derived_id("usage.limit_reached", organization_id, quota, month),
        )
    enqueue(new)  # no others: a client that asks on and on must not send them again and again


@traced_service_method
def test_webhook(organization_id: str, webhook_id: str) -> str:
    """Send a `webhook.test`, whatever the webhook subscribes to; returns the delivery's id."""
    with transaction() as session:
        tested = webhook(session, organization_id, webhook_id)
        if not tested.enabled:
            raise Conflict("the webhook is disabled", code="webhook_disabled")
        data = {"webhook_id": webhook_id}
        event_id = secrets.token_hex()
        (delivery_id,) = save_deliveries(session, organization_id, "webhook.test", data, event_id=event_id, to=[tested])
    enqueue([delivery_id])
    return delivery_id


def enqueue(delivery_ids: Iterable[str]) -> None:
    """Hand committed deliveries to the workers; what the queue can't take is marked, and sent once workers see it."""
    left = list(delivery_ids)
    try:
        while left:
            celery.send_task("deliver_webhook", (left[0],))
            del left[0]
    except OperationalError as error:
        log_event("webhook.queue_unavailable", level="error", deliveries=len(left), error=str(error))
        mark_unqueued(left)


def mark_unqueued(delivery_ids: Collection[str]) -> None:
    """Have deliveries sent as soon as there is a queue again."""
    with transaction() as session:
        session.execute(update(Delivery).where(Delivery.id.in_(delivery_ids)).values(error=UNQUEUED))


def _webhooks(organization_id: str) -> Any:
    return select(Webhook).where(Webhook.organization_id == organization_id, Webhook.deleted_at.is_(None))


def _ids(organization_id: str) -> Any:
    return _webhooks(organization_id).with_only_columns(Webhook.id)


def _allowed(url: str) -> str:
    try:
        check_url(url)
    except ForbiddenAddress as error:
        raise InvalidRequest(error.reason, code="forbidden_address") from error
    return url


def _known(events: Iterable[str]) -> list[str]:
    wanted = set(events)
    if not wanted or not wanted.issubset(EVENTS):
        raise InvalidRequest(f"events are one or more of {', '.join(EVENTS)}", code="unknown_event")
    return [each for each in EVENTS if each in wanted]
