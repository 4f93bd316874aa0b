"""The attributes that several metrics share, each with the name by which the facade takes it.

Keys in `tldr.` are those of `semconv`; the others are OpenTelemetry's, spelled out so that nothing needs it installed.
"""

from __future__ import annotations

from typing import Final

from tldr_observability import semconv
from tldr_observability.catalogue.spec import Attribute

API_KEY: Final = Attribute(semconv.TLDR_API_KEY_ID, "api_key_id", "The key's id; never the key itself", optional=True)
DETECTION_METHOD: Final = Attribute(semconv.TLDR_DETECTION_METHOD, "detection_method", "What found the highlight")
ENDPOINT: Final = Attribute(semconv.TLDR_ENDPOINT, "endpoint", "The route's template, not the path that was asked for")
ERROR_TYPE: Final = Attribute(
    "error.type", "error_type", "The exception's class, or another bounded word for the cause", optional=True
)
EVENT_TYPE: Final = Attribute(
    semconv.TLDR_EVENT_TYPE, "event_type", "What the webhook tells of, such as stream.started"
)
HTTP_METHOD: Final = Attribute("http.request.method", "method", "The request's method; _OTHER for unknown ones")
HTTP_STATUS: Final = Attribute("http.response.status_code", "status_code", "The answer's status", optional=True)
NETWORK_VERSION: Final = Attribute("network.protocol.version", "protocol_version", "1.1, 2, ...", optional=True)
ORGANIZATION: Final = Attribute(
    semconv.TLDR_ORGANIZATION_ID, "organization_id", "The customer on whose behalf it happened", optional=True
)
OUTCOME: Final = Attribute(
    semconv.TLDR_OUTCOME, "outcome", "How it ended", values=("success", "failed", "cancelled"), optional=True
)
PLATFORM: Final = Attribute(semconv.TLDR_PLATFORM, "platform", "Where the stream comes from: twitch, youtube, ...")
QUEUE: Final = Attribute(semconv.TLDR_QUEUE, "queue_name", "The queue's name", optional=True)
QUOTA: Final = Attribute(semconv.TLDR_QUOTA, "quota", "Which limit of the customer's plan")
SERVER_ADDRESS: Final = Attribute("server.address", "server_address", "The other end's host name", optional=True)
SERVER_PORT: Final = Attribute("server.port", "server_port", "The other end's port", optional=True)
STAGE: Final = Attribute(semconv.TLDR_STAGE, "stage", "The step of the processing")
STREAM_TYPE: Final = Attribute(
    semconv.TLDR_STREAM_TYPE, "stream_type", "live, or another kind of source", default="live"
)
TASK_NAME: Final = Attribute(semconv.TLDR_TASK_NAME, "task_name", "The task's registered name")
