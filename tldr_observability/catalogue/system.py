"""The process, the interpreter and the host, under the names and keys of OpenTelemetry's instrumentation of them."""

from __future__ import annotations

from typing import Final

from tldr_observability import semconv
from tldr_observability.catalogue.spec import Attribute, CounterSpec, GaugeSpec, UpDownCounterSpec

_OWNER: Final = "system"
_METRIC: Final = Attribute(semconv.TLDR_SYSTEM_METRIC, "metric_name", "What is measured")
_CPU_TIME: Final = Attribute("type", "type", "In whose code", values=("user", "system"))
_SWITCH: Final = Attribute("type", "type", "Who gave way", values=("involuntary", "voluntary"))
_CPU_STATE: Final = Attribute("state", "state", "What they did", values=("idle", "user", "system", "irq"))
_MEMORY_STATE: Final = Attribute("state", "state", "What it holds", values=("used", "free", "cached"))
_GENERATION: Final = Attribute("cpython.gc.generation", "generation", "The generation, from 0")

PROCESS_CPU_TIME: Final = CounterSpec(
    "process.cpu.time",
    unit="s",
    description="Time that the process had a processor",
    attributes=(_CPU_TIME,),
    owner=_OWNER,
)
PROCESS_CPU_UTILIZATION: Final = GaugeSpec(
    "process.cpu.utilization",
    unit="1",
    description="Share of all processors that the process had since the last measurement",
    owner=_OWNER,
)
PROCESS_MEMORY_USAGE: Final = UpDownCounterSpec(
    "process.memory.usage",
    unit="By",
    description="Physical memory of the process",
    owner=_OWNER,
)
PROCESS_MEMORY_VIRTUAL: Final = UpDownCounterSpec(
    "process.memory.virtual",
    unit="By",
    description="Virtual memory of the process",
    owner=_OWNER,
)
PROCESS_THREADS: Final = UpDownCounterSpec(
    "process.thread.count",
    unit="{thread}",
    description="Threads of the process",
    owner=_OWNER,
)
PROCESS_DESCRIPTORS: Final = UpDownCounterSpec(
    "process.open_file_descriptor.count",
    unit="{file_descriptor}",
    description="File descriptors that the process holds",
    owner=_OWNER,
)
PROCESS_CONTEXT_SWITCHES: Final = CounterSpec(
    "process.context_switches",
    unit="{context_switch}",
    description="Times that the process was switched for another",
    attributes=(_SWITCH,),
    owner=_OWNER,
)
GC_COLLECTIONS: Final = CounterSpec(
    "cpython.gc.collections",
    unit="{collection}",
    description="Collections of a generation since the interpreter's start",
    attributes=(_GENERATION,),
    owner=_OWNER,
)
GC_COLLECTED: Final = CounterSpec(
    "cpython.gc.collected_objects",
    unit="{object}",
    description="Objects collected since the interpreter's start",
    attributes=(_GENERATION,),
    owner=_OWNER,
)
GC_UNCOLLECTABLE: Final = CounterSpec(
    "cpython.gc.uncollectable_objects",
    unit="{object}",
    description="Objects that could not be collected since the interpreter's start",
    attributes=(_GENERATION,),
    owner=_OWNER,
)
HOST_CPU_UTILIZATION: Final = GaugeSpec(
    "system.cpu.utilization",
    unit="1",
    description="Share of the processors' time by what they did",
    attributes=(_CPU_STATE,),
    owner=_OWNER,
    across="max",
)
HOST_MEMORY_USAGE: Final = GaugeSpec(
    "system.memory.usage",
    unit="By",
    description="The host's memory by what it holds",
    attributes=(_MEMORY_STATE,),
    owner=_OWNER,
    across="max",
)
HOST_MEMORY_UTILIZATION: Final = GaugeSpec(
    "system.memory.utilization",
    unit="1",
    description="Share of the host's memory by what it holds",
    attributes=(_MEMORY_STATE,),
    owner=_OWNER,
    across="max",
)
VALUE: Final = GaugeSpec(
    "tldr.system.value",
    unit="1",
    description="A figure of the service's own about its system; the tags given with it are attributes too",
    attributes=(_METRIC,),
    facade=("set_system_metric",),
    across="last",
    is_open=True,
)
