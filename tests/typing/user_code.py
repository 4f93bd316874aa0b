"""What a type checker sees of decorated code: never executed; `mypy --strict` and pyright check it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from functools import lru_cache, partial
from typing import Literal, TypeVar, assert_type, overload

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import Span

from tldr_observability import (
    MetricGroup,
    current_span,
    log_event,
    metrics,
    span,
    timed,
    traced,
    traced_api_endpoint,
    traced_background_task,
    traced_repository_method,
    traced_service_method,
    traced_use_case,
)
from tldr_observability.catalogue import api, streams
from tldr_observability.instruments.cells import BoundCounter, BoundGauge, BoundHistogram

T = TypeVar("T")


@traced
def bare(a: int, *, b: str = "") -> float:
    return a + len(b)


@traced_service_method(
    name="named", capture_args=["a"], capture_result=True, attributes={"team": "north"}, slow_threshold=0.5
)
def with_options(a: int, *, b: str = "") -> float:
    return a + len(b)


@traced_api_endpoint
async def coroutine(a: int) -> str:
    return str(a)


@traced_repository_method(capture_args=True)
def generator(a: int) -> Generator[int, str, float]:
    yield a
    return 1.0


@traced_background_task
def iterator(a: int) -> Iterator[int]:
    yield a


@traced_use_case(slow_threshold=1)
async def async_generator(a: int) -> AsyncGenerator[int, str]:
    yield a


@traced
async def async_iterator(a: int) -> AsyncIterator[int]:
    yield a


@traced
def generic(a: T, b: list[T]) -> T:
    return b[0] if b else a


@overload
def overloaded(a: int) -> int: ...
@overload
def overloaded(a: str) -> str: ...
@traced
def overloaded(a: int | str) -> int | str:
    return a


@timed
def measured(a: int) -> str:
    return str(a)


@timed(name="job", attributes={"shop": "north"}, slow_threshold=1.0)
async def measured_with_options(a: int) -> str:
    return str(a)


@log_event
def announced(a: int) -> str:
    return str(a)


@log_event(name="stream.started", level="notice", capture_args=["a"], message="A stream")
async def announced_with_options(a: int) -> str:
    return str(a)


@traced
@lru_cache
def cached(a: int) -> str:
    return str(a)


class Job:
    state = 1

    async def __call__(self, a: int) -> str:
        return str(a)


class Host(ABC):
    @traced_service_method
    def method(self, a: int) -> str:
        return str(a)

    @traced_service_method(capture_args=True)
    async def async_method(self, a: int) -> str:
        return str(a)

    @classmethod
    @traced
    def build(cls, a: int) -> Host:
        return cls()

    @staticmethod
    @traced
    def plain(a: int) -> str:
        return str(a)

    @traced
    @staticmethod
    def plain_inside(a: int) -> str:
        return str(a)

    @property
    @traced
    def value(self) -> int:
        return 1

    @traced
    @abstractmethod
    def port(self, a: int) -> str: ...


class Child(Host):
    @traced
    def port(self, a: int) -> str:
        return super().method(a)


async def uses(host: Child) -> None:
    assert_type(bare(1, b="x"), float)
    assert_type(with_options(1), float)
    assert_type(await coroutine(1), str)
    assert_type(generator(1), Generator[int, str, float])
    assert_type(iterator(1), Iterator[int])
    assert_type(async_generator(1), AsyncGenerator[int, str])
    assert_type(async_iterator(1), AsyncIterator[int])
    assert_type(generic(1, [2]), int)
    assert_type(overloaded(1), int)
    assert_type(overloaded("1"), str)
    assert_type(measured(1), str)
    assert_type(await measured_with_options(1), str)
    assert_type(announced(1), str)
    assert_type(await announced_with_options(1), str)
    assert_type(host.method(1), str)
    assert_type(await host.async_method(1), str)
    assert_type(Child.build(1), Host)
    assert_type(Child.plain(1), str)
    assert_type(Child.plain_inside(1), str)
    assert_type(host.value, int)
    assert_type(host.port(1), str)
    assert_type(traced(partial(bare, 1))(b="x"), float)

    assert_type(cached(1), str)
    cached.cache_clear()
    job = traced_background_task(Job())
    assert_type(await job(1), str)
    assert_type(job.state, int)

    kept: Callable[[int], str] = traced(measured)
    kept(1)

    bare("x")  # type: ignore[arg-type]
    host.method()  # type: ignore[call-arg]
    traced(capture_arg=True)  # type: ignore[call-overload]
    traced(3)  # type: ignore[call-overload]


def events() -> None:
    log_event("stream.started", stream_id="1")
    log_event("stream.started", level="warn", message="Late", attributes={"a.b": 1}, count=3)
    log_event("stream.started", level="loud")  # type: ignore[call-overload]


async def blocks() -> None:
    with span("fetched {count} items", count=3) as block:
        assert_type(block, Span)
        block.set_attribute("late", 1)
    async with span("block") as block:
        assert_type(block, Span)
    assert_type(current_span(), Span)


def falls_through() -> int:
    with span("block"):
        return 1


class ShopMetrics(MetricGroup, prefix="shop"):
    @MetricGroup.counter(unit="{order}", keys={"country": "geo.country.iso_code"})
    def orders(self, amount: float = 1, *, payment: Literal["card", "invoice"], country: str | None = None) -> None:
        """Orders placed."""

    @MetricGroup.histogram(unit="s", bounds=(0.1, 1))
    def checkout(self, seconds: float, *, organization_id: str) -> None:
        """Time to check out."""

    @MetricGroup.gauge()
    def stock(self, items: float) -> None:
        """Items in stock."""

    @MetricGroup.counter()  # type: ignore[arg-type]
    def nothing(self) -> None:
        """No amount."""


def measures(shop: ShopMetrics) -> None:
    shop.orders(payment="card")
    shop.orders(2, payment="invoice", country="de")
    assert_type(shop.orders.bind(payment="card"), BoundCounter)
    assert_type(shop.checkout.bind(organization_id="1"), BoundHistogram)
    assert_type(shop.stock.bind(), BoundGauge)
    shop.checkout(0.5, organization_id="1")
    shop.stock(3)
    assert_type(ShopMetrics.orders.spec.unit, str)

    shop.orders(payment="cash")  # type: ignore[arg-type]
    shop.orders(country="de")  # type: ignore[call-arg]
    shop.orders(payment="card", colour="red")  # type: ignore[call-arg]
    shop.orders.bind(payment="cash")  # type: ignore[arg-type]
    shop.checkout(organization_id="1")  # type: ignore[call-arg]
    shop.checkout("1", organization_id="1")  # type: ignore[arg-type]

    metrics.increment_stream_started(platform="twitch", organization_id="123")
    metrics.record_highlight_confidence(0.95, "b2b_agent", "youtube")
    metrics.record_task_duration(45.2, "detect_highlights_with_ai", "123")
    metrics.increment_stream_started(plattform="twitch", organization_id="123")  # type: ignore[call-arg]
    metrics.record_highlight_confidence("0.95", "b2b_agent", "youtube")  # type: ignore[arg-type]

    assert_type(metrics.bind(streams.STARTED, platform="twitch", organization_id=None), BoundCounter)
    assert_type(metrics.bind(api.REQUEST_DURATION, endpoint="/", status_code=200), BoundHistogram)
    assert_type(metrics.bind(api.QUOTA_USED), BoundGauge)
    metrics.bind(streams.STARTED).add()
    metrics.bind(streams.STARTED, platform=["twitch"])  # type: ignore[call-overload]
    metrics.bind("tldr.stream.started")  # type: ignore[call-overload]
    metrics.bind(streams.STARTED).record(1)  # type: ignore[attr-defined]

    metrics.counter("orders", unit="{order}", attributes=("shop",)).add(1, {"shop": "north"})
    metrics.histogram("time", bounds=(1, 2)).bind({"shop": "north"}).record(0.5)
    metrics.gauge("temperature").set(20)
    metrics.up_down_counter("open").add(-1)
    metrics.counter("orders").record(1)  # type: ignore[attr-defined]
    metrics.counter("orders").add("1")  # type: ignore[arg-type]

    def asked(_: CallbackOptions) -> list[Observation]:
        return [Observation(1)]

    metrics.register_callback("asked", asked)
    metrics.register_callback(api.QUOTA_USED, asked)
    metrics.register_callback(api.REQUEST_DURATION, asked)  # type: ignore[arg-type]
