"""Threads: the span and what is known of the request go along, and nothing stays behind in a pool's thread."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from servers import has_semaphores

from tldr_observability import add_processing_context, add_user_context, context, span
from tldr_observability.integrations import threading as integration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tldr_observability import Observability
    from tldr_observability.testing import OTLPReceiver

SEEN = ("tldr.organization.id", "tldr.stream.id")


@pytest.fixture
def carried() -> Iterator[None]:
    """With the integration on, undone afterwards."""
    integration.instrument()
    yield
    integration.uninstrument()


@contextmanager
def request(organization: str | None = None) -> Iterator[None]:
    """The context of a request, as the middleware opens it."""
    token = context.begin_unit()
    try:
        add_user_context(organization_id=organization)
        yield
    finally:
        context.end_unit(token)


def look(into: list[Any]) -> None:
    facts = context.attributes()
    into.append(tuple(facts.get(key) for key in SEEN))


def in_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def in_thread_of_a_subclass(work: Callable[[], None]) -> None:
    class Worker(threading.Thread):
        def run(self) -> None:
            work()

    worker = Worker()
    worker.start()
    worker.join()


def in_timer(work: Callable[[], None]) -> None:
    timer = threading.Timer(0.001, work)
    timer.start()
    timer.join()


def by_submit(work: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def by_map(work: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as pool:
        list(pool.map(lambda _: work(), [1]))


def by_to_thread(work: Callable[[], None]) -> None:
    asyncio.run(asyncio.to_thread(work))


def by_run_in_executor(work: Callable[[], None]) -> None:
    async def run() -> None:
        await asyncio.get_running_loop().run_in_executor(None, work)

    asyncio.run(run())


WAYS = [in_thread, in_thread_of_a_subclass, in_timer, by_submit, by_map, by_to_thread, by_run_in_executor]


@pytest.mark.parametrize("way", WAYS)
def test_a_thread_works_in_the_trace_of_its_request(
    way: Callable[[Callable[[], None]], None], start: Callable[..., Observability], otlp_receiver: OTLPReceiver
) -> None:
    """Whichever way work gets into a thread, its spans and their facts are those of the request."""
    observability = start()
    integration.instrument()

    def work() -> None:
        with span("work"):
            pass

    try:
        with request("acme"), span("request"):
            add_processing_context(stream_id="s-1")
            way(work)
    finally:
        integration.uninstrument()
    observability.flush(5)

    spans = {each.name: each for each in otlp_receiver.spans}
    assert spans["work"].trace_id == spans["request"].trace_id
    assert spans["work"].parent_id == spans["request"].span_id
    assert spans["work"].attributes["tldr.organization.id"] == "acme"
    assert spans["work"].attributes["tldr.stream.id"] == "s-1"


@pytest.mark.parametrize("way", WAYS)
def test_a_thread_that_authenticates_is_heard(way: Callable[[Callable[[], None]], None], carried: None) -> None:
    """What a thread learns about the caller is known to the request; what it works on is its own affair."""
    seen: list[Any] = []

    def authenticate() -> None:
        add_user_context(organization_id="acme")
        add_processing_context(stream_id="of the thread")

    with request():
        way(authenticate)
        look(seen)

    assert seen == [("acme", None)]


def test_nothing_of_a_request_stays_in_a_pools_thread(carried: None) -> None:
    """The next request that a pool's thread works for is not taken for the one before."""
    seen: list[Any] = []
    idle: list[Any] = []

    def work() -> None:
        look(seen)
        add_processing_context(stream_id="s-1")

    class Pool(ThreadPoolExecutor):
        def submit(self, *args: Any, **kwargs: Any) -> Any:
            # Below the patch of `submit`: what the thread itself has, without any task's context.
            self._work_queue.put(Peek(idle))  # type: ignore[arg-type]
            return super().submit(*args, **kwargs)

    with Pool(1) as pool:
        with request("acme"), trace.use_span(trace.NonRecordingSpan(CONTEXT)):
            pool.submit(work).result()
        with request("globex"):
            pool.submit(work).result()
        pool.submit(look, seen).result()

    assert seen == [("acme", None), ("globex", None), (None, None)]
    assert idle == [((None, None), False)] * 3


CONTEXT = trace.SpanContext(1, 1, is_remote=False)


class Peek:
    """A work item that looks at the bare thread of a pool."""

    def __init__(self, into: list[Any]) -> None:
        self.into = into

    def run(self, *_: object) -> None:
        here: list[Any] = []
        look(here)
        self.into.append((here[0], trace.get_current_span().get_span_context().is_valid))


def test_a_thread_begun_by_a_pool_is_nobodys(carried: None) -> None:
    """A pool's thread doesn't keep the first request that used it, nor its span, for the rest of its life."""
    seen: list[Any] = []
    with request("acme"), ThreadPoolExecutor(1, initializer=look, initargs=(seen,)) as pool:
        pool.submit(int).result()

    assert seen == [(None, None)]


@pytest.mark.parametrize("way", [by_submit, by_map, by_to_thread, by_run_in_executor])
def test_the_works_exception_comes_back_as_it_was(way: Callable[[Callable[[], None]], None], carried: None) -> None:
    """Whoever waits for a failed task gets its exception, the very object."""
    error = ValueError("out of stock")

    def fail() -> None:
        raise error

    with request("acme"), pytest.raises(ValueError, match="out of stock") as caught:
        way(fail)

    assert caught.value is error


def test_arguments_and_results_pass(carried: None) -> None:
    """Work gets its arguments by position and name, and its result comes back."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(int, "ff", base=16).result() == 255
        assert list(pool.map(pow, [2, 3], [3, 2])) == [8, 9]


def test_a_thread_is_unchanged_once_it_runs(carried: None) -> None:
    """A thread keeps neither the context nor itself alive after it was started, nor when it can't be started."""
    thread = threading.Thread(target=int)
    with request("acme"):
        thread.start()
        thread.join()
        with pytest.raises(RuntimeError, match="once"):
            thread.start()

    assert "run" not in vars(thread)


def test_a_context_of_the_hosts_own_is_left_alone(carried: None) -> None:
    """What else a program keeps in OpenTelemetry's context goes along as well."""
    seen: list[Any] = []
    token = otel_context.attach(otel_context.set_value("tenant", "acme"))
    in_thread(lambda: seen.append(otel_context.get_value("tenant")))
    otel_context.detach(token)

    assert seen == ["acme"]


def test_instrumenting_twice_and_undoing() -> None:
    """A second set-up patches nothing twice, and the tests' reset leaves Python as it was."""

    def patched() -> tuple[Any, Any]:
        return vars(threading.Thread)["start"], vars(ThreadPoolExecutor)["submit"]

    before = patched()
    integration.instrument()
    once = patched()
    integration.instrument()

    assert patched() == once
    assert [new is not old for new, old in zip(once, before, strict=True)] == [True, True]
    integration.uninstrument()
    integration.uninstrument()
    assert patched() == before


def test_a_librarys_thread_is_nobodys(carried: None) -> None:
    """A thread that a library keeps for everybody doesn't know the request that happened to start it."""
    if not has_semaphores():
        pytest.skip("a pool of multiprocessing needs POSIX semaphores, also for its threads")
    import aiosqlite

    seen: list[Any] = []

    def read(_: Any) -> None:
        look(seen)

    async def ask() -> None:
        connection = aiosqlite.connect(":memory:")
        with request("acme"):
            await connection
        with request("beta"):
            await connection.create_function("look", 1, read)
            await connection.execute("select look(1)")
        await connection.close()

    with ThreadPool(1) as pool, request("acme"):
        pool.apply(look, (seen,))
    with request("acme"):
        late = ThreadPool(1)
    late.apply(look, (seen,))
    late.close()
    late.join()
    asyncio.run(ask())

    assert seen == [(None, None)] * 3


def test_a_later_patch_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undoing leaves alone what somebody else has put around `submit` since, and carries nothing any more."""
    seen: list[Any] = []
    original = ThreadPoolExecutor.submit
    integration.instrument()
    ours = vars(ThreadPoolExecutor)["submit"]

    def submit(pool: Any, *args: Any) -> Any:
        return ours.__get__(pool, type(pool))(*args)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit)
    integration.uninstrument()
    assert vars(ThreadPoolExecutor)["submit"] is submit
    with request("acme"):
        by_submit(lambda: look(seen))
        integration.instrument()
        by_submit(lambda: look(seen))
    monkeypatch.undo()
    integration.uninstrument()

    assert seen == [(None, None), ("acme", None)]
    assert ThreadPoolExecutor.submit is original
