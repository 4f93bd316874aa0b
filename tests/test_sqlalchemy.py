"""SQLAlchemy engines observed: real statements on SQLite and PostgreSQL, what of them is exported, and what is not."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    NullPool,
    StaticPool,
    String,
    Table,
    case,
    create_engine,
    event,
    exc,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column, relationship, selectinload
from sqlalchemy.schema import ForeignKey

from tldr_observability import span
from tldr_observability.errors import ConfigurationError
from tldr_observability.integrations import sqlalchemy as observed
from tldr_observability.integrations.statements import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Program
    from sqlalchemy import Engine

    from tldr_observability import Observability
    from tldr_observability.testing import Metric, OTLPReceiver, Span

DURATION = "db.client.operation.duration"
COUNT = "db.client.connection.count"
MAX = "db.client.connection.max"
SCOPE = "opentelemetry.instrumentation.sqlalchemy"


class Base(DeclarativeBase):
    """The tables of the tests."""


class Customer(Base):
    """Has orders."""

    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    orders: Mapped[list[Order]] = relationship()


class Order(Base):
    """A row with a unique name."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("customers.id"))


ITEMS = Table("items", MetaData(), Column("id", Integer, primary_key=True), Column("name", String))


class Seen:
    """What was exported, flushed before each question."""

    def __init__(self, observability: Observability, receiver: OTLPReceiver) -> None:
        self._observability = observability
        self._receiver = receiver

    def clear(self) -> None:
        """Forget what there was."""
        self._observability.flush(5)
        self._receiver.clear()

    @property
    def spans(self) -> list[Span]:
        """Of SQLAlchemy, without those of connections."""
        return [each for each in self.everything if each.scope_name == SCOPE and each.name != "connect"]

    @property
    def everything(self) -> list[Span]:
        """Each span."""
        self._observability.flush(5)
        return sorted(self._receiver.spans, key=lambda each: each.start_time_ns)

    @property
    def names(self) -> list[str]:
        """Of the statements' spans."""
        return [each.name for each in self.spans]

    @property
    def metrics(self) -> list[Metric]:
        """Every export."""
        self._observability.flush(5)
        return self._receiver.metrics

    def total(self, name: str, **attributes: object) -> float:
        """The sum of a metric; `db_operation_name="SELECT"` for `db.operation.name`."""
        self._observability.flush(5)
        return self._receiver.total(name, {key.replace("_", "."): value for key, value in attributes.items()})

    def latest(self, name: str) -> dict[tuple[Any, ...], float]:
        """The last value of each series, by the values of its attributes in the order of the keys."""
        values = {}
        for metric in self.metrics:
            if metric.name == name:
                for point in metric.points:
                    values[tuple(value for _, value in sorted(point.attributes.items()))] = point.value
        return values  # type: ignore[return-value]


@pytest.fixture
def seen(
    start: Callable[..., Observability], otlp_receiver: OTLPReceiver, monkeypatch: pytest.MonkeyPatch, strict: None
) -> Iterator[Seen]:
    """A set-up of its own, with nothing observed yet."""
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
    yield Seen(start(), otlp_receiver)
    observed.uninstrument()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A SQLite database with the tables, not observed yet."""
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    Base.metadata.create_all(engine)
    ITEMS.create(engine)
    yield engine
    engine.dispose()


def test_a_statement_is_a_span_that_tells_operation_and_table(seen: Seen, engine: Engine) -> None:
    """Who looks at a trace reads `SELECT orders` and finds the statement without its parameters."""
    observed.instrument(engine)
    with span("checkout"), engine.connect() as connection:
        connection.execute(text("SELECT * FROM orders WHERE name = :name"), {"name": "hush"})

    checkout, connect, statement = seen.everything
    assert (checkout.name, connect.name, statement.name) == ("checkout", "connect", "SELECT orders")
    assert statement.parent_id == connect.parent_id == checkout.span_id
    assert statement.kind == connect.kind == "client"
    assert statement.attributes == {
        "db.system.name": "sqlite",
        "db.namespace": engine.url.database,
        "db.operation.name": "SELECT",
        "db.collection.name": "orders",
        "db.query.text": "SELECT * FROM orders WHERE name = ?",
        "logfire.msg": "SELECT orders",
        "logfire.span_type": "span",
    }
    assert connect.attributes["logfire.level_num"] == 5
    assert "hush" not in str(seen.everything)


def test_no_console_shows_where_a_database_lies(
    start: Callable[..., Observability], engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who sees a statement when it starts, as on the console, reads its operation and table, and no path of a file."""
    start(engine=engine, console_enabled=True)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO orders (name) VALUES ('a')"))
        connection.execute(text("/* who knows */ SELECT * FROM orders"))
        with pytest.raises(exc.OperationalError):
            connection.execute(text("SELECT * FROM nowhere"))

    shown = capsys.readouterr().out
    for name in ("INSERT orders", "SELECT orders", "SELECT nowhere"):
        assert name in shown
    assert str(engine.url.database) not in shown


def test_setup_takes_engines(start: Callable[..., Observability], otlp_receiver: OTLPReceiver, engine: Engine) -> None:
    """One line in the service is enough, and its report says what is observed."""
    observability = start(engine=engine)
    with engine.connect() as connection:
        connection.execute(text("SELECT * FROM orders"))
    observability.flush(5)

    assert [each.name for each in otlp_receiver.spans] == ["connect", "SELECT orders"]
    (status,) = [each for each in observability.report() if each.part == "sqlalchemy"]
    assert (status.on, status.detail) == (True, "statements and pool of 1 engine, without parameters")


def test_sql_can_be_turned_off(
    start: Callable[..., Observability], otlp_receiver: OTLPReceiver, engine: Engine
) -> None:
    """With LOGFIRE_SQL_ENABLED=false the database works unobserved."""
    observability = start(engine=engine, sql_enabled=False)
    with engine.connect() as connection:
        connection.execute(text("SELECT * FROM orders"))
    observability.flush(5)

    assert otlp_receiver.spans == []
    assert otlp_receiver.total(DURATION) == 0


def test_statements_are_timed_by_operation_and_table(seen: Seen, engine: Engine) -> None:
    """The time that statements take can be told apart by what they do and to which table."""
    observed.instrument(engine)
    with Session(engine) as session:
        session.add(Customer(id=1, orders=[Order(id=1, name="tea"), Order(id=2, name="cup")]))
        session.commit()
        session.scalars(select(Customer).options(selectinload(Customer.orders))).all()

    assert seen.names == ["INSERT customers", "INSERT orders", "SELECT customers", "SELECT orders"]
    assert seen.total(DURATION) == 4
    for name in seen.names:
        operation, table = name.split()
        assert seen.total(DURATION, db_system_name="sqlite", db_operation_name=operation, db_collection_name=table) == 1


def test_a_slow_statement_takes_as_long_as_it_takes(seen: Seen, engine: Engine) -> None:
    """Durations are seconds of the database's work, the service's own before and after not included."""
    event.listen(engine, "connect", lambda raw, _record: raw.create_function("nap", 1, time.sleep))
    engine.dispose()
    observed.instrument(engine)
    with engine.connect() as connection:
        time.sleep(0.2)
        connection.execute(text("SELECT nap(0.05)")).all()
        time.sleep(0.2)

    seen.total(DURATION)
    (point,) = [point for each in seen.metrics if each.name == DURATION for point in each.points]
    assert 0.05 <= (point.sum or 0) < 0.2


def test_many_rows_are_one_span_and_one_duration(seen: Seen, engine: Engine) -> None:
    """A batch counts once, and its span tells how many rows went in."""
    observed.instrument(engine)
    with engine.begin() as connection:
        connection.execute(ITEMS.insert(), [{"id": number, "name": "hush"} for number in range(5)])

    (statement,) = seen.spans
    assert statement.name == "INSERT items"
    assert statement.attributes["db.operation.batch.size"] == 5
    assert seen.total(DURATION, db_operation_name="INSERT", db_collection_name="items") == 1
    assert "hush" not in str(seen.everything)


def test_a_failed_statement_says_so_and_passes_its_exception_on(seen: Seen, engine: Engine) -> None:
    """A violated constraint is an error of the span, `error.type` of the metric, and the service's own to handle."""
    observed.instrument(engine)
    with engine.begin() as connection:
        connection.execute(insert(Order), {"id": 1, "name": "hush"})
        with pytest.raises(exc.IntegrityError) as caught:
            connection.execute(insert(Order), {"id": 2, "name": "hush"})

    assert caught.value.params == (2, "hush")
    _, failed = seen.spans
    assert (failed.status, failed.status_message) == ("error", "IntegrityError: UNIQUE constraint failed: orders.name")
    assert failed.attributes["error.type"] == "sqlalchemy.exc.IntegrityError"
    assert failed.attributes["logfire.level_num"] == 17
    (happened,) = failed.events
    assert happened.attributes["exception.type"] == "sqlite3.IntegrityError"
    assert seen.total(DURATION) == 2
    assert seen.total(DURATION, error_type="sqlalchemy.exc.IntegrityError", db_collection_name="orders") == 1
    assert "hush" not in str(seen.everything)


def test_an_error_among_the_rows_is_the_readers(seen: Seen, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """A statement that was answered stays so, and nothing complains, when a row can't be read later."""
    event.listen(engine, "connect", lambda raw, _record: raw.create_function("half", 1, lambda over: 1 / over))
    engine.dispose()
    observed.instrument(engine)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT half(2) UNION ALL SELECT half(0)"))
        with pytest.raises(exc.OperationalError):
            rows.all()

    (statement,) = seen.spans
    assert statement.status == "unset"
    assert seen.total(DURATION) == 1
    assert not caplog.records


def test_an_unreachable_database_is_an_error_of_the_connect_span(
    seen: Seen, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Failing connections don't hide below the debug level."""
    engine = create_engine(f"sqlite:///{tmp_path}/nowhere/shop.db")
    observed.instrument(engine)
    with pytest.raises(exc.OperationalError, match="unable to open"):
        engine.connect()

    (connect,) = seen.everything
    assert (connect.name, connect.status, connect.attributes["logfire.level_num"]) == ("connect", "error", 17)
    assert seen.total(DURATION) == 0
    assert not caplog.records


def test_listeners_of_the_service_keep_their_say(seen: Seen, engine: Engine) -> None:
    """A hook that rewrites statements or errors does so as before."""
    event.listen(engine, "before_cursor_execute", lambda *each: (f"{each[2]} -- of mine", each[3]), retval=True)
    sent = []
    observed.instrument(engine)
    event.listen(engine, "before_cursor_execute", lambda *each: sent.append(each[2]))
    event.listen(engine, "handle_error", lambda _context: LookupError("of mine"))
    with engine.connect() as connection:
        connection.execute(select(Order.id))
        with pytest.raises(LookupError, match="of mine"):
            connection.execute(text("SELECT * FROM nowhere"))

    assert [each.endswith("-- of mine") for each in sent] == [True, True]
    assert seen.names == ["SELECT orders", "SELECT nowhere"]


@pytest.mark.parametrize("late", [False, True])
def test_several_engines_each_have_their_spans(seen: Seen, tmp_path: Path, late: bool) -> None:
    """A second database is observed as well as the first, no matter when it is added, and none that wasn't given."""
    first, second, stranger = (create_engine(f"sqlite:///{tmp_path}/{name}.db") for name in ("one", "two", "three"))
    observed.instrument(first)
    if not late:
        assert observed.instrument(second) == "statements and pool of 2 engines, without parameters"
    with first.connect() as connection:
        connection.execute(text("SELECT 1"))
    observed.instrument(second)
    for engine in (second, stranger):
        with engine.connect() as connection:
            connection.execute(text("SELECT 2"))

    assert [each.attributes["db.namespace"] for each in seen.spans] == [first.url.database, second.url.database]
    assert {name for name, _ in seen.latest(COUNT)} == {first.url.database, second.url.database}


def test_observing_twice_doubles_nothing(seen: Seen, engine: Engine) -> None:
    """Calling the set-up again for the same engine changes nothing."""
    assert observed.instrument(engine) == observed.instrument(engine)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))

    assert [each.name for each in seen.everything] == ["connect", "SELECT"]
    assert seen.total(DURATION) == 1


def test_an_engine_that_is_traced_already_is_not_traced_twice(
    seen: Seen, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Who gave the engine to OpenTelemetry's instrumentor gets the table and the metrics on top of its spans."""
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
    from opentelemetry.metrics import NoOpMeterProvider

    SQLAlchemyInstrumentor().instrument(engine=engine, skip_dep_check=True, meter_provider=NoOpMeterProvider())
    try:
        observed.instrument(engine)
        with engine.connect() as connection:
            connection.execute(text("SELECT * FROM orders"))
            with pytest.raises(exc.OperationalError):
                connection.execute(text("SELECT * FROM nowhere"))
        assert [each.name for each in seen.everything] == ["connect", "SELECT orders", "SELECT nowhere"]
        assert seen.total(DURATION) == 2
        assert not caplog.records
    finally:
        SQLAlchemyInstrumentor().uninstrument()


def test_derived_engines_are_observed_too(seen: Seen, engine: Engine) -> None:
    """Execution options, such as a tenant's schema, don't lead past the telemetry."""
    observed.instrument(engine)
    tenant = engine.execution_options(isolation_level="SERIALIZABLE")
    with tenant.connect() as connection:
        connection.execute(select(ITEMS.c.id))

    assert [each.name for each in seen.everything] == ["connect", "SELECT items"]


def test_uninstrument_leaves_nothing_behind(seen: Seen, engine: Engine) -> None:
    """After it the engine works as if it had never been observed."""
    engine.dispose()
    before = dict(vars(engine))
    observed.instrument(engine)
    engine.dispose()
    observed.uninstrument()
    seen.clear()
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))

    assert seen.everything == []
    assert seen.total(DURATION) == 0
    assert seen.latest(COUNT) == {}
    assert vars(engine).keys() == before.keys() | {"_has_events"}


def test_uninstrument_reaches_derived_engines(seen: Seen, engine: Engine) -> None:
    """One that the service derived while it was observed is as if it had never been, too."""
    observed.instrument(engine)
    tenant = engine.execution_options(isolation_level="SERIALIZABLE")
    observed.uninstrument()
    with tenant.connect() as connection:
        connection.execute(text("SELECT 1"))

    assert seen.everything == []


def test_uninstrument_leaves_the_instrumentation_of_others(seen: Seen, engine: Engine) -> None:
    """The spans of an engine that the service has given to OpenTelemetry's instrumentor go on."""
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
    from opentelemetry.metrics import NoOpMeterProvider

    other = create_engine("sqlite://")
    SQLAlchemyInstrumentor().instrument(engine=other, skip_dep_check=True, meter_provider=NoOpMeterProvider())
    try:
        observed.instrument(engine)
        observed.uninstrument()
        for each in (other, engine):
            with each.connect() as connection:
                connection.execute(text("SELECT 1"))
        assert [each.name.split()[0] for each in seen.everything].count("SELECT") == 1

        observed.instrument(engine)
    finally:
        SQLAlchemyInstrumentor().uninstrument()
    observed.uninstrument()  # after the instrumentor has removed everything of its kind


def test_the_pool_shows_what_is_used_idle_and_possible(seen: Seen, tmp_path: Path) -> None:
    """Who looks for leaked or missing connections sees how many there are and how many there may be."""
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db", pool_size=3, max_overflow=4, pool_logging_name="shop")
    observed.instrument(engine)
    assert seen.latest(COUNT) == {("shop", "used"): 0, ("shop", "idle"): 0}
    with engine.connect(), engine.connect():
        assert seen.latest(COUNT) == {("shop", "used"): 2, ("shop", "idle"): 0}
    assert seen.latest(COUNT) == {("shop", "used"): 0, ("shop", "idle"): 2}
    assert seen.latest(MAX) == {("shop",): 7}

    engine.dispose()
    with engine.connect():
        assert seen.latest(COUNT) == {("shop", "used"): 1, ("shop", "idle"): 0}


def test_pools_without_limit_claim_none(seen: Seen, tmp_path: Path) -> None:
    """What is unlimited, or doesn't pool, has no invented limit."""
    url = f"sqlite:///{tmp_path}/shop.db"
    for engine in (
        create_engine(url, poolclass=NullPool),
        create_engine(url, poolclass=StaticPool),
        create_engine(url, max_overflow=-1, pool_logging_name="endless"),
    ):
        observed.instrument(engine)
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        assert seen.latest(MAX) == {}

        if engine.pool.logging_name == "endless":
            assert seen.latest(COUNT) == {("endless", "used"): 0, ("endless", "idle"): 1}


def test_a_forked_child_reports_its_own_connections(
    program: Callable[..., Program], otlp_receiver: OTLPReceiver
) -> None:
    """Connections that a parent holds are not counted once more by each of its children."""
    running = program("""
        import os
        from sqlalchemy import create_engine
        from tldr_observability import setup
        from tldr_observability.integrations import sqlalchemy as observed

        observability = setup()
        engine = create_engine("sqlite:///shop.db")
        observed.instrument(engine)
        held = [engine.connect() for _ in range(3)]
        child = os.fork()
        if child == 0:
            engine.dispose(close=False)
            held = [engine.connect()]
        else:
            os.waitpid(child, 0)
        observability.flush()
        """)
    assert running.finish() == 0, running.output

    used = {
        metric.resource["process.pid"]: point.value
        for metric in otlp_receiver.metrics
        if metric.name == COUNT
        for point in metric.points
        if point.attributes["db.client.connection.state"] == "used"
    }
    assert set(used.values()) == {1, 3}


def test_an_engine_is_not_kept_alive(seen: Seen, tmp_path: Path) -> None:
    """An engine that the service drops is dropped, its series with it."""
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    observed.instrument(engine)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    dropped = weakref.ref(engine)
    engine.dispose()
    del engine, connection
    gc.collect()

    assert dropped() is None
    seen.clear()
    assert seen.latest(COUNT) == {}


def test_statements_leave_no_memory_behind(seen: Seen, engine: Engine) -> None:
    """A thousand different statements keep no span and no context alive."""
    observed.instrument(engine)
    contexts = []
    event.listen(engine, "after_cursor_execute", lambda *each: contexts.append(weakref.ref(each[4])))
    with engine.connect() as connection:
        for number in range(1000):
            connection.execute(text(f"SELECT {number}")).all()
    gc.collect()

    assert len(contexts) == 1000
    assert [each for each in contexts if each() is not None] == []


async def use_async(engine: Any) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    observed.instrument(engine)
    with span("checkout"):
        async with AsyncSession(engine) as session:
            session.add(Order(id=1, name="tea"))
            await session.commit()
            await asyncio.gather(*(ask(engine) for _ in range(3)))
    async with AsyncSession(engine) as session:
        session.add(Order(id=2, name="tea"))
        with pytest.raises(exc.IntegrityError):
            await session.commit()
    await engine.dispose()


async def ask(engine: Any) -> None:
    with span("ask"):
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1 FROM orders"))


def check_async(seen: Seen, system: str) -> None:
    *calm, failed = seen.spans
    assert [each.name for each in calm] == ["INSERT orders", *["SELECT orders"] * 3]
    known = {each.span_id: each.name for each in seen.everything}
    assert [known[each.parent_id or ""] for each in calm] == ["checkout", "ask", "ask", "ask"]
    assert len({each.trace_id for each in calm}) == 1
    assert (failed.name, failed.status) == ("INSERT orders", "error")
    assert {each.attributes["db.system.name"] for each in seen.spans} == {system}
    assert seen.total(DURATION, db_system_name=system, db_operation_name="SELECT", db_collection_name="orders") == 3
    assert seen.total(DURATION, db_system_name=system, error_type="sqlalchemy.exc.IntegrityError") == 1


def test_async_engines_are_observed(seen: Seen, tmp_path: Path) -> None:
    """Statements of concurrent tasks stay below the span of their own task."""
    asyncio.run(use_async(create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")))

    check_async(seen, "sqlite")


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_async_postgresql_is_observed(seen: Seen, postgres_url: str, driver: str) -> None:
    """Both drivers for asyncio give the same telemetry."""
    url = postgres_url.replace("postgresql://", f"postgresql+{driver}://")
    asyncio.run(use_async(create_async_engine(url)))

    check_async(seen, "postgresql")


def test_sync_postgresql_is_observed(seen: Seen, postgres_url: str) -> None:
    """The span tells the server and the database as well."""
    engine = create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    observed.instrument(engine)
    with Session(engine) as session:
        session.add_all([Order(name="tea"), Order(name="cup")])
        session.commit()
    engine.dispose()

    (statement,) = seen.spans
    assert statement.name == "INSERT orders"
    assert statement.attributes["db.system.name"] == "postgresql"
    assert statement.attributes["db.namespace"] == engine.url.database
    assert statement.attributes["server.address"].endswith(".s.PGSQL.5432")
    assert "tea" not in str(seen.everything)


def test_a_cancelled_statement_is_no_error(seen: Seen, postgres_url: str) -> None:
    """A query that the service gives up is measured, and told apart from one that failed."""
    engine = create_async_engine(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))
    observed.instrument(engine)

    async def give_up() -> None:
        async with engine.connect() as connection:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(connection.execute(text("SELECT pg_sleep(20)")), 0.2)

    asyncio.run(give_up())

    (statement,) = seen.spans
    assert statement.status == "unset"
    assert statement.attributes["tldr.outcome"] == "cancelled"
    assert seen.total(DURATION) == 1
    assert not any("error.type" in point.attributes for each in seen.metrics for point in each.points)


RECENT = select(Order).where(Order.id > 1).cte("recent")
STATEMENTS = {
    select(aliased(Order)): "SELECT orders",
    select(Customer).join(Customer.orders): "SELECT customers",
    select(func.count()).select_from(select(Order.id).distinct().subquery()): "SELECT orders",
    select(RECENT.c.id): "SELECT orders",
    select(select(func.count(Order.id)).scalar_subquery(), Customer.id): "SELECT customers",
    select(func.extract("year", Order.id)).select_from(Order): "SELECT orders",
    select(Order.id).union_all(select(Customer.id)): "SELECT orders",
    select(case((Order.name.is_distinct_from(Order.id), 1))): "SELECT orders",
    ITEMS.insert().from_select(["id"], select(Order.id)): "INSERT items",
    ITEMS.update().where(ITEMS.c.id.in_(select(Order.id))).values(name=""): "UPDATE items",
    ITEMS.delete().where(ITEMS.c.id == 1): "DELETE items",
    Table("or ders", MetaData(schema="main"), Column("from", Integer)).select(): "SELECT or ders",
}


@pytest.mark.parametrize(("statement", "told"), STATEMENTS.items())
def test_what_sqlalchemy_compiles_is_understood(statement: Any, told: str) -> None:
    """Aliases, subqueries, WITH queries and joins are told by the first table of the service's own."""
    assert read(str(statement.compile())).summary == told


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("", "OTHER"),
        ("-- nothing", "OTHER"),
        ("blurb FROM orders", "OTHER"),
        ("select 'from x', $1 from orders", "SELECT orders"),
        ("/* FROM x */ -- FROM y\n SELECT 1", "SELECT"),
        ('INSERT OR REPLACE INTO main."or""ders"(id) VALUES (1)', 'INSERT or"ders'),
        ("DELETE FROM [dbo].[orders] WHERE 1", "DELETE orders"),
        ("SELECT `a`.`from` FROM `shop` . `orders`", "SELECT orders"),
        ("WITH RECURSIVE t(n) AS (SELECT id FROM nodes UNION ALL SELECT n FROM t) SELECT * FROM t", "SELECT nodes"),
        ("WITH moved AS (DELETE FROM orders RETURNING *) INSERT INTO archive SELECT * FROM moved", "INSERT archive"),
        ("WITH a AS (SELECT 1 FROM orders), b AS MATERIALIZED (SELECT 1 FROM a) SELECT * FROM b", "SELECT orders"),
        ("WITH v AS (VALUES (1)) SELECT * FROM v JOIN orders ON true", "SELECT orders"),
        ("(SELECT a FROM orders) UNION (SELECT a FROM items)", "SELECT orders"),
        ("SELECT * FROM generate_series(1, 2) AS g JOIN LATERAL (SELECT 1 FROM orders) AS o ON true", "SELECT orders"),
        ("CREATE TABLE IF NOT EXISTS orders (id int)", "CREATE orders"),
        ("TRUNCATE ONLY orders", "TRUNCATE orders"),
        ('PRAGMA main.table_info("orders")', "PRAGMA"),
        ("BEGIN; SELECT * FROM orders", "BEGIN"),
        ("SELECT * FROM " + "o" * 1000, "SELECT " + "o" * 128),
        ("SELECT " + "x, " * 10_000 + "x FROM orders", "SELECT"),
    ],
)
def test_hand_written_sql_is_understood(statement: str, told: str) -> None:
    """Comments, literals, quoted names, schemas and dialects don't mislead it; what it can't tell it leaves out."""
    assert read(statement).summary == told


@pytest.mark.parametrize("piece", ["/*", "(", '"', "'a", "[", "a.", "a ", "a  .", "--", "FROM (", "WITH a AS (", '""'])
def test_hostile_sql_takes_no_time(piece: str) -> None:
    """No text makes reading it slow, however long it is."""
    began = time.perf_counter()
    read(piece * 200_000)

    assert time.perf_counter() - began < 0.25


@pytest.mark.parametrize("thing", ["sqlite://", Session, None])
def test_what_is_no_engine_is_refused(seen: Seen, thing: object) -> None:
    """Whoever passes a URL or a session reads what was expected."""
    with pytest.raises(ConfigurationError, match="engine: expected a SQLAlchemy Engine or AsyncEngine, got"):
        observed.instrument(thing)


@pytest.mark.parametrize("missing", ["opentelemetry.instrumentation.sqlalchemy", "sqlalchemy"])
def test_a_missing_library_is_named(missing: str) -> None:
    """Without the extra there is no silence: the message says what to install."""
    program = f"""
import sys
sys.modules[{missing!r}] = None
from tldr_observability.errors import MissingExtraError
from tldr_observability.integrations import sqlalchemy as observed
engine = __import__("sqlalchemy").create_engine("sqlite://") if {missing!r} != "sqlalchemy" else object()
try:
    observed.instrument(engine)
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert "pip install 'tldr-observability[sqlalchemy]'" in done.stdout, done.stderr
