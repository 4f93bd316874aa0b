"""Databases and Redis, by OpenTelemetry's names."""

from __future__ import annotations

from typing import Final

from tldr_observability.catalogue.attributes import ERROR_TYPE, SERVER_ADDRESS, SERVER_PORT
from tldr_observability.catalogue.bounds import STORE_SECONDS
from tldr_observability.catalogue.spec import Attribute, HistogramSpec, UpDownCounterSpec

_SYSTEM: Final = Attribute("db.system.name", "system", "postgresql, sqlite, redis, ...")
_NAMESPACE: Final = Attribute("db.namespace", "namespace", "The database's name or number", optional=True)
_OPERATION: Final = Attribute("db.operation.name", "operation", "SELECT, HGET, ...", optional=True)
_COLLECTION: Final = Attribute("db.collection.name", "collection", "The table", optional=True)
_STATUS: Final = Attribute("db.response.status_code", "status", "The database's code of the failure", optional=True)
_POOL: Final = Attribute("db.client.connection.pool.name", "pool", "The pool's name, otherwise where it leads")
_STATE: Final = Attribute("db.client.connection.state", "state", "What it is doing", values=("idle", "used"))

OPERATION_DURATION: Final = HistogramSpec(
    "db.client.operation.duration",
    unit="s",
    description="Duration of database client operations",
    attributes=(_SYSTEM, _NAMESPACE, _OPERATION, _COLLECTION, SERVER_ADDRESS, SERVER_PORT, _STATUS, ERROR_TYPE),
    owner="sqlalchemy, redis",
    bounds=STORE_SECONDS,
)
CONNECTION_COUNT: Final = UpDownCounterSpec(
    "db.client.connection.count",
    unit="{connection}",
    description="Connections of a pool by what they are doing",
    attributes=(_POOL, _STATE),
    owner="sqlalchemy",
)
CONNECTION_MAX: Final = UpDownCounterSpec(
    "db.client.connection.max",
    unit="{connection}",
    description="The most connections that a pool opens",
    attributes=(_POOL,),
    owner="sqlalchemy",
)
