"""httpx and httpx2: a client span for each request, its time, and the correlation id for the hosts that may know it.

The spans and `traceparent` are those of `opentelemetry-instrumentation-httpx`. Its metric leaves out the requests that
fail without an answer, so the time is measured here.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from threading import RLock
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled, unwrap
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
)

from tldr_observability import context, guard
from tldr_observability.catalogue import calls
from tldr_observability.errors import ConfigurationError, MissingExtraError
from tldr_observability.instruments import automatic
from tldr_observability.integrations.importing import import_unless_deadlocked, is_being_imported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["instrument", "uninstrument"]

_REQUEST_ID: Final = "x-request-id"
_FIRST_ERROR: Final = 400
_METHODS: Final = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"))
_CONTRIB: Final = "opentelemetry.instrumentation.httpx"
_LIBRARIES: Final = {"httpx": "HTTPXClientInstrumentor", "httpx2": "HTTPX2ClientInstrumentor"}
_TRANSPORTS: Final = (("HTTPTransport", "handle_request"), ("AsyncHTTPTransport", "handle_async_request"))

_hosts: tuple[str, ...] = ()
_observed: dict[str, _Requests] = {}
_lock = RLock()


def instrument(*, propagate_to: Iterable[str] = ()) -> str:
    """Trace and measure the requests of all clients that use the libraries' own transports, existing ones too.

    Inside of an import nothing is imported that another thread may be importing: the spans then begin once the
    instrumentation of OpenTelemetry is imported by whoever needs it first, at the latest by the first request.

    Args:
        propagate_to: hosts that are sent the correlation id as `X-Request-ID`; `*.example.com` stands for all below.

    Raises:
        ConfigurationError: what is no host is to be sent the correlation id.
        MissingExtraError: neither library, or not OpenTelemetry's instrumentation of them, is installed.
    """
    global _hosts  # noqa: PLW0603 - the transports of the process are patched, and ask here
    import wrapt

    hosts = tuple(host.lower() for host in propagate_to)
    if wrong := [host for host in hosts if not _is_host(host)]:
        raise ConfigurationError(
            f"LOGFIRE_PROPAGATE_CONTEXT_TO: expected hosts such as api.example.com or *.example.com, got {wrong[0]!r}"
        )
    if find_spec(_CONTRIB) is None or not any(map(find_spec, _LIBRARIES)):
        raise MissingExtraError("observing httpx", "httpx")
    if not any(map(is_being_imported, (*_LIBRARIES, _CONTRIB))):
        import_unless_deadlocked(_CONTRIB)
    elif _CONTRIB not in sys.modules:
        wrapt.register_post_import_hook(_contrib_is_imported, _CONTRIB)
    _hosts = hosts
    with _lock:
        for library in _LIBRARIES:
            module = sys.modules.get(library)
            if library not in _observed and all(hasattr(module, transport) for transport, _ in _TRANSPORTS):
                _observed[library] = _Requests(library, module)
        present = [library for library in _LIBRARIES if library in _observed]
    _join()
    told = f"; {', '.join(hosts)} told the correlation id" if hosts else ""
    return f"the requests of {' and '.join(present)}{told}"


def uninstrument() -> None:
    """Undo `instrument`."""
    global _hosts  # noqa: PLW0603
    _hosts = ()
    with _lock:
        while _observed:
            _observed.popitem()[1].leave()


def _contrib_is_imported(_: Any) -> None:
    with guard.guarded("observing httpx"):
        _join()


def _join() -> None:
    """Put OpenTelemetry's instrumentation around ours, as far as it is imported."""
    with _lock:
        for requests in _observed.values():
            requests.join(sys.modules.get(_CONTRIB))


class _Requests:
    """What runs in place of the transports' methods, inside of the client span.

    Args:
        library: httpx or httpx2.
        module: the same, imported.
    """

    def __init__(self, library: str, module: Any) -> None:
        import wrapt

        self._library = library
        self._module = module
        self._duration: Any = automatic(calls.CLIENT_REQUEST_DURATION)
        self._joined = False
        self._instrumentor: Any = None  # OpenTelemetry's, where it is ours to undo
        for (transport, method), wrapper in zip(_TRANSPORTS, (self.send, self.send_async), strict=True):
            wrapt.wrap_function_wrapper(module, f"{transport}.{method}", wrapper)

    def join(self, contrib: Any) -> None:
        """Put the client span around, unless the service itself has done so."""
        instrumentation = getattr(contrib, _LIBRARIES[self._library], None)
        if self._joined or instrumentation is None:
            return
        self._joined = True
        instrumentor = instrumentation()
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument(skip_dep_check=True, meter_provider=NoOpMeterProvider())
            self._instrumentor = instrumentor

    def leave(self) -> None:
        """Undo everything; what somebody else has patched since stays, and ours below it does nothing any more."""
        if self._instrumentor is not None:
            self._instrumentor.uninstrument()  # before ours, which it is wrapped around
        for (transport, method), wrapper in zip(_TRANSPORTS, (self.send, self.send_async), strict=True):
            owner = getattr(self._module, transport)
            if getattr(vars(owner).get(method), "_self_wrapper", None) == wrapper:
                unwrap(owner, method)

    def send(self, send: Callable[..., Any], transport: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Send a request."""
        if _observed.get(self._library) is not self:
            return send(*args, **kwargs)
        if not self._joined and self._joins_late():
            return self._module.HTTPTransport.handle_request(transport, *args, **kwargs)
        args, kwargs = self._told(args, kwargs)
        began = perf_counter()
        try:
            response = send(*args, **kwargs)
        except BaseException as error:
            self._measure(began, args, kwargs, error=error)
            raise
        self._measure(began, args, kwargs, response=response)
        return response

    async def send_async(
        self, send: Callable[..., Any], transport: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Send a request of an asynchronous client."""
        if _observed.get(self._library) is not self:
            return await send(*args, **kwargs)
        if not self._joined and self._joins_late():
            return await self._module.AsyncHTTPTransport.handle_async_request(transport, *args, **kwargs)
        args, kwargs = self._told(args, kwargs)
        began = perf_counter()
        try:
            response = await send(*args, **kwargs)
        except BaseException as error:
            self._measure(began, args, kwargs, error=error)
            raise
        self._measure(began, args, kwargs, response=response)
        return response

    def _joins_late(self) -> bool:
        """Whether the client span is around from now on, so that this request has to begin again to be inside."""
        try:
            import_unless_deadlocked(_CONTRIB)
            _join()
        except Exception as error:  # noqa: BLE001 - the host's request goes out without a span
            self._joined = True  # as far as it goes
            guard.report("observing httpx", error)
        return self._instrumentor is not None

    def _told(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same call, with the correlation id in the request's headers where its host may know it.

        It goes into a copy of the request: a redirect to another host starts from the headers of the caller's.
        """
        if not _hosts:
            return args, kwargs
        try:
            request = _request(args, kwargs)
            own = context.get_correlation_id()
            if own is None or _REQUEST_ID in request.headers or not _may_know(request.url.host):
                return args, kwargs
            told = self._module.Request(
                request.method,
                request.url,
                headers=[*request.headers.raw, (b"X-Request-ID", own.encode("ascii"))],
                stream=request.stream,
                extensions=request.extensions,
            )
        except Exception as error:  # noqa: BLE001 - the host's request goes out as it is
            guard.report("telling a host the correlation id", error)
            return args, kwargs
        return (told,), {}

    def _measure(
        self,
        began: float,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        response: Any = None,
        error: BaseException | None = None,
    ) -> None:
        seconds = perf_counter() - began
        try:
            if not is_http_instrumentation_enabled():
                return
            request = _request(args, kwargs)
            attributes: dict[str, str | int] = {
                http_attributes.HTTP_REQUEST_METHOD: request.method if request.method in _METHODS else "_OTHER",
                server_attributes.SERVER_ADDRESS: request.url.host,
            }
            if request.url.port is not None:
                attributes[server_attributes.SERVER_PORT] = request.url.port
            if error is not None:
                attributes[error_attributes.ERROR_TYPE] = type(error).__qualname__  # as on the span
            else:
                attributes[http_attributes.HTTP_RESPONSE_STATUS_CODE] = response.status_code
                attributes[network_attributes.NETWORK_PROTOCOL_VERSION] = response.http_version.removeprefix("HTTP/")
                if response.status_code >= _FIRST_ERROR:
                    attributes[error_attributes.ERROR_TYPE] = str(response.status_code)
            self._duration.record(seconds, attributes)
        except Exception as problem:  # noqa: BLE001 - the request is over and its outcome is the host's
            guard.report("measuring an HTTP request", problem)


def _request(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0] if args else kwargs["request"]


def _may_know(host: str) -> bool:
    return any(host.endswith(each[1:]) if each.startswith("*.") else host == each for each in _hosts)


def _is_host(text: str) -> bool:
    name = text.removeprefix("*.")
    port = name.count(":") == 1  # more of them are an address of IPv6
    return bool(name) and not port and not any(character in "/*@?#, \t" for character in name)
