"""The attribute keys that this package writes beside OpenTelemetry's own.

`TLDR_*` keys are ours. `LOGFIRE_*` keys are what Logfire's backend reads to draw its live view; they are public
wire format (https://logfire.pydantic.dev/docs/reference/sql/) and named here so that nothing needs `logfire` for them.
"""

from __future__ import annotations

from typing import Final

SCOPE_NAME: Final = "tldr_observability"

TLDR_API_KEY_ID: Final = "tldr.api_key.id"
TLDR_BATCH_ID: Final = "tldr.batch.id"
TLDR_CORRELATION_ID: Final = "tldr.correlation.id"
TLDR_DETECTION_METHOD: Final = "tldr.detection.method"
TLDR_DURATION: Final = "tldr.duration"
TLDR_ENDPOINT: Final = "tldr.endpoint"
TLDR_EVENT_TYPE: Final = "tldr.event.type"
TLDR_LAYER: Final = "tldr.layer"
TLDR_ORGANIZATION_ID: Final = "tldr.organization.id"
TLDR_OUTCOME: Final = "tldr.outcome"
TLDR_PLATFORM: Final = "tldr.platform"
TLDR_QUEUE: Final = "tldr.queue"
TLDR_QUOTA: Final = "tldr.quota"
TLDR_REDACTED: Final = "tldr.redacted"
TLDR_RESULT: Final = "tldr.result"
TLDR_SLOW: Final = "tldr.slow"
TLDR_SLOW_THRESHOLD: Final = "tldr.slow_threshold"
TLDR_STAGE: Final = "tldr.stage"
TLDR_STORAGE_BUCKET: Final = "tldr.storage.bucket"
TLDR_STORAGE_OPERATION: Final = "tldr.storage.operation"
TLDR_STORAGE_SIZE: Final = "tldr.storage.size"
TLDR_STORAGE_TYPE: Final = "tldr.storage.type"
TLDR_STREAM_ID: Final = "tldr.stream.id"
TLDR_STREAM_TYPE: Final = "tldr.stream.type"
TLDR_SYSTEM_METRIC: Final = "tldr.system.metric"
TLDR_TASK_NAME: Final = "tldr.task.name"
USER_ID: Final = "user.id"

LOGFIRE_JSON_SCHEMA: Final = "logfire.json_schema"
LOGFIRE_LEVEL_NUM: Final = "logfire.level_num"
LOGFIRE_MESSAGE: Final = "logfire.msg"
LOGFIRE_MESSAGE_TEMPLATE: Final = "logfire.msg_template"
LOGFIRE_PENDING_PARENT: Final = "logfire.pending_parent_id"
LOGFIRE_SPAN_TYPE: Final = "logfire.span_type"

# Logfire's live view links a span to its source by these, the older names of OpenTelemetry's code.* attributes.
CODE_FILEPATH: Final = "code.filepath"
CODE_FUNCTION: Final = "code.function"
CODE_LINENO: Final = "code.lineno"

LEVELS: Final[dict[str, int]] = {
    "trace": 1,
    "debug": 5,
    "info": 9,
    "notice": 10,
    "warn": 13,
    "warning": 13,
    "error": 17,
    "fatal": 21,
}
"""Severity by name: OpenTelemetry's severity numbers, with Logfire's `notice` between info and warn."""
