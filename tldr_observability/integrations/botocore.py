"""S3 through botocore and boto3: spans that name bucket, key and size, and the time of each call.

The spans are those of `opentelemetry-instrumentation-botocore`, for every AWS service; what is added here is S3's.
`upload_file` and `download_file` work in threads: `integrations.threading` keeps their spans in the trace.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from threading import RLock
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.instrumentation.utils import unwrap
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
from tldr_observability.integrations.importing import import_unless_deadlocked, is_being_imported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import Span

__all__ = ["instrument", "uninstrument"]

_S3 = "s3"
_METHOD = "_make_api_call"
_CLIENT: Final = "botocore.client"
_CONTRIB: Final = "opentelemetry.instrumentation.botocore"
_SAID_BY_PARAMETERS = {"Bucket": AWS_S3_BUCKET, "Key": AWS_S3_KEY, "PartNumber": AWS_S3_PART_NUMBER}

_calls: _Calls | None = None
"""One patch a process, as OpenTelemetry's instrumentor is one."""
_lock = RLock()


def instrument() -> str:
    """Trace all calls of botocore's clients, those that are made already too, and measure those of S3.

    The time of a `get_object` ends where the answer begins: its body is streamed later, as the service reads it.
    Inside of an import nothing is imported that another thread may be importing: the spans then begin once the
    instrumentation of OpenTelemetry is imported by whoever needs it first, at the latest by the first call.

    Raises:
        MissingExtraError: botocore or its instrumentation is not installed.
    """
    global _calls  # noqa: PLW0603
    import wrapt

    if find_spec("botocore") is None or find_spec(_CONTRIB) is None:
        raise MissingExtraError("observing S3", "s3")
    if not any(map(is_being_imported, (_CLIENT, _CONTRIB))):
        import_unless_deadlocked(_CONTRIB)
    elif _CONTRIB not in sys.modules:
        wrapt.register_post_import_hook(_contrib_is_imported, _CONTRIB)
    owner = import_module(_CLIENT).BaseClient
    with _lock:
        if _calls is None:
            _calls = _Calls(owner)
        _calls.join(sys.modules.get(_CONTRIB))
    if _calls.are_described:
        return "the calls of all AWS services; those of S3 with bucket, key and size"
    return "the calls of S3 are measured; the spans are those of the service's own BotocoreInstrumentor"


def uninstrument() -> None:
    """Undo `instrument`."""
    global _calls
    with _lock:
        calls, _calls = _calls, None
        if calls is not None:
            calls.leave()


def _contrib_is_imported(contrib: Any) -> None:
    with guard.guarded("observing S3"), _lock:
        if _calls is not None:
            _calls.join(contrib)


class _Calls:
    """What runs in place of a client's call, inside of its span.

    Args:
        owner: the class of all clients.
    """

    def __init__(self, owner: Any) -> None:
        import wrapt

        self._owner = owner
        self._duration: Any = automatic(storage.OPERATION_DURATION)
        self._joined = False
        self._instrumentor: Any = None  # OpenTelemetry's, where it is ours to undo
        wrapt.wrap_function_wrapper(owner, _METHOD, self.call)

    @property
    def are_described(self) -> bool:
        """Whether the spans are ours to describe; until the instrumentation is imported, they are."""
        return not self._joined or self._instrumentor is not None

    def join(self, contrib: Any) -> None:
        """Put the span around, unless the service itself has done so."""
        instrumentation = getattr(contrib, "BotocoreInstrumentor", None)
        if self._joined or instrumentation is None:
            return
        self._joined = True
        instrumentor = instrumentation()
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument(skip_dep_check=True, request_hook=_describe_request, response_hook=_describe_answer)
            self._instrumentor = instrumentor

    def leave(self) -> None:
        """Undo everything; what somebody else has patched since stays, and ours below it does nothing any more."""
        if self._instrumentor is not None:
            self._instrumentor.uninstrument()  # before ours, which it is wrapped around
        if getattr(vars(self._owner).get(_METHOD), "_self_wrapper", None) == self.call:
            unwrap(self._owner, _METHOD)

    def call(self, wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call AWS."""
        if _calls is not self:
            return wrapped(*args, **kwargs)
        if not self._joined and self._joins_late():
            return getattr(self._owner, _METHOD)(client, *args, **kwargs)
        outcome = "failed"
        began = perf_counter()
        try:
            answer = wrapped(*args, **kwargs)
            outcome = "success"
        finally:
            seconds = perf_counter() - began
            try:
                if client.meta.service_model.service_name == _S3:
                    self._duration.record(seconds, _attributes(outcome, *args, **kwargs))
            except Exception as error:  # noqa: BLE001 - the host's call is over and its outcome is the host's
                guard.report("measuring a call of S3", error)
        return answer

    def _joins_late(self) -> bool:
        """Whether the span is around from now on, so that this call has to begin again to be inside."""
        try:
            import_unless_deadlocked(_CONTRIB)
            with _lock:
                if _calls is self:
                    self.join(sys.modules.get(_CONTRIB))
        except Exception as error:  # noqa: BLE001 - the host's call goes out without a span
            self._joined = True  # as far as it goes
            guard.report("observing S3", error)
        return self._instrumentor is not None


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
    from botocore.utils import determine_content_length

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
