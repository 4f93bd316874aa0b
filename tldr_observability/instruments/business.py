"""A typed method for each metric that a service records by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from tldr_observability import catalogue, guard

if TYPE_CHECKING:
    from tldr_observability.catalogue.spec import CounterSpec, GaugeSpec, HistogramSpec, MetricSpec

__all__ = ["BusinessMetrics"]

Outcome = Literal["success", "failed", "cancelled"]

_SERVER_ERRORS = 500


class BusinessMetrics:
    """Records the catalogue's metrics by name of what happened: `metrics.increment_stream_started("twitch", "123")`.

    An `organization_id` may be None: the series then goes without it. Whatever else is wrong with a measurement is said
    once in the log, and never raised.
    """

    if TYPE_CHECKING:
        # Of `Metrics`, which knows the instruments; `values` are in the order of the specification's attributes.
        def _add(self, spec: CounterSpec, amount: float, values: tuple[object, ...]) -> None: ...
        def _record(self, spec: HistogramSpec, value: float, values: tuple[object, ...]) -> None: ...
        def _set(self, spec: GaugeSpec, value: float, values: tuple[object, ...]) -> None: ...
        def _recorder(self, spec: MetricSpec) -> Any: ...

    # Streams

    def increment_stream_started(self, platform: str, organization_id: str | None, stream_type: str = "live") -> None:
        """Count a stream whose processing begins."""
        self._add(catalogue.streams.STARTED, 1, (platform, organization_id, stream_type))

    def increment_stream_completed(
        self,
        platform: str,
        organization_id: str | None,
        stream_type: str = "live",
        success: bool = True,
        *,
        outcome: Outcome | None = None,
    ) -> None:
        """Count a stream whose processing ended; `outcome` says it where `success` is too little."""
        self._add(
            catalogue.streams.COMPLETED, 1, (platform, organization_id, stream_type, outcome or _outcome(success))
        )

    def record_stream_duration(self, duration_seconds: float, platform: str, organization_id: str | None) -> None:
        """Record how long a stream was processed."""
        self._record(catalogue.streams.DURATION, duration_seconds, (platform, organization_id))

    def set_active_streams(self, count: int, platform: str | None = None) -> None:
        """Say how many streams the whole service processes now; what any of its processes said last counts."""
        self._set(catalogue.streams.ACTIVE, count, (platform,))

    def record_stream_cost(self, cost: float, platform: str, organization_id: str | None) -> None:
        """Add to what processing streams has cost, in US dollars."""
        self._add(catalogue.streams.COST, cost, (platform, organization_id))

    def track_stream_processing_usage(
        self, user_id: object, organization_id: str | None, stream_id: object, processing_minutes: float
    ) -> None:
        """Add to the minutes that a customer is charged for; users and streams are too many to be told apart here."""
        del user_id, stream_id
        self._add(catalogue.streams.PROCESSED, processing_minutes, (organization_id,))

    # Highlights

    def increment_highlights_detected(
        self, count: int, platform: str, organization_id: str | None, detection_method: str
    ) -> None:
        """Count highlights that were found."""
        self._add(catalogue.highlights.DETECTED, count, (platform, organization_id, detection_method))

    def record_highlight_confidence(self, confidence: float, detection_method: str, platform: str) -> None:
        """Record how sure the detector is of a highlight, from 0 to 1."""
        self._record(catalogue.highlights.CONFIDENCE, confidence, (detection_method, platform))

    def record_highlight_processing_time(self, duration_seconds: float, stage: str, platform: str) -> None:
        """Record how long a step of the processing took."""
        self._record(catalogue.highlights.PROCESSING_DURATION, duration_seconds, (stage, platform))

    # The API

    def record_api_latency(self, latency_seconds: float, endpoint: str, method: str, status_code: int) -> None:
        """Record how long a request took, where no middleware of this package does; `endpoint` is the route."""
        error = str(status_code) if isinstance(status_code, int) and status_code >= _SERVER_ERRORS else None
        self._record(
            catalogue.api.REQUEST_DURATION, latency_seconds, (method, None, None, endpoint, status_code, error)
        )

    def track_api_call_usage(  # noqa: PLR0913, PLR0917 - the call shape that users have
        self,
        user_id: object,
        organization_id: str | None,
        endpoint: str,
        method: str,
        status_code: int,
        response_time_ms: float,
    ) -> None:
        """Count a call that a customer is charged for, and in `tldr.api.call.duration` how long it took.

        Users are too many to be told apart here.
        """
        del user_id
        self._add(catalogue.api.CALLS, 1, (organization_id, endpoint, method, status_code))
        self._record(catalogue.api.CALL_DURATION, _seconds(response_time_ms), (organization_id, endpoint))

    def increment_api_key_usage(self, api_key_id: str, organization_id: str | None, endpoint: str) -> None:
        """Count a call that was made with an API key."""
        self._add(catalogue.api.KEY_USAGE, 1, (api_key_id, organization_id, endpoint))

    def increment_rate_limit_exceeded(self, api_key_id: str, organization_id: str | None, endpoint: str) -> None:
        """Count a call that was refused for there were too many."""
        self._add(catalogue.api.RATE_LIMIT_EXCEEDED, 1, (api_key_id, organization_id, endpoint))

    def increment_quota_checked(self, organization_id: str | None, quota: str) -> None:
        """Count a check of a quota, whatever it says."""
        self._add(catalogue.api.QUOTA_CHECKED, 1, (organization_id, quota))

    def increment_quota_exceeded(self, organization_id: str | None, quota: str) -> None:
        """Count a check that found the quota exceeded; the check itself is counted by `increment_quota_checked`."""
        self._add(catalogue.api.QUOTA_EXCEEDED, 1, (organization_id, quota))

    def set_quota(self, organization_id: str | None, quota: str, used: float, limit: float) -> None:
        """Say how much of a quota is used and how much it allows."""
        self._set(catalogue.api.QUOTA_USED, used, (organization_id, quota))
        self._set(catalogue.api.QUOTA_LIMIT, limit, (organization_id, quota))

    # Tasks

    def increment_task_executed(self, task_name: str, organization_id: str | None, success: bool) -> None:
        """Count a background task that ended, where no integration of this package does."""
        self._add(catalogue.tasks.EXECUTED, 1, (task_name, organization_id, _outcome(success)))

    def record_task_duration(self, duration_seconds: float, task_name: str, organization_id: str | None) -> None:
        """Record how long a background task ran, where no integration of this package does."""
        self._record(catalogue.tasks.DURATION, duration_seconds, (task_name, organization_id))

    def set_task_queue_depth(self, queue_name: str, depth: int) -> None:
        """Say how many tasks wait in a queue."""
        self._set(catalogue.tasks.QUEUE_DEPTH, depth, (queue_name,))

    # Webhooks

    def increment_webhook_sent(self, organization_id: str | None, event_type: str, success: bool) -> None:
        """Count a webhook that was sent, or could not be."""
        self._add(catalogue.webhooks.SENT, 1, (organization_id, event_type, _outcome(success)))

    def record_webhook_latency(self, latency_seconds: float, organization_id: str | None, event_type: str) -> None:
        """Record how long the customer's server took to answer."""
        self._record(catalogue.webhooks.DURATION, latency_seconds, (organization_id, event_type))

    def increment_webhook_retry(self, organization_id: str | None, event_type: str, retry_count: int) -> None:
        """Count that a webhook is sent again; which attempt it is does not tell series apart."""
        del retry_count
        self._add(catalogue.webhooks.RETRIED, 1, (organization_id, event_type))

    def track_webhook_delivery_usage(
        self, user_id: object, organization_id: str | None, webhook_id: object, success: bool = True
    ) -> None:
        """Count a delivery that a customer is charged for; users and webhooks are too many to be told apart here."""
        del user_id, webhook_id
        self._add(catalogue.webhooks.DELIVERIES, 1, (organization_id, _outcome(success)))

    # Storage

    def record_storage_usage(self, bytes_used: int, organization_id: str | None, storage_type: str) -> None:
        """Say how much a customer's objects occupy."""
        self._set(catalogue.storage.USED, bytes_used, (organization_id, storage_type))

    def increment_storage_operations(self, operation: str, organization_id: str | None, success: bool) -> None:
        """Count an operation of the object store on a customer's behalf."""
        self._add(catalogue.storage.OPERATIONS, 1, (operation, organization_id, _outcome(success)))

    # AI

    def increment_ai_api_calls(self, provider: str, model: str, organization_id: str | None, success: bool) -> None:
        """Count a call of a model."""
        self._add(catalogue.ai.CALLS, 1, (provider, model, organization_id, _outcome(success)))

    def record_ai_tokens_used(
        self,
        tokens: int,
        provider: str,
        model: str,
        organization_id: str | None,
        token_type: str = "total",  # noqa: S107 - of a language model
    ) -> None:
        """Record the tokens that a call of a model used: of `input`, of `output`, or in `total`."""
        self._record(catalogue.ai.TOKEN_USAGE, tokens, (provider, model, organization_id, token_type, None, None, None))

    def record_ai_latency(self, latency_seconds: float, provider: str, model: str, operation: str) -> None:
        """Record how long a call of a model took."""
        self._record(catalogue.ai.OPERATION_DURATION, latency_seconds, (provider, model, operation, None, None))

    def increment_agent_error(self, organization_id: str | None, error_type: str) -> None:
        """Count a run of an agent that failed; `error_type` is an exception's class or another bounded word."""
        self._add(catalogue.ai.AGENT_ERRORS, 1, (organization_id, error_type))

    # The system

    def set_system_metric(self, metric_name: str, value: float, **tags: str | bool | float) -> None:
        """Say what a figure of the service's own system is; tags tell its series apart."""
        with guard.guarded("setting a system metric"):
            gauge = self._recorder(catalogue.system.VALUE)
            gauge.set(value, {**tags, catalogue.system.VALUE.attributes[0].key: metric_name})


def _outcome(success: object) -> Outcome | None:
    try:
        return "success" if success else "failed"
    except Exception as error:  # noqa: BLE001 - a value of the host's that is neither true nor false, as numpy has them
        guard.report("reading an outcome", error)
        return None


def _seconds(milliseconds: float) -> float:
    try:
        return milliseconds / 1000
    except Exception:  # noqa: BLE001 - the instrument says what is wrong with it
        return milliseconds
