"""Redis: the commands of the given clients are traced and measured, their arguments never leave the process."""

from __future__ import annotations

import asyncio
import copy
import functools
import gc
import pickle
import weakref
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import redis
import redis.asyncio
from opentelemetry.instrumentation.utils import suppress_instrumentation
from redis.backoff import NoBackoff
from redis.retry import Retry

from tldr_observability import ConfigurationError, span
from tldr_observability.integrations import redis as integration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tldr_observability.testing import OTLPReceiver, Span

DURATION = "db.client.operation.duration"
SECRET = "s3cr3t-value"


class Seen:
    """What the backend got, and the client under observation."""

    def __init__(self, observability: Any, receiver: OTLPReceiver, url: str) -> None:
        self.observability, self.receiver, self.url = observability, receiver, url
        self.client: Any = redis.Redis.from_url(url)
        self.client.flushall()

    def flush(self) -> OTLPReceiver:
        assert self.observability.flush(5)
        return self.receiver

    @property
    def spans(self) -> list[Span]:
        return self.flush().spans

    def only(self) -> Span:
        (found,) = self.spans
        return found

    def count(self, operation: str, **more: str) -> float:
        return self.flush().total(DURATION, {"db.system.name": "redis", "db.operation.name": operation, **more})

    @property
    def everything(self) -> str:
        receiver = self.flush()
        return repr((receiver.spans, receiver.pending_spans, receiver.logs, receiver.metrics))


@pytest.fixture
def seen(start: Callable[..., Any], otlp_receiver: OTLPReceiver, valkey_url: str) -> Iterator[Seen]:
    """A set-up, and a client of the real server that is observed."""
    made = Seen(start(), otlp_receiver, valkey_url)
    integration.instrument(made.client)
    yield made
    integration.uninstrument()
    made.client.close()


def test_a_command_is_one_client_span(seen: Seen, valkey_url: str) -> None:
    """A command shows what was asked of which database of which server, and no argument."""
    seen.client.set("greeting", SECRET)

    found = seen.only()
    assert (found.name, found.kind, found.status) == ("SET", "client", "unset")
    attributes = {key: value for key, value in found.attributes.items() if key.startswith(("db.", "server."))}
    assert attributes == {
        "db.system.name": "redis",
        "db.operation.name": "SET",
        "db.query.text": "SET ? ?",
        "db.namespace": "0",
        "server.address": "127.0.0.1",
        "server.port": int(valkey_url.rsplit(":", 1)[1].partition("/")[0]),
    }
    assert seen.count("SET") == seen.receiver.total(DURATION) == 1


def test_a_command_stands_in_the_trace_of_its_caller(seen: Seen) -> None:
    """The commands of a request are below it, one beside the other."""
    with span("request"):
        seen.client.set("a", 1)
        seen.client.get("a")

    found = {each.name: each for each in seen.spans}
    assert found["SET"].parent_id == found["GET"].parent_id == found["request"].span_id


def test_a_pipeline_is_one_span(seen: Seen) -> None:
    """A pipeline or transaction is one span that names its commands, and one measurement."""
    with seen.client.pipeline(transaction=False) as pipe:
        assert pipe.set("a", SECRET).get("a").execute() == [True, SECRET.encode()]
    with seen.client.pipeline() as pipe:
        pipe.sadd("n", 1).sadd("n", 2).execute()

    plain, transaction = seen.spans
    assert plain.name == plain.attributes["db.operation.name"] == "PIPELINE"
    assert plain.attributes["db.query.text"] == "SET ? ?\nGET ?"
    assert plain.attributes["db.operation.batch.size"] == 2
    assert plain.attributes["server.address"] == "127.0.0.1"
    assert transaction.name == "MULTI SADD"
    assert (seen.count("PIPELINE"), seen.count("MULTI SADD"), seen.receiver.total(DURATION)) == (1, 1, 2)
    assert SECRET not in seen.everything


def test_a_pipeline_without_commands_leaves_nothing(seen: Seen) -> None:
    """What sends nothing to the server is no span."""
    assert seen.client.pipeline().execute() == []
    assert seen.spans == []


def test_an_optimistic_transaction_is_no_error_when_it_is_tried_again(seen: Seen) -> None:
    """A watched key that changed is counted as such, and marks no span as failed."""
    attempts = []
    other = redis.Redis.from_url(seen.url)

    def add(pipe: Any) -> None:
        attempts.append(pipe.get("n"))
        if len(attempts) == 1:
            other.set("n", 41)
        pipe.multi()
        pipe.set("n", int(attempts[-1] or 0) + 1)

    seen.client.transaction(add, "n")

    assert [each.name for each in seen.spans] == ["WATCH", "GET", "MULTI SET"] * 2
    assert {each.status for each in seen.spans} == {"unset"}
    assert seen.count("MULTI SET", **{"error.type": "redis.exceptions.WatchError"}) == 1
    assert other.get("n") == b"42"
    other.close()


def test_an_async_client(seen: Seen) -> None:
    """Commands, pipelines, transactions and errors of the async client are seen the same way."""

    async def work() -> None:
        client: Any = redis.asyncio.Redis.from_url(seen.url)
        async with client:
            integration.instrument(client)
            with span("request"):
                await client.set("a", SECRET)
                async with client.pipeline() as pipe:
                    assert await pipe.get("a").get("b").execute() == [SECRET.encode(), None]
                async with client.pipeline(transaction=False) as pipe:
                    await pipe.get("a").get("b").execute()
                async with client.pipeline() as pipe:
                    await pipe.watch("a")
                    assert await pipe.get("a") == SECRET.encode()
                    pipe.multi()
                    await pipe.set("a", SECRET).execute()
                with pytest.raises(redis.ResponseError):
                    await client.lpush("a", SECRET)

    asyncio.run(work())

    found = seen.spans
    assert [each.name for each in found] == [
        "SET",
        "MULTI GET",
        "PIPELINE GET",
        "WATCH",
        "GET",
        "MULTI SET",
        "LPUSH",
        "request",
    ]
    assert {each.parent_id for each in found[:-1]} == {found[-1].span_id}
    assert found[-2].status == "error"
    assert all(each.attributes["server.address"] == "127.0.0.1" for each in found[:-1])
    assert seen.receiver.total(DURATION) == 7
    assert SECRET not in seen.everything


def test_a_cancelled_command_is_no_failure(seen: Seen) -> None:
    """Who stops waiting for a command sees a cancelled span, and the client works on."""

    async def work() -> None:
        client: Any = redis.asyncio.Redis.from_url(seen.url)
        async with client:
            integration.instrument(client)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.blpop("never"), 0.05)

    asyncio.run(work())

    found = seen.only()
    assert (found.status, found.attributes["tldr.outcome"]) == ("unset", "cancelled")


def test_an_error_of_the_server(seen: Seen) -> None:
    """A refused command is a failed span with the server's code, and the exception is the client's own."""
    seen.client.set("text", SECRET)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        seen.client.lpush("text", SECRET)

    failed = seen.spans[-1]
    assert (failed.name, failed.status, failed.status_message) == ("LPUSH", "error", "ResponseError: WRONGTYPE")
    assert failed.attributes["db.response.status_code"] == "WRONGTYPE"
    assert failed.attributes["error.type"] == "redis.exceptions.ResponseError"
    assert seen.count("LPUSH", **{"error.type": "redis.exceptions.ResponseError"}) == seen.count("LPUSH") == 1


def test_an_error_that_quotes_arguments_gives_none_away(seen: Seen) -> None:
    """The server and redis-py quote what was sent in their errors; the spans don't."""
    seen.client.set("text", 1)
    with pytest.raises(redis.ResponseError, match=SECRET):
        seen.client.pipeline().lpush("text", SECRET).execute()
    with pytest.raises(redis.ResponseError, match=SECRET):
        seen.client.execute_command("NONSENSE", SECRET)

    assert [each.status_message for each in seen.spans[1:]] == ["ResponseError: WRONGTYPE", "ResponseError"]
    assert SECRET not in seen.everything


def test_a_server_that_is_away(seen: Seen) -> None:
    """A refused connection is a failed span that says so."""
    client = redis.Redis(port=1, retry=Retry(NoBackoff(), 0))
    integration.instrument(client)
    with pytest.raises(redis.ConnectionError):
        client.get("a")

    failed = seen.only()
    assert (failed.status, failed.attributes["error.type"]) == ("error", "redis.exceptions.ConnectionError")
    assert failed.events[0].attributes["exception.type"] == "redis.exceptions.ConnectionError"


@pytest.mark.parametrize(
    ("command", "name", "text"),
    [
        (("set", "a", SECRET), "SET", "SET ? ?"),
        ((b"SET", b"a", SECRET.encode()), "SET", "SET ? ?"),
        ((f"SET a {SECRET}",), "SET", "SET ? ?"),
        (("CONFIG GET", "maxmemory"), "CONFIG", "CONFIG ? ?"),
        ((SECRET, "a"), "_OTHER", "_OTHER ?"),
    ],
)
def test_whatever_is_sent_only_commands_become_names(
    seen: Seen, command: tuple[Any, ...], name: str, text: str
) -> None:
    """A command in whichever form gives no argument away, and what is none can't make names without end."""
    for target in (seen.client, seen.client.pipeline()):
        try:
            target.execute_command(*command)
            if target is not seen.client:
                target.execute()
        except redis.ResponseError:
            assert name == "_OTHER"

    plain, piped = seen.spans
    assert (plain.name, plain.attributes["db.query.text"]) == (name, text)
    assert (piped.name, piped.attributes["db.query.text"]) == (f"MULTI {name}", text)
    assert SECRET not in seen.everything


def test_credentials_of_the_connection_stay_in_the_process(seen: Seen) -> None:
    """Neither the password that a client logs in with nor the one of an `AUTH` is exported."""
    seen.client.acl_setuser("clerk", enabled=True, passwords=[f"+{SECRET}"], commands=["+@all"], keys=["*"])
    client: Any = redis.Redis.from_url(seen.url.replace("//", f"//clerk:{SECRET}@"))
    integration.instrument(client)
    client.ping()
    client.execute_command("AUTH", "clerk", SECRET)
    client.close()

    assert [each.name for each in seen.spans] == ["ACL", "PING", "AUTH"]
    assert SECRET not in seen.everything


def test_a_long_pipeline_stays_a_small_span(seen: Seen) -> None:
    """Thousands of commands in a pipeline are cut on the span, and counted."""
    with seen.client.pipeline() as pipe:
        for number in range(3000):
            pipe.set(number, number)
        pipe.mset({number: number for number in range(3000)})
        pipe.execute()

    found = seen.only()
    assert found.name == "MULTI"
    assert found.attributes["db.operation.batch.size"] == 3001
    assert len(found.attributes["db.query.text"]) == 1000
    assert found.attributes["db.query.text"].endswith("...")


def test_other_clients_are_left_alone(seen: Seen) -> None:
    """A broker's connections, another client and subscriptions leave no spans."""
    other: Any = redis.Redis.from_url(seen.url)
    other.ping()
    other.pipeline().ping().execute()
    with seen.client.pubsub() as subscription:
        subscription.subscribe("news")
        seen.client.publish("news", SECRET)
        while subscription.get_message(timeout=1) is not None:
            pass
    other.close()

    assert [each.name for each in seen.spans] == ["PUBLISH"]
    assert type(other) is redis.Redis


def test_helpers_of_the_client_are_seen(seen: Seen, valkey_url: str) -> None:
    """Locks, scripts and a connection of one's own are seen; a script that must be loaded first is no error."""
    with redis.Redis.from_url(valkey_url) as unseen:
        unseen.script_flush()
    with seen.client.lock("door", timeout=5):
        pass
    assert seen.client.register_script("return ARGV[1]")(args=[SECRET]) == SECRET.encode()
    with seen.client.client() as own:
        own.ping()

    names = [each.name for each in seen.spans]
    assert names == ["SET", "EVALSHA", "SCRIPT", "EVALSHA", "EVALSHA", "SCRIPT", "EVALSHA", "PING"]
    assert {each.status for each in seen.spans} == {"unset"}


def test_a_subclass_stays_what_it_is(seen: Seen) -> None:
    """A client of the service's own class keeps its methods, its type's name and its type."""

    class Cache(redis.Redis):
        @property
        def client(self) -> str:  # type: ignore[override]
            return "cache"

        def remember(self, key: str) -> Any:
            return self.set(key, 1)

    cache: Any = Cache.from_url(seen.url)
    integration.instrument(cache)
    cache.remember("a")

    assert isinstance(cache, Cache)
    assert cache.client == "cache"
    assert type(cache).__name__ == "Cache"
    assert [each.name for each in seen.spans] == ["SET"]
    integration.uninstrument()
    assert type(cache) is Cache


class Portable(redis.Redis):
    """Travels between processes by what it says of its class."""

    def __reduce__(self) -> Any:
        return self.__class__, ()


class Stateless(redis.Redis):
    """Leaves its connections behind when it is pickled."""

    def __getstate__(self) -> dict[str, Any]:
        return {"from": "afar"}


@pytest.mark.parametrize("kind", [redis.Redis, redis.asyncio.Redis, Portable, Stateless])
def test_a_client_says_of_itself_what_it_said_before(seen: Seen, kind: Any) -> None:
    """Its class, by which the service compares, prints, copies and pickles, is the service's own."""
    client = kind.from_url(seen.url)
    told = repr(client)
    integration.instrument(client)

    assert client.__class__ is kind
    assert isinstance(client, kind)
    assert repr(client) == told
    assert type(copy.copy(client)) is kind
    assert pickle.loads(pickle.dumps(client.__class__)) is kind
    if kind in {Portable, Stateless}:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert type(pickle.loads(pickle.dumps(client, protocol))) is kind
    else:
        assert client.pipeline().__class__.__module__ == kind.__module__


def test_an_async_connection_of_ones_own_is_seen(seen: Seen) -> None:
    """What `client()` makes of an observed async client is observed."""

    async def work() -> None:
        async with redis.asyncio.Redis.from_url(seen.url) as client:
            integration.instrument(client)
            async with client.client() as own:
                await own.ping()

    asyncio.run(work())
    assert [each.name for each in seen.spans] == ["PING"]


def test_a_client_that_has_no_hash_is_observed(seen: Seen) -> None:
    """A class with `__eq__` alone is as good as any."""

    class Comparable(redis.Redis):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Comparable)

    clients: Any = [Comparable.from_url(seen.url), Comparable.from_url(seen.url)]
    for each in clients:
        integration.instrument(each)
        each.ping()

    assert [each.name for each in seen.spans] == ["PING", "PING"]


class Lazy:
    """Stands for a client that is made when it is needed."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = functools.cache(make)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._make(), name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return self._make().__class__


def test_a_lazy_proxy_stands_for_its_client(seen: Seen) -> None:
    """The client behind a proxy is observed, once; a proxy that has none yet is refused."""
    lazy: Any = Lazy(lambda: redis.Redis.from_url(seen.url))
    integration.instrument(lazy)
    integration.instrument(lazy)
    lazy.ping()

    assert [each.name for each in seen.spans] == ["PING"]
    with pytest.raises(ConfigurationError, match="got Lazy"):
        integration.instrument(Lazy({}.popitem))


def test_a_client_that_cannot_be_observed_is_left_alone(
    start: Callable[..., Any], otlp_receiver: OTLPReceiver, valkey_url: str
) -> None:
    """A class that refuses to be derived from and a mock work on, those after them are observed, the report tells."""

    class Tagged(redis.Redis):
        def __init_subclass__(cls, *, tag: str) -> None:
            """Insist on a tag."""

    tagged, plain = Tagged.from_url(valkey_url), redis.Redis.from_url(valkey_url)
    observability = start(redis=[tagged, mock.MagicMock(spec=redis.Redis), plain])
    tagged.get("a")
    plain.ping()

    assert observability.flush(5)
    assert [each.name for each in otlp_receiver.spans] == ["PING"]
    (status,) = (each for each in observability.report() if each.part == "redis")
    assert status.detail.startswith("the commands of 1 client, without their arguments; not those of a MagicMock: ")
    assert "; not those of a Tagged: " in status.detail


def test_observing_twice_counts_once(seen: Seen) -> None:
    """A second set-up with the same client doubles nothing."""
    assert integration.instrument(seen.client) == "the commands of 1 client, without their arguments"
    seen.client.ping()

    assert [each.name for each in seen.spans] == ["PING"]
    assert seen.receiver.total(DURATION) == 1


def test_undone_nothing_is_left(seen: Seen) -> None:
    """After the tests' reset a client is as it was."""
    integration.uninstrument()
    seen.client.ping()

    assert type(seen.client) is redis.Redis
    assert seen.spans == []


def test_suppressed_commands_leave_nothing(seen: Seen) -> None:
    """A health check within OpenTelemetry's `suppress_instrumentation` leaves neither span nor measurement."""
    with suppress_instrumentation():
        seen.client.ping()

    assert seen.spans == []
    assert seen.receiver.total(DURATION) == 0


def test_a_forgotten_pipeline_gives_its_connection_back(seen: Seen) -> None:
    """An observed pipeline doesn't keep itself alive, so that its connection is free as soon as it is let go."""
    gc.disable()
    try:
        pipe = seen.client.pipeline()
        pipe.watch("a")
        gone = weakref.ref(pipe)
        del pipe
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("wrong", ["redis://localhost", redis.ConnectionPool(), object(), None])
def test_what_is_no_client_is_refused(wrong: object) -> None:
    """A URL or a pool in place of the client is refused with what to type."""
    with pytest.raises(ConfigurationError, match=r"redis: expected a client of redis-py .* got \w+; .*from_url"):
        integration.instrument(wrong)
