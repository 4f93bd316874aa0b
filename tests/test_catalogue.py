"""The catalogue: every metric is well formed, documented, recorded as its specification says, and none is missing."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.semconv import _incubating
from opentelemetry.semconv import attributes as stable

import tldr_observability
from tldr_observability import catalogue, semconv
from tldr_observability.catalogue.spec import MetricSpec
from tldr_observability.instruments import Metrics
from tldr_observability.instruments.business import BusinessMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Program

    from tldr_observability.testing import OTLPReceiver
    from tldr_observability.testing.telemetry import Metric

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "metrics.md"
# https://opentelemetry.io/docs/specs/otel/metrics/api/#instrument-name-syntax, in our spelling
NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
UNIT = re.compile(r"1|s|min|By|\{[a-zA-Z_]+\}")
# What OpenTelemetry's instrumentation of the system has keys of its own for.
FOREIGN_KEYS = {"state", "type"}
METHODS = {name for name in vars(BusinessMetrics) if not name.startswith("_")}
EXPORTED_KINDS = {
    "counter": {"counter"},
    "gauge": {"gauge"},
    "up-down counter": {"up_down_counter"},
    "histogram": {"histogram", "exponential_histogram"},
}

PROMISED = """
tldr.stream.started tldr.stream.completed tldr.stream.duration tldr.stream.active tldr.stream.processed tldr.stream.cost
tldr.highlight.detected tldr.highlight.confidence tldr.highlight.processing.duration
http.server.request.duration http.server.active_requests http.server.request.body.size http.server.response.body.size
tldr.api.calls tldr.api.key.usage tldr.api.rate_limit.exceeded
tldr.quota.checked tldr.quota.exceeded tldr.quota.used tldr.quota.limit
tldr.task.executed tldr.task.duration tldr.task.retried tldr.task.queue.depth tldr.task.queue.latency
tldr.webhook.sent tldr.webhook.duration tldr.webhook.retried tldr.storage.used tldr.storage.operation.duration
gen_ai.client.token.usage gen_ai.client.operation.duration tldr.ai.calls tldr.agent.errors tldr.error.count
db.client.operation.duration db.client.connection.count db.client.connection.max
"""

ORGANIZATION = {semconv.TLDR_ORGANIZATION_ID: "123"}
TWITCH = {semconv.TLDR_PLATFORM: "twitch"}
MODEL = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt"}
TASK = {semconv.TLDR_TASK_NAME: "detect_highlights_with_ai"}
QUOTA = {semconv.TLDR_QUOTA: "streams"}
KEY = {semconv.TLDR_API_KEY_ID: "key-1"}
ENDPOINT = {semconv.TLDR_ENDPOINT: "/streams"}
EVENT = {semconv.TLDR_EVENT_TYPE: "stream.started"}
SUCCESS, FAILED = {semconv.TLDR_OUTCOME: "success"}, {semconv.TLDR_OUTCOME: "failed"}
LIVE = {semconv.TLDR_STREAM_TYPE: "live"}

# A call by its arguments in their order, and what it leaves: the metric, its attributes, its value.
CALLS: list[tuple[str, dict[str, Any], dict[str, tuple[dict[str, Any], float]]]] = [
    (
        "increment_stream_started",
        {"platform": "twitch", "organization_id": "123"},
        {"tldr.stream.started": (TWITCH | ORGANIZATION | LIVE, 1)},
    ),
    (
        "increment_stream_started",
        {"platform": "youtube", "organization_id": None, "stream_type": "vod"},
        {"tldr.stream.started": ({semconv.TLDR_PLATFORM: "youtube", semconv.TLDR_STREAM_TYPE: "vod"}, 1)},
    ),
    (
        "increment_stream_completed",
        {"platform": "twitch", "organization_id": "123"},
        {"tldr.stream.completed": (TWITCH | ORGANIZATION | LIVE | SUCCESS, 1)},
    ),
    (
        "increment_stream_completed",
        {"platform": "twitch", "organization_id": "123", "stream_type": "live", "success": False},
        {"tldr.stream.completed": (TWITCH | ORGANIZATION | LIVE | FAILED, 1)},
    ),
    (
        "record_stream_duration",
        {"duration_seconds": 60.5, "platform": "twitch", "organization_id": "123"},
        {"tldr.stream.duration": (TWITCH | ORGANIZATION, 60.5)},
    ),
    ("set_active_streams", {"count": 3}, {"tldr.stream.active": ({}, 3)}),
    ("set_active_streams", {"count": 2, "platform": "twitch"}, {"tldr.stream.active": (TWITCH, 2)}),
    (
        "record_stream_cost",
        {"cost": 0.25, "platform": "twitch", "organization_id": "123"},
        {"tldr.stream.cost": (TWITCH | ORGANIZATION, 0.25)},
    ),
    (
        "track_stream_processing_usage",
        {"user_id": "u", "organization_id": "123", "stream_id": "s", "processing_minutes": 1.5},
        {"tldr.stream.processed": (ORGANIZATION, 1.5)},
    ),
    (
        "increment_highlights_detected",
        {"count": 4, "platform": "twitch", "organization_id": "123", "detection_method": "b2b_agent"},
        {"tldr.highlight.detected": (TWITCH | ORGANIZATION | {semconv.TLDR_DETECTION_METHOD: "b2b_agent"}, 4)},
    ),
    (
        "record_highlight_confidence",
        {"confidence": 0.95, "detection_method": "b2b_agent", "platform": "youtube"},
        {
            "tldr.highlight.confidence": (
                {semconv.TLDR_DETECTION_METHOD: "b2b_agent", semconv.TLDR_PLATFORM: "youtube"},
                0.95,
            )
        },
    ),
    (
        "record_highlight_processing_time",
        {"duration_seconds": 2.5, "stage": "keyframes", "platform": "twitch"},
        {"tldr.highlight.processing.duration": (TWITCH | {semconv.TLDR_STAGE: "keyframes"}, 2.5)},
    ),
    (
        "increment_api_key_usage",
        {"api_key_id": "key-1", "organization_id": "123", "endpoint": "/streams"},
        {"tldr.api.key.usage": (KEY | ORGANIZATION | ENDPOINT, 1)},
    ),
    (
        "record_api_latency",
        {"latency_seconds": 0.25, "endpoint": "/streams", "method": "POST", "status_code": 503},
        {
            "http.server.request.duration": (
                {
                    "http.route": "/streams",
                    "http.request.method": "POST",
                    "http.response.status_code": 503,
                    "error.type": "503",
                },
                0.25,
            )
        },
    ),
    (
        "increment_rate_limit_exceeded",
        {"api_key_id": "key-1", "organization_id": "123", "endpoint": "/streams"},
        {"tldr.api.rate_limit.exceeded": (KEY | ORGANIZATION | ENDPOINT, 1)},
    ),
    (
        "increment_webhook_sent",
        {"organization_id": "123", "event_type": "stream.started", "success": False},
        {"tldr.webhook.sent": (ORGANIZATION | EVENT | FAILED, 1)},
    ),
    (
        "record_webhook_latency",
        {"latency_seconds": 0.5, "organization_id": "123", "event_type": "stream.started"},
        {"tldr.webhook.duration": (ORGANIZATION | EVENT, 0.5)},
    ),
    (
        "increment_webhook_retry",
        {"organization_id": "123", "event_type": "stream.started", "retry_count": 3},
        {"tldr.webhook.retried": (ORGANIZATION | EVENT, 1)},
    ),
    (
        "record_storage_usage",
        {"bytes_used": 4096, "organization_id": "123", "storage_type": "clips"},
        {"tldr.storage.used": (ORGANIZATION | {semconv.TLDR_STORAGE_TYPE: "clips"}, 4096)},
    ),
    (
        "increment_storage_operations",
        {"operation": "upload", "organization_id": "123", "success": True},
        {"tldr.storage.operations": (ORGANIZATION | SUCCESS | {semconv.TLDR_STORAGE_OPERATION: "upload"}, 1)},
    ),
    (
        "track_api_call_usage",
        {
            "user_id": "u",
            "organization_id": "123",
            "endpoint": "/streams",
            "method": "GET",
            "status_code": 200,
            "response_time_ms": 125,
        },
        {
            "tldr.api.calls": (
                ORGANIZATION | ENDPOINT | {"http.request.method": "GET", "http.response.status_code": 200},
                1,
            ),
            "tldr.api.call.duration": (ORGANIZATION | ENDPOINT, 0.125),
        },
    ),
    (
        "track_webhook_delivery_usage",
        {"user_id": "u", "organization_id": "123", "webhook_id": "w"},
        {"tldr.webhook.deliveries": (ORGANIZATION | SUCCESS, 1)},
    ),
    (
        "increment_ai_api_calls",
        {"provider": "openai", "model": "gpt", "organization_id": "123", "success": True},
        {"tldr.ai.calls": (MODEL | ORGANIZATION | SUCCESS, 1)},
    ),
    (
        "record_ai_tokens_used",
        {"tokens": 900, "provider": "openai", "model": "gpt", "organization_id": "123"},
        {"gen_ai.client.token.usage": (MODEL | ORGANIZATION | {"gen_ai.token.type": "total"}, 900)},
    ),
    (
        "record_ai_latency",
        {"latency_seconds": 1.25, "provider": "openai", "model": "gpt", "operation": "chat"},
        {"gen_ai.client.operation.duration": (MODEL | {"gen_ai.operation.name": "chat"}, 1.25)},
    ),
    (
        "increment_agent_error",
        {"organization_id": "123", "error_type": "Timeout"},
        {"tldr.agent.errors": (ORGANIZATION | {"error.type": "Timeout"}, 1)},
    ),
    (
        "increment_task_executed",
        {"task_name": "detect_highlights_with_ai", "organization_id": "123", "success": True},
        {"tldr.task.executed": (TASK | ORGANIZATION | SUCCESS, 1)},
    ),
    (
        "record_task_duration",
        {"duration_seconds": 45.25, "task_name": "detect_highlights_with_ai", "organization_id": "123"},
        {"tldr.task.duration": (TASK | ORGANIZATION, 45.25)},
    ),
    (
        "set_task_queue_depth",
        {"queue_name": "default", "depth": 12},
        {"tldr.task.queue.depth": ({semconv.TLDR_QUEUE: "default"}, 12)},
    ),
    (
        "increment_quota_exceeded",
        {"organization_id": "123", "quota": "streams"},
        {"tldr.quota.exceeded": (ORGANIZATION | QUOTA, 1)},
    ),
    (
        "increment_quota_checked",
        {"organization_id": "123", "quota": "streams"},
        {"tldr.quota.checked": (ORGANIZATION | QUOTA, 1)},
    ),
    (
        "set_quota",
        {"organization_id": "123", "quota": "streams", "used": 8, "limit": 10},
        {"tldr.quota.used": (ORGANIZATION | QUOTA, 8), "tldr.quota.limit": (ORGANIZATION | QUOTA, 10)},
    ),
    (
        "set_system_metric",
        {"metric_name": "disk.free", "value": 0.5},
        {"tldr.system.value": ({"tldr.system.metric": "disk.free"}, 0.5)},
    ),
]


def keys_of_opentelemetry() -> Iterator[str]:
    for package in (stable, importlib.import_module(f"{_incubating.__name__}.attributes")):
        for module in pkgutil.iter_modules(package.__path__):
            constants = vars(importlib.import_module(f"{package.__name__}.{module.name}"))
            yield from (value for name, value in constants.items() if name.isupper() and isinstance(value, str))


def test_no_two_metrics_share_a_name() -> None:
    """A name leads to one metric, and `by_name` finds it."""
    names = [spec.name for spec in catalogue.ALL]
    assert len(names) == len(set(names))
    assert [catalogue.by_name(name) for name in names] == list(catalogue.ALL)
    with pytest.raises(KeyError):
        catalogue.by_name("tldr.nothing")


def test_every_specification_is_in_its_group() -> None:
    """No data module is forgotten, and the order is that of the groups and then of the names."""
    modules = {module.name for module in pkgutil.iter_modules(catalogue.__path__)}
    assert set(catalogue.GROUPS) == modules - {"spec", "attributes", "bounds", "index"}
    assert all(list(specs) == sorted(specs, key=lambda spec: spec.name) for specs in catalogue.GROUPS.values())
    assert [spec for specs in catalogue.GROUPS.values() for spec in specs] == list(catalogue.ALL)


def test_what_was_promised_is_there() -> None:
    """Dashboards and alerts find the metrics that the design has."""
    assert set(PROMISED.split()) <= {spec.name for spec in catalogue.ALL}


@pytest.mark.parametrize("spec", catalogue.ALL, ids=lambda spec: spec.name)
def test_a_specification_is_well_formed(spec: MetricSpec) -> None:
    """Names are OpenTelemetry's kind of names, units are UCUM, histograms alone have bounds, descriptions one line."""
    assert NAME.fullmatch(spec.name)
    assert UNIT.fullmatch(spec.unit)
    assert (spec.bounds is not None) == (spec.kind == "histogram")
    assert list(spec.bounds or ()) == sorted(set(spec.bounds or ()))
    assert spec.across in ("sum", "max", "last")
    assert spec.across == "sum" or spec.kind == "gauge"
    assert re.fullmatch(r"\S[^\n]*[^.\s]", spec.description)
    assert len({each.key for each in spec.attributes}) == len({each.argument for each in spec.attributes})
    assert len({each.key for each in spec.attributes}) == len(spec.attributes)
    assert all(attribute.description and attribute.argument.isidentifier() for attribute in spec.attributes)


def test_a_specification_can_not_be_changed() -> None:
    """Two parts that read it read the same."""
    spec = catalogue.ALL[0]
    with pytest.raises(AttributeError, match=spec.name):
        spec.unit = "s"
    with pytest.raises(AttributeError, match=spec.name):
        del spec.unit


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda spec: pickle.loads(pickle.dumps(spec))])
def test_a_specification_can_be_copied_and_sent(copied: Callable[[MetricSpec], MetricSpec]) -> None:
    """A dashboard's generator in another process has the same fields."""
    for spec in catalogue.ALL:
        other = copied(spec)
        assert type(other) is type(spec)
        assert [getattr(other, field) for field in MetricSpec.__slots__] == [
            getattr(spec, field) for field in MetricSpec.__slots__
        ]


def test_defaults_are_those_of_the_methods() -> None:
    """A handle that isn't told an attribute counts into the series of the method that isn't."""
    for spec in catalogue.ALL:
        for method in spec.facade:
            parameters = inspect.signature(getattr(BusinessMetrics, method)).parameters
            for attribute in spec.attributes:
                parameter = parameters.get(attribute.argument)
                if parameter is not None and isinstance(parameter.default, str):
                    assert attribute.default == parameter.default, spec


def test_keys_are_those_of_the_constants() -> None:
    """An attribute is called the same on spans and on metrics: its key is OpenTelemetry's or ours."""
    ours = {value for name, value in vars(semconv).items() if name.isupper() and isinstance(value, str)}
    keys = {attribute.key for spec in catalogue.ALL for attribute in spec.attributes}
    assert keys <= set(keys_of_opentelemetry()) | ours | FOREIGN_KEYS


def test_every_owner_is_a_part_of_the_package() -> None:
    """Who reads that a part records a metric by itself finds that part."""
    root = Path(tldr_observability.__file__).parent
    for spec in catalogue.ALL:
        for owner in spec.owner.split(", "):
            places = (root / owner, root / "integrations" / f"{owner}.py")
            assert owner == "service" or any(place.exists() for place in places), spec
        assert spec.owner != "service" or spec.facade, f"{spec.name} is recorded by nobody"


def test_methods_and_specifications_name_each_other() -> None:
    """Each method of the facade records a metric that says so, and each metric's methods exist."""
    named = {method for spec in catalogue.ALL for method in spec.facade}
    assert named == METHODS
    assert all(callable(getattr(Metrics, name)) for name in named)
    assert {name for name, _, _ in CALLS} == METHODS


def test_every_metric_and_method_is_documented() -> None:
    """The reference has a row for each metric, its attributes, and a line for each method."""
    page = PAGE.read_text(encoding="utf-8")
    for spec in catalogue.ALL:
        (row,) = re.findall(rf"^\| `{re.escape(spec.name)}` .*$", page, re.MULTILINE)
        for text in (spec.kind, spec.unit, spec.across, spec.description, *(each.key for each in spec.attributes)):
            assert text in row
        assert spec.bounds is None or f"Buckets of `{spec.name}`" in page
    for name in METHODS:
        assert f"- `{name}(" in page


@pytest.mark.parametrize(("name", "arguments"), [call[:2] for call in CALLS])
def test_the_arguments_keep_their_names_and_order(name: str, arguments: dict[str, Any]) -> None:
    """A service's existing calls, by position or by keyword, are what the signature expects."""
    parameters = list(inspect.signature(getattr(BusinessMetrics, name)).parameters)[1:]
    assert parameters[: len(arguments)] == list(arguments)


def test_every_call_is_exported_as_its_specification_says(
    program: Callable[..., Program], otlp_receiver: OTLPReceiver
) -> None:
    """Name, unit, kind, attributes and value of what each method records, called by position and by keyword."""
    run = program(
        f"""
        from tldr_observability import metrics, setup

        observability = setup(system_metrics_enabled=False)
        for name, arguments in {[call[:2] for call in CALLS]!r}:
            getattr(metrics, name)(*arguments.values())
            getattr(metrics, name)(**arguments)
        metrics.increment_stream_completed("twitch", "123", outcome="cancelled")
        metrics.set_system_metric("disk.free", 0.75, disk="sda")
        assert observability.flush(10)
        """,
        env={"OTEL_METRIC_EXPORT_INTERVAL": "600000"},
    )
    assert run.finish() == 0, run.output
    exported: dict[str, Metric] = {}
    for metric in otlp_receiver.metrics:  # once more at the end, when nothing has changed
        exported.setdefault(metric.name, metric)
    expected = [(name, *left) for _, _, metrics in CALLS for name, left in metrics.items()]
    expected.append(("tldr.stream.completed", TWITCH | ORGANIZATION | LIVE | {semconv.TLDR_OUTCOME: "cancelled"}, 0.5))
    expected.append(("tldr.system.value", {"tldr.system.metric": "disk.free", "disk": "sda"}, 0.75))
    for name, attributes, value in expected:
        spec, metric = catalogue.by_name(name), exported[name]
        assert (metric.unit, metric.description) == (spec.unit, spec.description)
        assert metric.kind in EXPORTED_KINDS[spec.kind]
        (point,) = [point for point in metric.points if point.attributes == attributes]
        if spec.kind == "histogram":
            assert (point.count, point.sum) == (2, 2 * value)
        else:
            assert point.value == (value if spec.kind == "gauge" else 2 * value)
    for name, metric in exported.items():
        left = [attributes for each, attributes, _ in expected if each == name]
        assert not left or len(metric.points) == len(left)
    assert "Metric '" not in run.output


def test_calls_that_make_no_sense_harm_nobody(program: Callable[..., Program], otlp_receiver: OTLPReceiver) -> None:
    """Values that are no numbers or neither true nor false are said once in the log; the service goes on."""
    run = program(
        """
        from tldr_observability import metrics, setup

        class Neither:
            def __bool__(self):
                raise ValueError

        observability = setup(system_metrics_enabled=False)
        for _ in range(2):
            metrics.track_api_call_usage("u", "123", "/streams", "GET", "200", None)
            metrics.increment_task_executed("task", "123", Neither())
            metrics.increment_stream_started(object(), object(), object())
            metrics.record_stream_cost(-1, "twitch", "123")
            metrics.set_quota("123", "streams", "many", None)
            metrics.set_system_metric(object(), "much", tag=object())
            metrics.increment_stream_completed("twitch", "123", outcome="lost")
        assert observability.flush(10)
        print("done")
        """
    )
    assert run.finish() == 0, run.output
    assert "done" in run.output
    assert run.output.count("'tldr.stream.cost'") == 1
    assert otlp_receiver.total("tldr.api.calls") == 2
    assert otlp_receiver.total("tldr.task.executed") == 2
    assert otlp_receiver.total("tldr.stream.cost") == 0


def test_nothing_is_emitted_without_a_specification(
    program: Callable[..., Program], otlp_receiver: OTLPReceiver
) -> None:
    """Whatever the package records by itself, its name, unit, kind and attributes are those of the catalogue."""
    run = program(
        """
        import asyncio

        import httpx
        from fastapi import FastAPI
        from sqlalchemy import create_engine, text

        from tldr_observability import metrics, setup, timed, traced_service_method

        app = FastAPI()
        engine = create_engine("sqlite://")

        @timed
        @traced_service_method
        def place(item):
            with engine.connect() as connection:
                connection.execute(text("select 1"))
            if item == "nothing":
                raise ValueError(item)

        @app.post("/orders/{item}")
        def order(item: str):
            place(item)

        observability = setup(app=app, engine=engine)

        async def requests():
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                for item in ("tea", "nothing"):
                    await client.post(f"/orders/{item}", json={"note": "hello"})

        asyncio.run(requests())
        metrics.record_api_latency(0.5, "/orders", "GET", 200)
        metrics.increment_stream_started("twitch", "123")
        assert observability.flush(10) and observability.flush(10)
        """
    )
    assert run.finish() == 0, run.output
    emitted = [metric for metric in otlp_receiver.metrics if metric.scope_name == semconv.SCOPE_NAME]
    for metric in emitted:
        spec = catalogue.by_name(metric.name.removesuffix(".manual"))
        assert metric.unit == spec.unit, spec
        assert metric.kind in EXPORTED_KINDS[spec.kind], spec
        keys = {key for point in metric.points for key in point.attributes}
        assert keys <= {attribute.key for attribute in spec.attributes}, spec
    groups = {
        group
        for group, specs in catalogue.GROUPS.items()
        for spec in specs
        for each in emitted
        if each.name == spec.name
    }
    assert groups >= {"api", "calls", "failures", "stores", "streams", "system", "telemetry"}
    assert "http.server.request.duration.manual" in {metric.name for metric in emitted}
    foreign = {metric.name for metric in otlp_receiver.metrics} - {metric.name for metric in emitted}
    assert foreign == set(), "instrumentation of others emits what the catalogue does not know"
