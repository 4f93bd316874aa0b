"""Highlights: what was found, how sure the detector is, how long it takes."""

from __future__ import annotations

from typing import Final

from tldr_observability.catalogue.attributes import DETECTION_METHOD, ORGANIZATION, PLATFORM, STAGE
from tldr_observability.catalogue.bounds import JOB_SECONDS, SHARES
from tldr_observability.catalogue.spec import CounterSpec, HistogramSpec

DETECTED: Final = CounterSpec(
    "tldr.highlight.detected",
    unit="{highlight}",
    description="Highlights found",
    attributes=(PLATFORM, ORGANIZATION, DETECTION_METHOD),
    facade=("increment_highlights_detected",),
)
CONFIDENCE: Final = HistogramSpec(
    "tldr.highlight.confidence",
    unit="1",
    description="How sure the detector is of a highlight, from 0 to 1",
    attributes=(DETECTION_METHOD, PLATFORM),
    facade=("record_highlight_confidence",),
    bounds=SHARES,
)
PROCESSING_DURATION: Final = HistogramSpec(
    "tldr.highlight.processing.duration",
    unit="s",
    description="Time that a step of the processing takes",
    attributes=(STAGE, PLATFORM),
    facade=("record_highlight_processing_time",),
    bounds=JOB_SECONDS,
)
