"""The figures of the process and its host: by the catalogue's names, few, of the right process, gone when undone."""

from __future__ import annotations

import gc
import json
import sys
import time

import psutil
import pytest
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from tldr_observability.catalogue import GROUPS
from tldr_observability.errors import MissingExtraError
from tldr_observability.integrations import system

SPECS = {spec.name: spec for spec in GROUPS["system"] if spec.owner == "system"}
MEGABYTE = 1024 * 1024


@pytest.fixture
def collect(start, otlp_receiver, monkeypatch):
    """Have everything collected and exported once, as totals; gives the metrics by name."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlp_receiver.url)
    observability = start(send_to_logfire=False)
    system.uninstrument()
    system.instrument()
    observability.flush()

    def collected():
        otlp_receiver.clear()
        time.sleep(0.05)  # the host's clocks tick a hundred times a second
        observability.flush()
        return {metric.name: metric for metric in otlp_receiver.metrics}

    yield collected
    system.uninstrument()


def values(metric, key=None):
    return {point.attributes[key] if key else "": point.value for point in metric.points}


def test_what_is_emitted_is_what_the_catalogue_says(collect):
    """Every figure of the catalogue is exported with its unit, kind and attributes, and none that it doesn't know."""
    metrics = collect()
    emitted = {name for name in metrics if name.startswith(("process.", "system.", "cpython."))}

    assert emitted == set(SPECS)
    for name, spec in SPECS.items():
        assert metrics[name].unit == spec.unit
        assert metrics[name].kind == spec.kind.replace("-", "_").replace(" ", "_")
        for point in metrics[name].points:
            assert set(point.attributes) <= {attribute.key for attribute in spec.attributes}


def test_the_figures_are_those_of_this_process(collect):
    """Memory, threads, descriptors and collections agree with what the operating system and Python say."""
    for _ in range(3):
        gc.collect()
    metrics = collect()
    process = psutil.Process()

    assert values(metrics["process.memory.usage"])[""] == pytest.approx(process.memory_info().rss, rel=0.3)
    assert values(metrics["process.memory.virtual"])[""] > values(metrics["process.memory.usage"])[""]
    assert values(metrics["process.thread.count"])[""] == pytest.approx(process.num_threads(), abs=3)
    assert values(metrics["process.open_file_descriptor.count"])[""] == pytest.approx(process.num_fds(), abs=5)
    assert values(metrics["cpython.gc.collections"], "cpython.gc.generation")[2] >= 3
    assert set(values(metrics["process.cpu.time"], "type")) == {"user", "system"}


def test_shares_are_shares(collect):
    """CPU and memory shares lie between 0 and 1 and those of one whole don't exceed it."""
    deadline = psutil.Process().cpu_times().user + 0.1
    while psutil.Process().cpu_times().user < deadline:
        pass
    metrics = collect()

    assert 0 < values(metrics["process.cpu.utilization"])[""] <= 1
    host = values(metrics["system.cpu.utilization"], "state")
    assert host["user"] > 0
    assert sum(host.values()) <= 1.001
    memory = values(metrics["system.memory.utilization"], "state")
    assert all(0 <= share <= 1 for share in memory.values())
    used = values(metrics["system.memory.usage"], "state")["used"]
    assert used / psutil.virtual_memory().total == pytest.approx(memory["used"], rel=0.05)


def test_the_series_do_not_grow_with_the_machine(collect):
    """Neither processors nor disks nor network cards make series of their own."""
    metrics = collect()

    series = [point for name in SPECS for point in metrics[name].points]
    assert len(series) <= 32
    assert not any(key in point.attributes for point in series for key in ("cpu", "device"))


def test_readings_at_the_same_moment_agree():
    """Two readers that ask one after the other both get shares, and not one of them zeros."""
    ticks = iter([(10.0, 30.0, 5.0), (11.0, 32.0, 6.0), (11.0, 32.0, 6.0)])

    class Times:
        def __init__(self, user, idle, guest):
            self.fields = {"user": user, "idle": idle, "guest": guest}

        def _asdict(self):
            return self.fields

    host = system._HostCpu(lambda: Times(*next(ticks)), ("user", "idle", "irq"))

    first, second = host.shares(), host.shares()
    assert first == second == [(pytest.approx(1 / 3), {"state": "user"}), (pytest.approx(2 / 3), {"state": "idle"})]


def test_a_forked_worker_reports_its_own_process(program):
    """After a fork the child's memory, CPU time and descriptors are its own, not its parent's."""
    child = program(
        """
        import json, os, psutil
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from tldr_observability.integrations import system

        reader = InMemoryMetricReader()
        metrics.set_meter_provider(MeterProvider([reader]))
        system.instrument()
        reader.get_metrics_data()
        read, write = os.pipe()
        if os.fork() == 0:
            ballast = bytearray(os.urandom(1024)) * (80 * 1024)
            kept = [os.dup(0) for _ in range(40)]
            (metrics,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
            values = {each.name: each.data.data_points[0].value for each in metrics.metrics}
            values["rss"], values["fds"] = psutil.Process().memory_info().rss, psutil.Process().num_fds()
            print(json.dumps(values), flush=True)
            os._exit(0)
        os.wait()
        (metrics,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
        print(json.dumps({each.name: each.data.data_points[0].value for each in metrics.metrics}), flush=True)
        """
    )
    assert child.finish() == 0, child.output
    theirs, ours = map(json.loads, child.output.splitlines())

    assert theirs["process.memory.usage"] == pytest.approx(theirs["rss"], abs=8 * MEGABYTE)
    assert theirs["process.memory.usage"] > ours["process.memory.usage"] + 60 * MEGABYTE
    assert theirs["process.open_file_descriptor.count"] >= ours["process.open_file_descriptor.count"] + 39
    assert theirs["process.cpu.time"] < ours["process.cpu.time"] + 0.5


def test_twice_is_once_and_undone_is_undone(collect):
    """A second instrument() doubles nothing; after uninstrument() nothing is read, and it can be turned on again."""
    assert system.instrument() == system.instrument()
    assert len(collect()["process.thread.count"].points) == 1

    system.uninstrument()
    system.uninstrument()
    assert not set(collect()) & set(SPECS)

    system.instrument()
    assert set(SPECS) <= set(collect())


def test_the_services_own_instrumentation_is_left_alone(collect):
    """A service that reads other metrics with OpenTelemetry's instrumentor goes on doing so."""
    reader = InMemoryMetricReader()
    theirs = SystemMetricsInstrumentor(config={"system.swap.usage": ["used"]})
    theirs.instrument(meter_provider=MeterProvider([reader]))
    try:
        system.uninstrument()
        system.instrument()
        assert set(SPECS) <= set(collect())
        (scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
        assert [metric.name for metric in scope.metrics] == ["system.swap.usage"]
        assert SystemMetricsInstrumentor(config=theirs._config) is theirs
        assert theirs.is_instrumented_by_opentelemetry
    finally:
        theirs.uninstrument()


@pytest.mark.parametrize("module", ["psutil", "opentelemetry.instrumentation.system_metrics"])
def test_a_missing_library_is_named(monkeypatch, module):
    """Who asks for system metrics without their packages reads which extra to install."""
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(MissingExtraError, match=r"tldr-observability\[system\]"):
        system.instrument()
