"""Object storage: what customers occupy, and how the store answers."""

from __future__ import annotations

from typing import Final

from tldr_observability import semconv
from tldr_observability.catalogue.attributes import ORGANIZATION, OUTCOME
from tldr_observability.catalogue.bounds import TRANSFER_SECONDS
from tldr_observability.catalogue.spec import Attribute, CounterSpec, GaugeSpec, HistogramSpec

_TYPE: Final = Attribute(semconv.TLDR_STORAGE_TYPE, "storage_type", "What is kept: clips, thumbnails, ...")
_OPERATION: Final = Attribute(semconv.TLDR_STORAGE_OPERATION, "operation", "What was asked of it, such as PutObject")
_BUCKET: Final = Attribute(semconv.TLDR_STORAGE_BUCKET, "bucket", "The bucket's name", optional=True)

USED: Final = GaugeSpec(
    "tldr.storage.used",
    unit="By",
    description="Bytes that a customer's objects occupy",
    attributes=(ORGANIZATION, _TYPE),
    facade=("record_storage_usage",),
    across="last",
)
OPERATIONS: Final = CounterSpec(
    "tldr.storage.operations",
    unit="{operation}",
    description="Operations of the store on a customer's behalf",
    attributes=(_OPERATION, ORGANIZATION, OUTCOME),
    facade=("increment_storage_operations",),
)
OPERATION_DURATION: Final = HistogramSpec(
    "tldr.storage.operation.duration",
    unit="s",
    description="Time that an operation of the store takes, its retries included",
    attributes=(_OPERATION, _BUCKET, OUTCOME),
    owner="botocore",
    bounds=TRANSFER_SECONDS,
)
