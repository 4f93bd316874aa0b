"""Webhooks: calls of customers' servers."""

from __future__ import annotations

from typing import Final

from tldr_observability.catalogue.attributes import EVENT_TYPE, ORGANIZATION, OUTCOME
from tldr_observability.catalogue.bounds import REQUEST_SECONDS
from tldr_observability.catalogue.spec import CounterSpec, HistogramSpec

SENT: Final = CounterSpec(
    "tldr.webhook.sent",
    unit="{webhook}",
    description="Webhooks sent",
    attributes=(ORGANIZATION, EVENT_TYPE, OUTCOME),
    facade=("increment_webhook_sent",),
)
DURATION: Final = HistogramSpec(
    "tldr.webhook.duration",
    unit="s",
    description="Time that a customer's server takes to answer a webhook",
    attributes=(ORGANIZATION, EVENT_TYPE),
    facade=("record_webhook_latency",),
    bounds=REQUEST_SECONDS,
)
RETRIED: Final = CounterSpec(
    "tldr.webhook.retried",
    unit="{retry}",
    description="Webhooks sent again",
    attributes=(ORGANIZATION, EVENT_TYPE),
    facade=("increment_webhook_retry",),
)
DELIVERIES: Final = CounterSpec(
    "tldr.webhook.deliveries",
    unit="{delivery}",
    description="Deliveries of webhooks, as customers are charged for",
    attributes=(ORGANIZATION, OUTCOME),
    facade=("track_webhook_delivery_usage",),
)
