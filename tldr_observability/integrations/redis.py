"""Redis through redis-py: a span and the time of each command and pipeline of the given clients, without any argument.

Only these clients: a patch of redis-py itself would drown the traces in the housekeeping of Celery's broker. The spans
are ours, for OpenTelemetry's instrumentation exports what `FT.SEARCH` finds, names spans by whatever is sent, and
raises into the host where a pipeline holds a command given as bytes.
"""

from __future__ import annotations

import functools
import re
import weakref
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.semconv.attributes import db_attributes, error_attributes, server_attributes
from opentelemetry.trace import SpanKind, StatusCode

from tldr_observability import semconv
from tldr_observability.catalogue import stores
from tldr_observability.errors import ConfigurationError
from tldr_observability.guard import guarded
from tldr_observability.instruments import automatic
from tldr_observability.integrations.redis_commands import COMMANDS
from tldr_observability.tracing import failures

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    Attributes = dict[str, str | int]
    Describe = Callable[[Any, tuple[Any, ...]], tuple[str, Attributes] | None]

__all__ = ["instrument", "refuse_unless_client", "uninstrument"]

_OTHER: Final = "_OTHER"
_LONGEST_QUERY: Final = 1000
_PART_OF_THE_GAME: Final = ("WatchError", "NoScriptError")  # redis-py or the host tries again
_QUEUES: Final = ("command_stack", "_command_queue", "_command_stack")  # by kind of pipeline and age of redis-py
_CODE = re.compile(r"(?:Command # \d+ \(.*\) of pipeline caused error: )?([A-Z]{2,20}) ", re.DOTALL)

_CLASS: Final = vars(object)["__class__"]  # sets the true class of an object, whatever it says of itself
_MARK: Final = "_tldr_observed"

_clients: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()  # by id: not all can be hashed
_unobserved: set[str] = set()


def instrument(client: Any) -> str:
    """Trace and measure the commands, pipelines and transactions of a client; again for the same one does nothing.

    Subscriptions are left alone: they wait rather than ask.

    Args:
        client: sync or async, of one server or of a cluster.

    Returns:
        Of how many, and which clients can't be observed, for what reason.
    """
    refuse_unless_client(client)
    try:
        _observe(client)
    except Exception as error:  # noqa: BLE001 - the service's own class may do as it likes, and work without us
        _unobserved.add(f"; not those of a {type(client).__name__}: {error}")
    count = len(_clients)
    return f"the commands of {count} client{'' if count == 1 else 's'}, without their arguments" + "".join(
        sorted(_unobserved)
    )


def uninstrument() -> None:
    """Undo `instrument` for every client."""
    for client in tuple(_clients.values()):
        _CLASS.__set__(client, type(client).__mro__[1])
    _clients.clear()
    _unobserved.clear()


def refuse_unless_client(client: Any) -> None:
    """Refuse what `instrument` can't observe.

    Raises:
        ConfigurationError: `client` is no client of redis-py.
    """
    fits = False
    with suppress(Exception):  # a lazy proxy may have no client yet
        fits = _is_client(client.__class__)
    if not fits:
        raise ConfigurationError(
            "redis: expected a client of redis-py (redis.Redis, redis.asyncio.Redis or one of their RedisCluster), "
            f"got {type(client).__name__}; give the client itself: redis=redis.Redis.from_url(url)"
        )


def _is_client(kind: type) -> bool:
    return any(base.__module__.partition(".")[0] == "redis" for base in kind.__mro__) and all(
        hasattr(kind, name) for name in ("execute_command", "pipeline")
    )


def _observe(client: Any) -> None:
    if not _is_client(type(client)):  # but it says so: a lazy proxy, or a mock
        client = getattr(client.execute_command, "__self__", None)
        if not _is_client(type(client)):
            raise TypeError("there is no client of redis-py behind it")
    if not hasattr(type(client), _MARK):
        _CLASS.__set__(client, _observing_client(type(client), _Target(client)))
        _clients[id(client)] = client


class _Target:
    """Where a client's calls go, and what tells of them."""

    def __init__(self, client: Any) -> None:
        self.tracer = trace.get_tracer(semconv.SCOPE_NAME)
        self.duration: Any = automatic(stores.OPERATION_DURATION)
        self.attributes: Attributes = {db_attributes.DB_SYSTEM_NAME: "redis"}
        pool = getattr(client, "connection_pool", None)  # a cluster has one for each node
        if pool is not None:
            known: Mapping[str, Any] = pool.connection_kwargs
            self.attributes[db_attributes.DB_NAMESPACE] = str(known.get("db") or 0)
            if isinstance(address := known.get("path") or known.get("host"), str):
                self.attributes[server_attributes.SERVER_ADDRESS] = address
            if "path" not in known and isinstance(port := known.get("port"), int):
                self.attributes[server_attributes.SERVER_PORT] = port

    def call(self, describe: Describe, caller: Any, args: tuple[Any, ...]) -> AbstractContextManager[None]:
        """Observe what runs within the block."""
        return _Call(self, describe, caller, args)


class _Call:
    """One command or pipeline on its way to the server and back."""

    __slots__ = ("_args", "_began", "_caller", "_describe", "_name", "_span", "_target", "_token")

    def __init__(self, target: _Target, describe: Describe, caller: Any, args: tuple[Any, ...]) -> None:
        self._target, self._describe, self._caller, self._args = target, describe, caller, args
        self._name = ""
        self._token: Any = None
        self._began = 0.0

    def __enter__(self) -> None:
        with guarded("starting the span of a Redis call"):
            if is_instrumentation_enabled() and (described := self._describe(self._caller, self._args)):
                name, attributes = described
                self._span = self._target.tracer.start_span(
                    name, kind=SpanKind.CLIENT, attributes={**self._target.attributes, **attributes}
                )
                self._token = otel_context.attach(trace.set_span_in_context(self._span))
                self._name = name
        self._began = perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._name:
            return
        seconds = perf_counter() - self._began
        with guarded("ending the span of a Redis call"):
            otel_context.detach(self._token)
            series = {**self._target.attributes, db_attributes.DB_OPERATION_NAME: self._name}
            if error is not None:
                series[error_attributes.ERROR_TYPE] = error_type = _name_of(type(error))
                self._span.set_attribute(error_attributes.ERROR_TYPE, error_type)
                _record_failure(self._span, error)
            self._span.end()
            self._target.duration.record(seconds, series)


def _observing_client(kind: type, target: _Target) -> type:
    """Make the class of an observed client.

    A class of its own and not wrappers on the instance: each pipeline would refer to itself by its wrappers, and give
    its connection back to the pool when the garbage collector comes by.
    """
    around = functools.partial(_around, target=target, is_async="asyncio" in _modules_of(kind))

    @functools.cache
    def observing_pipeline(kind: type) -> type:
        commands = {"execute": _pipeline, "immediate_execute_command": _command}
        return _subclass(kind, {name: around(kind, name, how) for name, how in commands.items() if hasattr(kind, name)})

    methods = {
        "execute_command": around(kind, "execute_command", _command),
        "pipeline": _making(kind, "pipeline", observing_pipeline),
    }
    # Makes one with a connection of its own, of the class that the client says to be; a service's `client` is its own.
    if str(getattr(getattr(kind, "client", None), "__module__", "")).startswith("redis."):
        methods["client"] = _making(kind, "client", lambda made: observing if made is kind else made)
    observing = _subclass(kind, methods)
    return observing


def _making(kind: type, name: str, observing: Callable[[type], type]) -> Callable[..., Any]:
    original: Callable[..., Any] = getattr(kind, name)

    @functools.wraps(original)
    def make(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = original(self, *args, **kwargs)
        with guarded(f"observing a Redis {name}"):
            _CLASS.__set__(made, observing(type(made)))
        return made

    return make


def _subclass(kind: Any, methods: dict[str, Any]) -> type:
    """Derive a class that differs in these methods only, so that an instance can change its class for it.

    An instance goes on saying that it is of the original class, by which it is compared, copied and pickled.
    """

    def reduce(self: Any, protocol: Any) -> Any:
        made = kind.__reduce_ex__(self, protocol)
        if not isinstance(made, tuple):
            return made
        return (made[0], tuple(kind if each is type(self) else each for each in made[1]), *made[2:])

    names = {
        "__slots__": (),
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "__class__": property(lambda _: kind, _CLASS.__set__),
        "__reduce_ex__": reduce,
        _MARK: True,
    }
    made: type = type(kind)(kind.__name__, (kind,), {**names, **methods})
    return made


def _around(kind: type, name: str, describe: Describe, *, target: _Target, is_async: bool) -> Callable[..., Any]:
    original: Callable[..., Any] = getattr(kind, name)

    def call(self: Any, *args: Any, **options: Any) -> Any:
        with target.call(describe, self, args):
            return original(self, *args, **options)

    async def call_async(self: Any, *args: Any, **options: Any) -> Any:
        with target.call(describe, self, args):
            return await original(self, *args, **options)

    return functools.wraps(original)(call_async if is_async else call)


def _modules_of(kind: type) -> set[str]:
    return {
        part for base in kind.__mro__ if base.__module__.startswith("redis.") for part in base.__module__.split(".")
    }


def _command(_: Any, args: tuple[Any, ...]) -> tuple[str, Attributes]:
    operation, query = _masked(args)
    return operation, {db_attributes.DB_OPERATION_NAME: operation, db_attributes.DB_QUERY_TEXT: _cut(query)}


def _pipeline(pipeline: Any, _: tuple[Any, ...]) -> tuple[str, Attributes] | None:
    """Name a pipeline by what it is and, where all its commands are the same, by these; None when it sends nothing."""
    strategy = getattr(pipeline, "_execution_strategy", pipeline)  # a cluster's pipelines have one
    queued: Sequence[Any] = next(getattr(strategy, name) for name in _QUEUES if hasattr(strategy, name))
    if strategy is pipeline:
        wanted = getattr(pipeline, "is_transaction", None)  # the async one's; its `transaction` is a method
        is_transaction = getattr(pipeline, "explicit_transaction", False) or (
            pipeline.transaction if wanted is None else wanted
        )
    else:
        is_transaction = type(strategy).__name__ == "TransactionStrategy"
    word = "MULTI" if is_transaction else "PIPELINE"
    if not queued and not getattr(pipeline, "watching", False):
        return None
    commands = [_masked(each.args if hasattr(each, "args") else each[0]) for each in queued]
    operations = {operation for operation, _ in commands}
    name = f"{word} {operations.pop()}" if len(operations) == 1 else word
    attributes: Attributes = {db_attributes.DB_OPERATION_NAME: name}
    if commands:
        attributes[db_attributes.DB_QUERY_TEXT] = _cut("\n".join(query for _, query in commands))
    if len(commands) > 1:
        attributes[db_attributes.DB_OPERATION_BATCH_SIZE] = len(commands)
    return name, attributes


def _masked(args: Sequence[Any]) -> tuple[str, str]:
    """The command's word, and the whole with a `?` for everything else."""
    first = args[0] if args else ""
    # redis-py splits what is given in one text: "SET greeting hello".
    words = (first.decode("ascii", "replace") if isinstance(first, bytes) else str(first)).split()
    word = words[0].upper() if words else ""
    operation = word if word in COMMANDS else _OTHER
    return operation, operation + " ?" * min(len(words) + len(args) - 2, _LONGEST_QUERY)


def _cut(query: str) -> str:
    return query if len(query) <= _LONGEST_QUERY else query[: _LONGEST_QUERY - 3] + "..."


def _record_failure(span: trace.Span, error: BaseException) -> None:
    name = type(error).__name__
    if name in _PART_OF_THE_GAME:
        return
    if not any(base.__name__ == "ResponseError" for base in type(error).__mro__):
        failures.record(span, error)
        return
    # The server's text and redis-py's for pipelines quote arguments; the code says what went wrong, too.
    code = match[1] if (match := _CODE.match(str(error))) else ""
    if code:
        span.set_attribute(db_attributes.DB_RESPONSE_STATUS_CODE, code)
    span.set_attribute(semconv.LOGFIRE_LEVEL_NUM, semconv.LEVELS["error"])
    span.set_status(StatusCode.ERROR, f"{name}: {code}" if code else name)


def _name_of(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
