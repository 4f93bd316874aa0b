"""Exceptions that left decorated code."""

from __future__ import annotations

from typing import Final

from tldr_observability import semconv
from tldr_observability.catalogue.attributes import ERROR_TYPE
from tldr_observability.catalogue.spec import Attribute, CounterSpec

_LAYER: Final = Attribute(
    semconv.TLDR_LAYER, "layer", "The layer of the code that it left: api, service, ...", optional=True
)

COUNT: Final = CounterSpec(
    "tldr.error.count",
    unit="{error}",
    description="Exceptions that left decorated code, each counted once",
    attributes=(ERROR_TYPE, _LAYER),
    owner="tracing",
)
