"""The connection to the database: one engine a process, and sessions that are transactions."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from highlights.models import Base
from highlights.settings import settings
from tldr_observability import traced_repository_method

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

__all__ = ["create_tables", "engine", "transaction"]

_BUSY_SECONDS = 30
_CONNECT_SECONDS = 5


@cache
def engine() -> Engine:
    """The engine of DATABASE_URL; it connects when first used."""
    url = make_url(settings().database_url)
    if url.get_backend_name() != "sqlite":
        return create_engine(
            url, pool_pre_ping=True, hide_parameters=True, connect_args={"connect_timeout": _CONNECT_SECONDS}
        )
    made = create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, hide_parameters=True)
    event.listen(made, "connect", _prepare_sqlite)
    return made


@contextmanager
def transaction() -> Iterator[Session]:
    """A session that commits when the block ends and rolls back when it raises; objects stay readable afterwards."""
    with Session(engine(), expire_on_commit=False) as session, session.begin():
        yield session


@traced_repository_method
def create_tables() -> None:
    """Make what isn't there yet. A service with a past would use migrations."""
    url = make_url(settings().database_url)
    if url.get_backend_name() == "sqlite" and url.database:
        _directory_of(url.database).mkdir(parents=True, exist_ok=True)
    Base.metadata.create_all(engine())


def _directory_of(database: str) -> Path:
    from pathlib import Path

    return Path(database).parent


def _prepare_sqlite(connection: Any, _: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
