"""Background tasks and their queues."""

from __future__ import annotations

from typing import Final

from tldr_observability.catalogue.attributes import ORGANIZATION, OUTCOME, QUEUE, TASK_NAME
from tldr_observability.catalogue.bounds import JOB_SECONDS
from tldr_observability.catalogue.spec import CounterSpec, GaugeSpec, HistogramSpec

EXECUTED: Final = CounterSpec(
    "tldr.task.executed",
    unit="{task}",
    description="Tasks that ended; one that is retried is counted once, at its last end",
    attributes=(TASK_NAME, ORGANIZATION, OUTCOME),
    owner="celery",
    facade=("increment_task_executed",),
)
DURATION: Final = HistogramSpec(
    "tldr.task.duration",
    unit="s",
    description="Time that a run of a task takes",
    attributes=(TASK_NAME, ORGANIZATION),
    owner="celery",
    facade=("record_task_duration",),
    bounds=JOB_SECONDS,
)
RETRIED: Final = CounterSpec(
    "tldr.task.retried",
    unit="{retry}",
    description="Runs of tasks that ended in another try",
    attributes=(TASK_NAME, ORGANIZATION),
    owner="celery",
)
QUEUE_DEPTH: Final = GaugeSpec(
    "tldr.task.queue.depth",
    unit="{task}",
    description="Tasks that wait in a queue",
    attributes=(QUEUE,),
    owner="celery",
    facade=("set_task_queue_depth",),
    across="max",
)
QUEUE_LATENCY: Final = HistogramSpec(
    "tldr.task.queue.latency",
    unit="s",
    description="Time that a task waited in its queue",
    attributes=(QUEUE,),
    owner="celery",
    bounds=JOB_SECONDS,
)
