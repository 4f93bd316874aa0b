"""`/api/v1/webhooks`: where the organization wants to be told of events, and what it was told."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Response

from highlights import webhooks
from highlights.addresses import check_url
from highlights.api.access import allowed
from highlights.api.paging import Before, Id, Limit, page
from highlights.database import transaction
from highlights.principal import Principal
from highlights.problems import Conflict
from highlights.schemas import (
    DeliveryAnswer,
    DeliveryList,
    NewWebhookAnswer,
    TestAnswer,
    WebhookAnswer,
    WebhookChange,
    WebhookList,
    WebhookRequest,
)

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])
Owner = Annotated[Principal, Depends(allowed("webhooks"))]
_MOST: Final = 20
"""Webhooks of an organization: one event must not become thousands of requests, to whomever they are named."""


@router.post("", status_code=201)
def create_webhook(principal: Owner, request: WebhookRequest, response: Response) -> NewWebhookAnswer:
    """Make a webhook. The secret of its signatures is told here and never again."""
    check_url(request.url)
    with transaction() as session:
        if len(webhooks.webhooks(session, principal.organization_id)) >= _MOST:
            raise Conflict(f"an organization has at most {_MOST} webhooks", code="too_many_webhooks")
        made, secret = webhooks.create_webhook(session, principal.organization_id, request.url, request.events)
    response.headers["Location"] = f"{router.prefix}/{made.id}"
    response.headers["Cache-Control"] = "no-store"
    return NewWebhookAnswer(**WebhookAnswer.model_validate(made).model_dump(), secret=secret)


@router.get("")
def list_webhooks(principal: Owner) -> WebhookList:
    """All webhooks of the organization."""
    with transaction() as session:
        found = webhooks.webhooks(session, principal.organization_id)
    return WebhookList(webhooks=[WebhookAnswer.model_validate(each) for each in found])


@router.get("/{webhook_id}")
def get_webhook(principal: Owner, webhook_id: Id) -> WebhookAnswer:
    """A webhook, and whether it is still enabled."""
    with transaction() as session:
        return WebhookAnswer.model_validate(webhooks.webhook(session, principal.organization_id, webhook_id))


@router.patch("/{webhook_id}")
def update_webhook(principal: Owner, webhook_id: Id, change: WebhookChange) -> WebhookAnswer:
    """Change what is given; enabling a webhook forgets its failures."""
    if change.url is not None:
        check_url(change.url)
    with transaction() as session:
        changed = webhooks.update_webhook(session, principal.organization_id, webhook_id, **change.model_dump())
    return WebhookAnswer.model_validate(changed)


@router.delete("/{webhook_id}", status_code=204)
def delete_webhook(principal: Owner, webhook_id: Id) -> None:
    """Send nothing there any more."""
    with transaction() as session:
        webhooks.delete_webhook(session, principal.organization_id, webhook_id)


@router.post("/{webhook_id}/test", status_code=202)
def test_webhook(principal: Owner, webhook_id: Id) -> TestAnswer:
    """Send the event `webhook.test` there; what becomes of it is among the deliveries."""
    return TestAnswer(delivery_id=webhooks.test_webhook(principal.organization_id, webhook_id))


@router.get("/{webhook_id}/deliveries")
def list_deliveries(principal: Owner, webhook_id: Id, limit: Limit = 20, before: Before = None) -> DeliveryList:
    """What was sent there, the newest first."""
    with transaction() as session:
        found = webhooks.deliveries(session, principal.organization_id, webhook_id, limit=limit + 1, before=before)
    shown, following = page(found, limit)
    return DeliveryList(deliveries=[DeliveryAnswer.model_validate(each) for each in shown], next=following)
