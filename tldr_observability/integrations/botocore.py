"""S3 through botocore and boto3: spans that name bucket, key and size, and the time of each call.

The spans are those of `opentelemetry-instrumentation-botocore`, for every AWS service; what is added here is S3's.
`upload_file` and `download_file` work in threads: `integrations.threading` keeps their spans in the trace.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from opentelemetry.semconv._incubating.attributes.aws_attributes import (
    AWS_S3_BUCKET,
    AWS_S3_COPY_SOURCE,
    AWS_S3_KEY,
    AWS_S3_PART_NUMBER,
)

from tldr_observability import guard, semconv
from tldr_observability.catalogue import storage
from tldr_observability.errors import MissingExtraError
from tldr_observability.instruments import automatic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import Span

__all__ = ["instrument", "uninstrument"]

_S3 = "s3"
_METHOD = "_make_api_call"
_SAID_BY_PARAMETERS = {"Bucket": AWS_S3_BUCKET, "Key": AWS_S3_KEY, "PartNumber": AWS_S3_PART_NUMBER}

_measuring = False


def instrument() -> str:
    """Trace all calls of botocore's clients, those that are made already too, and measure those of S3.

    The time of a `get_object` ends where the answer begins: its body is streamed later, as the service reads it.

    Raises:
        MissingExtraError: botocore or its instrumentation is not installed.
    """
    global _measuring  # noqa: PLW0603 - one patch a process, as OpenTelemetry's instrumentor is one
    try:
        from botocore.client import BaseClient  # type: ignore[import-untyped]
        from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
    except ImportError:
        raise MissingExtraError("observing S3", "s3") from None
    import wrapt

    instrumentor = BotocoreInstrumentor()  # type: ignore[no-untyped-call]
    if not _measuring:
        wrapt.wrap_function_wrapper(BaseClient, _METHOD, _measured(automatic(storage.OPERATION_DURATION)))
        _measuring = True
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument(skip_dep_check=True, request_hook=_describe_request, response_hook=_describe_answer)
    if instrumentor.request_hook is not _describe_request:
        return "the calls of S3 are measured; the spans are those of the service's own BotocoreInstrumentor"
    return "the calls of all AWS services; those of S3 with bucket, key and size"


def uninstrument() -> None:
    """Undo `instrument`."""
    global _measuring  # noqa: PLW0603
    if not _measuring:
        return
    from botocore.client import BaseClient
    from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
    from opentelemetry.instrumentation.utils import unwrap

    _measuring = False
    instrumentor = BotocoreInstrumentor()  # type: ignore[no-untyped-call]
    if instrumentor.request_hook is _describe_request:
        instrumentor.uninstrument()  # before ours, which it is wrapped around
    unwrap(BaseClient, _METHOD)


def _measured(duration: Any) -> Callable[..., Any]:
    """Make what runs in place of a client's call; `duration` records its time."""

    def call(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        outcome = "failed"
        began = perf_counter()
        try:
            answer = wrapped(*args, **kwargs)
            outcome = "success"
        finally:
            seconds = perf_counter() - began
            try:
                if client.meta.service_model.service_name == _S3:
                    duration.record(seconds, _attributes(outcome, *args, **kwargs))
            except Exception as error:  # noqa: BLE001 - the host's call is over and its outcome is the host's
                guard.report("measuring a call of S3", error)
        return answer

    return call


def _attributes(outcome: str, operation_name: str, api_params: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {semconv.TLDR_STORAGE_OPERATION: operation_name, semconv.TLDR_OUTCOME: outcome}
    bucket = api_params.get("Bucket")
    if isinstance(bucket, str):
        attributes[semconv.TLDR_STORAGE_BUCKET] = bucket
    return attributes


def _describe_request(span: Span, service: str, operation: str, parameters: Mapping[str, Any]) -> None:
    """Say on the span of an S3 call what it is about."""
    if service != _S3 or not span.is_recording():
        return
    with guard.guarded("describing a call of S3"):
        where = "/".join(part for name in ("Bucket", "Key") if isinstance(part := parameters.get(name), str))
        span.set_attribute(semconv.LOGFIRE_MESSAGE, f"S3 {operation} {where}".rstrip())
        for name, key in _SAID_BY_PARAMETERS.items():
            if isinstance(value := parameters.get(name), str | int):
                span.set_attribute(key, value)
        if source := _copy_source(parameters.get("CopySource")):
            span.set_attribute(AWS_S3_COPY_SOURCE, source)
        if (size := _sent_bytes(parameters)) is not None:
            span.set_attribute(semconv.TLDR_STORAGE_SIZE, size)


def _describe_answer(span: Span, service: str, operation: str, answer: Mapping[str, Any] | None) -> None:  # noqa: ARG001 - contrib's signature
    """Add the size of what an S3 call reads."""
    if service != _S3 or not answer:
        return
    with guard.guarded("describing an answer of S3"):
        size = answer.get("ContentLength")
        if isinstance(size, int):
            span.set_attribute(semconv.TLDR_STORAGE_SIZE, size)


def _sent_bytes(parameters: Mapping[str, Any]) -> int | None:
    """The size of the request's body, without reading it; None where there is none, or no way to know."""
    from botocore.utils import determine_content_length  # type: ignore[import-untyped]

    body, size = parameters.get("Body"), parameters.get("ContentLength")
    if body is None or isinstance(size, int):
        return size
    if isinstance(body, str):
        return len(body.encode("utf-8", "surrogatepass"))
    known: int | None = determine_content_length(body)
    return known


def _copy_source(source: Any) -> str:
    """`bucket/key` of the object that is copied, in whichever of boto3's two forms it was given."""
    if isinstance(source, dict):
        return f"{source.get('Bucket', '')}/{source.get('Key', '')}"
    return source if isinstance(source, str) else ""
