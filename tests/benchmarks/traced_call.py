"""What tracing a call costs, against bare OpenTelemetry and `@logfire.instrument` in the same run.

    python tests/benchmarks/traced_call.py [--quick]

README.md beside this file says what the peers and the columns are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import measure

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

BARE, OTEL, LOGFIRE, OURS = "bare function", "bare OTel", "@logfire.instrument", "ours"
OTEL_OTLP, LOGFIRE_TOKEN = f"{OTEL} + OTLP", f"{LOGFIRE}, token"
DISABLED, NO_SETUP = " (disabled)", " (no set-up)"

RECORDING_CALLS, IDLE_CALLS = 300, 1500
"""In one run. What is recorded must fit into every peer's queue."""


class Functions(NamedTuple):
    """The same four functions, as each peer traces them, and what delivers the spans."""

    nothing: Callable[[], object]
    three: Callable[[int, str, float], object]
    nothing_async: Callable[[], Coroutine[Any, Any, object]]
    items: Callable[[], Any]
    flush: Callable[[], object]


def nothing() -> None:
    pass


def three(number: int, text: str, fraction: float) -> None:
    pass


async def nothing_async() -> None:
    pass


def items():
    yield 1
    yield 2
    yield 3


# The peers


def bare() -> Functions:
    return Functions(nothing, three, nothing_async, items, lambda: None)


def otel(exporter: Any = None) -> Functions:
    """`start_as_current_span`; without an exporter nobody has set a provider."""
    from opentelemetry import trace

    flush: Callable[[], object] = lambda: None  # noqa: E731 - the other flushes are methods
    if exporter is not None:
        from opentelemetry.sdk.trace import TracerProvider

        provider = TracerProvider()
        provider.add_span_processor(batching(exporter))
        trace.set_tracer_provider(provider)
        flush = provider.force_flush
    tracer = trace.get_tracer("benchmark")
    traced = tracer.start_as_current_span("x")

    # As a decorator it knows no arguments, and would end the span before the first item.
    def traced_three(number: int, text: str, fraction: float) -> object:
        with tracer.start_as_current_span("x", attributes={"number": number, "text": text, "fraction": fraction}):
            return three(number, text, fraction)

    def traced_items():
        with tracer.start_as_current_span("x"):
            yield from items()

    return Functions(traced(nothing), traced_three, traced(nothing_async), traced_items, flush)


def logfire(**configuration: Any) -> Functions:
    """`@logfire.instrument`; without a configuration nobody has configured Logfire."""
    import logfire

    if configuration:
        logfire.configure(console=False, **configuration)
    traced, traced_generator = logfire.instrument, logfire.instrument(allow_generator=True)
    flush = logfire.force_flush if configuration else lambda: None
    return Functions(traced(nothing), traced(three), traced(nothing_async), traced_generator(items), flush)


def ours(**settings: Any) -> Functions:
    """`@traced_service_method`; without settings nobody has called `setup()`."""
    from tldr_observability import setup, traced_service_method

    traced, traced_with_arguments = traced_service_method, traced_service_method(capture_args=True)
    flush = setup(**settings).flush if settings else lambda: None
    return Functions(traced(nothing), traced_with_arguments(three), traced(nothing_async), traced(items), flush)


def batching(exporter: Any) -> Any:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(exporter)


def discarding() -> Any:
    """An exporter that throws everything away."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Discarding(SpanExporter):
        def export(self, spans):
            return SpanExportResult.SUCCESS

    return Discarding()


def otlp(sink: str) -> Any:
    """OpenTelemetry's own OTLP exporter, compressing as Logfire and we do."""
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(f"{sink}/v1/traces", compression=Compression.Gzip)


def logfire_with_token(sink: str) -> Functions:
    from logfire import AdvancedOptions

    return logfire(send_to_logfire=True, token="benchmark", advanced=AdvancedOptions(base_url=sink))


def logfire_without_token() -> Functions:
    return logfire(send_to_logfire=False, additional_span_processors=[batching(discarding())])


PEERS: dict[str, Callable[[str], Functions]] = {
    BARE: lambda _: bare(),
    OTEL: lambda _: otel(discarding()),
    OTEL_OTLP: lambda sink: otel(otlp(sink)),
    LOGFIRE: lambda _: logfire_without_token(),
    LOGFIRE_TOKEN: logfire_with_token,
    OURS: lambda sink: ours(token="benchmark", base_url=sink),
    OTEL + DISABLED: lambda _: otel(discarding()),
    LOGFIRE + DISABLED: lambda _: logfire_without_token(),
    OURS + DISABLED: lambda _: ours(enabled=False),
    OTEL + NO_SETUP: lambda _: otel(),
    LOGFIRE + NO_SETUP: lambda _: logfire(),
    OURS + NO_SETUP: lambda _: ours(),
}
VARIABLES = {
    OTEL + DISABLED: {"OTEL_SDK_DISABLED": "true"},
    LOGFIRE + DISABLED: {"OTEL_SDK_DISABLED": "true"},
    LOGFIRE + NO_SETUP: {"LOGFIRE_IGNORE_NO_CONFIG": "1"},
}


# The cases


def call(function: Callable[..., object], *args: object) -> Callable[[int], object]:
    def run(calls: int) -> None:
        for _ in range(calls):
            function(*args)

    return run


def call_async(function: Callable[[], Coroutine[Any, Any, object]]) -> Callable[[int], object]:
    async def run(calls: int) -> None:
        for _ in range(calls):
            await function()

    def drive(calls: int) -> None:
        coroutine = run(calls)
        try:
            coroutine.send(None)  # nothing in it waits, so that no event loop is needed
        except StopIteration:
            return

    return drive


def iterate(function: Callable[[], Any]) -> Callable[[int], object]:
    def run(calls: int) -> None:
        for _ in range(calls):
            for _ in function():
                pass

    return run


def sampled_out(run: Callable[[int], object]) -> Callable[[int], object]:
    """The same calls under a parent in this process that the sampler has left out."""
    from opentelemetry import context, trace

    parent = trace.NonRecordingSpan(trace.SpanContext(1, 1, is_remote=False))

    def run_below(calls: int) -> None:
        token = context.attach(trace.set_span_in_context(parent))
        try:
            run(calls)
        finally:
            context.detach(token)

    return run_below


def cases(functions: Functions) -> dict[str, Callable[[int], object]]:
    arguments = (7, "north", 2.5)
    plain = {
        "sync, 0 args": call(functions.nothing),
        "sync, 3 args": call(functions.three, *arguments),
        "async, 0 args": call_async(functions.nothing_async),
    }
    return {
        **{f"recording: {name}": run for name, run in plain.items()},
        "recording: generator of 3": iterate(functions.items),
        **{f"sampled-out child: {name}": sampled_out(run) for name, run in plain.items()},
        **{f"idle: {name}": run for name, run in plain.items()},
    }


RECORDING_PEERS = (OTEL, OTEL_OTLP, LOGFIRE, LOGFIRE_TOKEN, OURS)
KINDS = ("sync, 0 args", "sync, 3 args", "async, 0 args", "generator of 3")


def main() -> None:
    """Measure, and print a table a state."""
    options = measure.options(__doc__)
    if options.peer:
        functions = PEERS[options.peer](options.sink)
        measure.serve(cases(functions), functions.flush)
        return
    recording = measure.compare(
        __file__,
        {peer: VARIABLES.get(peer, {}) for peer in (BARE, *RECORDING_PEERS)},
        {f"recording: {kind}": RECORDING_CALLS for kind in KINDS}
        | {f"sampled-out child: {kind}": IDLE_CALLS for kind in KINDS[:3]},
        options,
    )
    idle = measure.compare(
        __file__,
        {peer: VARIABLES.get(peer, {}) for peer in PEERS if peer not in RECORDING_PEERS},
        {f"idle: {kind}": IDLE_CALLS for kind in KINDS[:3]},
        options,
    )
    for kind in KINDS:
        if f"recording: {kind}" in recording:
            print_recording(recording, kind)
    print_others(recording, "sampled-out child", "")
    for state in (DISABLED, NO_SETUP):
        print_others(idle, "idle", state)


def print_recording(figures: measure.Figures, kind: str) -> None:
    case = f"recording: {kind}"
    table = measure.Table(case, "call us", "/ OTel", "/ logfire", "cpu us", "/ OTel+OTLP")
    table.row(BARE, figures.added(case, BARE, "call", None))
    for peer in RECORDING_PEERS:
        table.row(
            peer,
            figures.added(case, peer, "call", BARE),
            figures.ratio(case, peer, OTEL, "call", BARE),
            figures.ratio(case, peer, LOGFIRE, "call", BARE),
            figures.added(case, peer, "cpu", BARE),
            figures.ratio(case, peer, OTEL_OTLP, "cpu", BARE),
        )


def print_others(figures: measure.Figures, cases: str, state: str) -> None:
    ran = [kind for kind in KINDS[:3] if f"{cases}: {kind}" in figures]
    if not ran:
        return
    title = f"nothing recorded{state or f' ({cases})'}, call"
    table = measure.Table(title, "OTel us", "logfire us", "ours us", "ours / OTel", "ours / logfire")
    for kind in ran:
        case = f"{cases}: {kind}"
        table.row(
            kind,
            *(figures.added(case, peer + state, "call", BARE) for peer in (OTEL, LOGFIRE, OURS)),
            *(figures.ratio(case, OURS + state, peer + state, "call", BARE) for peer in (OTEL, LOGFIRE)),
        )


if __name__ == "__main__":
    main()
