"""Streams: how many, how long, at what cost."""

from __future__ import annotations

from typing import Final

from tldr_observability.catalogue.attributes import ORGANIZATION, OUTCOME, PLATFORM, STREAM_TYPE
from tldr_observability.catalogue.bounds import STREAM_SECONDS
from tldr_observability.catalogue.spec import CounterSpec, GaugeSpec, HistogramSpec

STARTED: Final = CounterSpec(
    "tldr.stream.started",
    unit="{stream}",
    description="Streams whose processing began",
    attributes=(PLATFORM, ORGANIZATION, STREAM_TYPE),
    facade=("increment_stream_started",),
)
COMPLETED: Final = CounterSpec(
    "tldr.stream.completed",
    unit="{stream}",
    description="Streams whose processing ended, well or not",
    attributes=(PLATFORM, ORGANIZATION, STREAM_TYPE, OUTCOME),
    facade=("increment_stream_completed",),
)
DURATION: Final = HistogramSpec(
    "tldr.stream.duration",
    unit="s",
    description="Time from the start of a stream's processing to its end",
    attributes=(PLATFORM, ORGANIZATION),
    facade=("record_stream_duration",),
    bounds=STREAM_SECONDS,
)
ACTIVE: Final = GaugeSpec(
    "tldr.stream.active",
    unit="{stream}",
    description="Streams being processed now, by all of the service",
    attributes=(PLATFORM._replace(optional=True),),
    facade=("set_active_streams",),
    across="last",
)
PROCESSED: Final = CounterSpec(
    "tldr.stream.processed",
    unit="min",
    description="Minutes of stream that were processed, as customers are charged for",
    attributes=(ORGANIZATION,),
    facade=("track_stream_processing_usage",),
)
COST: Final = CounterSpec(
    "tldr.stream.cost",
    unit="{USD}",
    description="What processing streams has cost, in US dollars",
    attributes=(PLATFORM, ORGANIZATION),
    facade=("record_stream_cost",),
)
