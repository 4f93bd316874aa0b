"""What a span or log record shows of the host's values, and what it takes to find out."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import ipaddress
import json
import math
import pathlib
import re
import subprocess
import sys
import threading
import tracemalloc
import types
import typing
import uuid

import logfire
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tldr_observability import capture, guard
from tldr_observability.capture import shapes, spans

SCHEMA = "logfire.json_schema"
DAY = dt.date(2026, 11, 23)
MOMENT = dt.datetime(2026, 11, 23, 16, 30, tzinfo=dt.UTC)


class Colour(enum.Enum):
    """An ordinary enum."""

    RED = "red"
    BLUE = "blue"
    CRIMSON = "red"  # noqa: PIE796 - an alias


class Mixed(enum.Enum):
    """An enum whose values differ in type."""

    ONE = 1
    TWO = (2, "two")


class Rank(enum.IntEnum):
    """An enum of numbers."""

    FIRST = 1


class Word(enum.StrEnum):
    """An enum of words."""

    YES = "yes"


class Point(typing.NamedTuple):
    """A named tuple."""

    x: int
    y: dt.date


@dataclasses.dataclass
class Order:
    """A dataclass with a field that its repr leaves out."""

    number: int
    due: dt.date
    lines: list[object] = dataclasses.field(default_factory=list)
    card: str = dataclasses.field(default="4111", repr=False)


@dataclasses.dataclass(slots=True)
class Slotted:
    """A dataclass without an instance dictionary."""

    number: int
    due: dt.date


class Address(pydantic.BaseModel):
    """A model inside another."""

    city: str
    since: dt.date | None = None


class Customer(pydantic.BaseModel):
    """A model with secrets, an address on the web, a field left out and room for more."""

    model_config = pydantic.ConfigDict(extra="allow")

    name: str
    password: pydantic.SecretStr = pydantic.SecretStr("hunter2")
    site: pydantic.HttpUrl = pydantic.HttpUrl("https://example.org/a")
    address: Address = Address(city="Berlin")
    hidden: str = pydantic.Field(default="hidden", exclude=True)


class Days(pydantic.RootModel[list[dt.date]]):
    """A model that is one list."""


class Number(pydantic.RootModel[int]):
    """A model that is one number."""


class Basket(list[object]):
    """A list of one's own."""


class Tags(frozenset[object]):
    """A set of one's own."""


class Settings(dict[str, object]):
    """A dict of one's own."""


class Shout(str):
    """A string of one's own."""

    __slots__ = ()


class Blob(bytes):
    """Bytes of one's own."""


def circle() -> list[object]:
    loop: list[object] = [1]
    loop.append({"again": loop})
    return loop


ORDINARY: dict[str, object] = {
    "str": "hello",
    "empty str": "",
    "unicode": "häß 😀 \x00 \u2028",
    "str subclass": Shout("hello"),
    "int": 42,
    "largest int": 2**63 - 1,
    "larger int": 2**63,
    "smaller int": -(2**63) - 1,
    "bool": True,
    "float": 0.1,
    "nan": math.nan,
    "inf": -math.inf,
    "none": None,
    "complex": 1j,
    "ellipsis": ...,
    "dict": {"a": 1, "b": "two", "c": None, "d": [True, 1.5], "e": {}},
    "dict of dates": {"a": DAY, "b": 1},
    "dict with other keys": {2: 2, None: 3, True: 4, 1.5: 6, Rank.FIRST: 7, Word.YES: 8},
    "dict with keys that JSON lacks": {
        (1, "a"): 1,
        Colour.RED: 2,
        DAY: 3,
        b"x": 4,
        (DAY, None): 5,
        uuid.UUID(int=1): 6,
    },
    "dict of eleven dates": {str(n): DAY for n in range(11)},
    "dict of eleven": {str(n): DAY if n else 1 for n in range(11)},
    "dict with a long key": {"k" * 101: DAY, "l": DAY},
    "dict with a long key and other things": {"k" * 101: DAY, "l": 1},
    "ordered dict": collections.OrderedDict(a=DAY),
    "default dict": collections.defaultdict(list, a=[1]),
    "counter": collections.Counter("abba"),
    "dict subclass": Settings(a=1),
    "mapping proxy": types.MappingProxyType({"a": DAY}),
    "list": [1, "two", 3.0, None, True, [], {}],
    "list of ints": [3, 1, 2],
    "list of floats": [0.5, 1e300, math.nan],
    "list of strings": ["b", "a", 'quo"te', ""],
    "list of large ints": [2**70],
    "list of dates": [DAY, DAY],
    "list of this and that": [DAY, 1, MOMENT],
    "list of lists of dates": [[DAY], [DAY]],
    "list subclass": Basket([DAY]),
    "tuple": (1, DAY),
    "empty tuple": (),
    "named tuple": Point(1, DAY),
    "set": {3, 1, 2},
    "set of strings": {"b", "a"},
    "frozenset of dates": frozenset({DAY, DAY + dt.timedelta(1)}),
    "set of decimals": {decimal.Decimal(2), decimal.Decimal(1)},
    "set of one enum": {Colour.RED},
    "set subclass": Tags({DAY}),
    "deque": collections.deque([1, DAY]),
    "range": range(3, 0, -1),
    "dataclass": Order(1, DAY, [Order(2, DAY), MOMENT]),
    "dataclass with slots": Slotted(1, DAY),
    "pydantic model": Customer(name="Ada", nickname=DAY),  # type: ignore[call-arg]
    "list of models": [Address(city="Bonn", since=DAY), Address(city="Ulm")],
    "root model": Days([DAY]),
    "root model of a number": Number(5),
    "secret": pydantic.SecretStr("hunter2"),
    "secret bytes": pydantic.SecretBytes(b"hunter2"),
    "date": DAY,
    "datetime": MOMENT,
    "naive datetime": MOMENT.replace(tzinfo=None, microsecond=5),
    "datetime of pydantic": pydantic.TypeAdapter(dt.datetime).validate_python("2026-11-23T16:30:00+01:00"),
    "time": dt.time(16, 30),
    "timedelta": dt.timedelta(seconds=90),
    "decimal": decimal.Decimal("1.50"),
    "uuid": uuid.UUID(int=7),
    "enum": Colour.BLUE,
    "enum of this and that": Mixed.TWO,
    "int enum": Rank.FIRST,
    "str enum": Word.YES,
    "list of enums": [Colour.RED, Colour.BLUE],
    "bytes": b"it's \x00\xff",
    "bytearray": bytearray(b"bytes"),
    "bytes subclass": Blob(b"bytes"),
    "path": pathlib.PosixPath("/srv/data"),
    "pure path": pathlib.PurePosixPath("/srv/data"),
    "exception": ValueError("bad"),
    "key error": KeyError("missing"),
    "os error": FileNotFoundError(2, "No such file", "a.txt"),
    "exception without message": RuntimeError(),
    "pattern": re.compile(r"\d+"),
    "address": ipaddress.ip_address("10.0.0.1"),
    "network": ipaddress.ip_network("2001:db8::/32"),
    "class": int,
    "circle": circle(),
}


@pytest.fixture(scope="module")
def exported_by_logfire():
    """What Logfire itself exports for one attribute."""
    exporter = InMemorySpanExporter()
    instance = logfire.configure(
        local=True,
        send_to_logfire=False,
        console=False,
        metrics=False,
        scrubbing=False,
        additional_span_processors=[SimpleSpanProcessor(exporter)],
    )

    def export(**attributes: object) -> dict[str, object]:
        exporter.clear()
        with instance.span("a span", **attributes):
            pass
        (span,) = exporter.get_finished_spans()
        return {key: span.attributes[key] for key in (*attributes, SCHEMA) if key in span.attributes}

    return export


@pytest.mark.filterwarnings("ignore:Integer value:UserWarning")
@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_value_shows_as_logfire_shows_it(name, exported_by_logfire):
    """Logfire's live view can't tell our attribute from its own: same value, same type, same schema."""
    value = ORDINARY[name]
    theirs = exported_by_logfire(key=value)
    ours = capture.attributes({"key": value})
    assert ours["key"] == theirs["key"]
    if type(value) is not Shout:
        assert type(ours["key"]) is type(theirs["key"])
    assert json.loads(ours[SCHEMA]) == json.loads(theirs[SCHEMA])
    one, fragment = capture.attribute(value)
    assert one == theirs["key"]
    assert json.loads(fragment) == json.loads(theirs[SCHEMA])["properties"]["key"]


def test_the_attributes_of_a_span_are_described_together_as_logfire_does(exported_by_logfire):
    """Several attributes share one schema, in which the place in the source has no part."""
    values = {"a": 1, "b": [DAY], "é": "x", "code.function": "f", 'quo"te': None}
    assert capture.attributes(values) == exported_by_logfire(**values)
    plain = {"a": 1, "b": "x", "c": 1.5, "d": False}
    assert capture.attributes(plain) == capture.attributes(plain) == exported_by_logfire(**plain)
    place = {"code.function": "f"}
    assert capture.attributes(place) == place == exported_by_logfire(**place)


def test_no_attributes_are_no_attributes():
    """A span without attributes of its own carries no schema either."""
    assert capture.attributes({}) == {}


def test_a_schema_of_the_hosts_making_does_not_replace_the_real_one():
    """An attribute that bears the schema's name is left out."""
    assert json.loads(capture.attributes({SCHEMA: "nonsense", "a": 1})[SCHEMA]) == {
        "type": "object",
        "properties": {"a": {}},
    }


# --- what differs from Logfire on purpose ---------------------------------------------------------------------------


class Tripwire:
    """Fails the test as soon as anything of it is used; `guard`-like `except` clauses can't hide that."""

    touched: typing.ClassVar[list[str]] = []


def _trip(name):
    def method(*_: object, **__: object) -> typing.NoReturn:
        Tripwire.touched.append(name)
        raise RuntimeError(name)

    return method


_SPECIAL = [
    "__repr__",
    "__str__",
    "__len__",
    "__iter__",
    "__getattr__",
    "__getattribute__",
    "__eq__",
    "__hash__",
    "__bool__",
    "__getitem__",
    "__contains__",
    "__format__",
    "__bytes__",
    "__int__",
    "__float__",
    "__index__",
    "__lt__",
    "__gt__",
    "__sizeof__",
    "__reduce__",
    "__dir__",
    "__next__",
    "__call__",
    "__fspath__",
    "__length_hint__",
    "__reversed__",
    "__enter__",
    "__abs__",
    "__pos__",
    "__neg__",
    "__add__",
    "__copy__",
]
_TRIPS = {name: _trip(name) for name in _SPECIAL}
_MORE_TRIPS = {
    name: property(_trip(name))
    for name in ("__class__", "keys", "items", "values", "shape", "model_fields", "args", "value", "isoformat")
}


class TripMeta(type):
    """A metaclass that minds being asked as well."""

    __hash__ = _trip("metaclass __hash__")
    __eq__ = _trip("metaclass __eq__")
    __getattribute__ = _trip("metaclass __getattribute__")
    __instancecheck__ = _trip("metaclass __instancecheck__")
    __subclasscheck__ = _trip("metaclass __subclasscheck__")
    __repr__ = _trip("metaclass __repr__")
    mro_ = None


def tripwired(base: type, *args: object, meta: type = type) -> object:
    """An instance of a subclass of `base` in which every special method is a tripwire."""
    cls = meta("Wired", (base,), {**_TRIPS, **_MORE_TRIPS, "__module__": "wired"})
    if base is dict:
        value = dict.__new__(cls)
        dict.update(value, *args)
        return value
    value = base.__new__(cls, *args) if base is not object else object.__new__(cls)
    if base in (list, set, collections.deque, bytearray):
        base.__init__(value, *args)
    return value


WIRED = [
    (object, (), '"<wired.Wired object>"'),
    (dict, ({"a": 1},), '{"a":1}'),
    (list, ([1, 2],), "[1,2]"),
    (tuple, ([1, 2],), "[1,2]"),
    (set, ([1, 2],), "[1,2]"),
    (frozenset, ([1, 2],), "[1,2]"),
    (collections.deque, ([1, 2],), "[1,2]"),
    (str, ("text",), "text"),
    (int, (5,), 5),
    (float, (1.5,), 1.5),
    (bytes, (b"raw",), '"raw"'),
    (bytearray, (b"raw",), '"raw"'),
    (dt.date, (2026, 11, 23), '"2026-11-23"'),
    (dt.datetime, (2026, 11, 23), '"2026-11-23T00:00:00"'),
    (dt.timedelta, (0, 90), "90.0"),
    (decimal.Decimal, ("1.50",), '"1.50"'),
    (ValueError, ("bad",), '"bad"'),
]


@pytest.mark.parametrize("meta", [type, TripMeta])
@pytest.mark.parametrize(("base", "args", "expected"), WIRED, ids=[each[0].__name__ for each in WIRED])
def test_no_code_of_the_host_runs(base, args, expected, meta):
    """Neither special methods, properties, a lying `__class__` nor a metaclass of a value are called to show it."""
    value = tripwired(base, *args, meta=meta)
    Tripwire.touched.clear()
    shown = [
        capture.attribute(value)[0],
        capture.attributes({"key": value})["key"],
        json.loads(capture.attribute([value])[0]),
    ]
    if base is not ValueError:
        capture.text(value, 100)
    assert Tripwire.touched == []
    plain = json.loads(expected) if isinstance(expected, str) and expected != "text" else expected
    assert shown == [expected, expected, [plain]]


def test_an_unknown_object_is_named_without_its_address():
    """Objects of the host's classes show by their class alone, so that equal calls look equal."""

    class Service:
        def __repr__(self):
            return "secret"

    name = f"<{__name__}.{Service.__qualname__} object>"
    assert capture.attribute(Service()) == (f'"{name}"', '{"type":"object","x-python-datatype":"unknown"}')
    assert capture.text(Service(), 1000) == name
    assert json.loads(capture.attribute({"a": [Service()], Service(): 1})[0]) == {"a": [name], name: 1}


def test_a_generator_is_not_consumed():
    """A generator passed as an argument still gives all its items afterwards."""
    numbers = (n for n in range(3))
    value, schema = capture.attribute(numbers)
    assert value == '"<generator object>"'
    assert json.loads(schema) == {"type": "array", "title": "generator", "x-python-datatype": "generator"}
    assert list(numbers) == [0, 1, 2]


def test_a_row_of_an_orm_is_only_named():
    """An instance of a mapped class isn't looked into, for reading a field may go to the database."""

    @dataclasses.dataclass
    class Row:
        __mapper__: typing.ClassVar[object] = object()
        name: str

    assert "object>" in capture.attribute(Row("Ada"))[0]


def test_an_attrs_class_shows_its_fields():
    """Classes of attrs are known by what attrs writes on them; nothing of attrs is imported."""
    field = functools.partial(types.SimpleNamespace, repr=True)

    class Attrs:
        __attrs_attrs__ = (field(name="a"), field(name="b", repr=False), field(name="unset"))

    value = Attrs()
    value.a, value.b = DAY, 2
    assert capture.attribute(value)[0] == '{"a":"2026-11-23"}'
    assert '"attrs"' in capture.attribute(value)[1]


def test_a_class_that_only_claims_a_known_name_is_unknown():
    """A class named `decimal.Decimal` that isn't Decimal isn't treated like one."""
    liar = type("Decimal", (), {"__module__": "decimal", "__str__": _trip("__str__")})()
    assert capture.attribute(liar)[0] == '"<decimal.Decimal object>"'


def test_a_time_zone_of_the_hosts_making_is_not_asked():
    """A datetime with an unknown tzinfo shows without its offset."""

    class Zone(dt.tzinfo):
        utcoffset = _trip("utcoffset")

    Tripwire.touched.clear()
    assert capture.attribute(dt.datetime(2026, 11, 23, tzinfo=Zone()))[0] == '"2026-11-23T00:00:00"'
    assert Tripwire.touched == []


def test_an_exception_as_a_value_shows_its_arguments():
    """The `__str__` of the host's exceptions isn't called for an argument or result."""

    class RefusedError(Exception):
        __str__ = _trip("__str__")

    Tripwire.touched.clear()
    assert capture.attribute(RefusedError(404, "not found"))[0] == '"404: not found"'
    assert "RefusedError object>" in capture.attribute(RefusedError(object()))[0]
    assert Tripwire.touched == []


def test_what_changes_later_does_not_show():
    """A snapshot is of the time of the call."""
    value = {"a": [1]}
    shown = capture.attributes({"key": value})
    value["a"].append(2)
    assert shown["key"] == '{"a":[1]}'


def test_the_hosts_own_dict_is_not_the_one_that_is_returned():
    """The attributes of a span are a new dict, also where nothing had to be converted."""
    values = {"a": 1}
    assert capture.attributes(values) is not values
    assert values == {"a": 1}


# --- limits ---------------------------------------------------------------------------------------------------------


def test_long_text_is_cut_and_counted():
    """One can see that a string was longer, and by how much."""
    shown, _ = capture.attribute("x" * 1_000_000)
    assert len(shown) <= 8_192
    kept, _, rest = shown.partition("…")
    assert len(kept) + int(rest.split()[0]) == 1_000_000


def test_more_items_than_the_breadth_are_counted():
    """Of a large container the first items show, and the number of the others."""
    limits = capture.Limits(breadth=3)
    assert capture.attribute(list(range(1000)), limits)[0] == '[0,1,2,"… 997 more"]'
    assert capture.attribute({n: n for n in range(5)}, limits)[0] == '{"0":0,"1":1,"2":2,"…":"2 more"}'
    assert capture.attribute(range(10**30), limits)[0] == f'[0,1,2,"… {10**30 - 3} more"]'
    wide = dataclasses.make_dataclass("Wide", [f"f{n}" for n in range(9)])(*range(9))
    assert capture.attribute(wide, limits)[0] == '{"f0":0,"f1":1,"f2":2,"…":"6 more"}'
    more = Customer(name="x", **{f"extra{n}": n for n in range(9)})
    assert capture.attribute(more, capture.Limits(breadth=5))[0].endswith(',"extra0":0,"…":"8 more"}')


def test_deeper_containers_than_the_depth_are_named():
    """Below the depth a container shows as its kind and size."""
    limits = capture.Limits(depth=2)
    assert capture.attribute([[[1, 2, 3]]], limits)[0] == '[["<list, 3 items>"]]'
    assert capture.attribute([{"a": Order(1, DAY)}], limits)[0] == f'[{{"a":"<{__name__}.Order object>"}}]'


def test_a_span_with_very_many_attributes_keeps_the_first_and_counts_the_others():
    """The SDK would drop the oldest attributes of a span, which say what it is."""
    shown = capture.attributes({f"k{n}": n for n in range(10_000)})
    assert len(shown) == spans.MAX_ATTRIBUTES + 2
    assert shown["…"] == "9900 more"
    assert len(json.dumps(capture.attributes({f"k{n}": "x" * 8_000 for n in range(100)}))) < 150_000


def test_names_of_attributes_are_bounded():
    """A key of megabytes doesn't reach the exporter."""
    shown = capture.attributes({"k" * 1_000_000: 1, "\ud800": 2})
    assert all(len(key) <= 256 for key in shown)
    assert all(key.encode() for key in shown)


def test_a_number_of_a_million_digits_is_named():
    """Neither the time that its digits would take nor the interpreter's limit on them is met."""
    assert capture.attribute(1 << 10_000_000)[0] == "<int of 10000001 bits>"
    assert capture.attribute([1 << 10_000_000])[0] == '["<int of 10000001 bits>"]'


def test_the_clock_ends_a_large_value_and_spares_a_small_one():
    """When the time is up a large value ends where it is; a small one is whole even on a machine that stalls."""
    hurry = capture.Limits(seconds=-1.0)
    assert capture.attribute(Order(1, DAY), hurry) == capture.attribute(Order(1, DAY))
    large = [[DAY] * 10] * 10
    shown = json.loads(capture.attribute(large, hurry)[0])
    assert 0 < len(shown) < 10
    assert shown[-1].endswith(" more")


def steps_of(function):
    """How many Python calls and returns a call takes: its work, whatever else the machine is doing."""
    count = 0

    def count_one(*_):
        nonlocal count
        count += 1

    sys.setprofile(count_one)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


LARGE = {
    "text": lambda n: "x" * n,
    "unicode": lambda n: "é" * n,
    "list": lambda n: list(range(n)),
    "tuple": lambda n: tuple(range(n)),
    "set": lambda n: set(range(n)),
    "dict": lambda n: {i: i for i in range(n)},
    "deque": lambda n: collections.deque(range(n)),
    "bytes": lambda n: bytes(10 * n),
    "bytearray": lambda n: bytearray(10 * n),
    "exception": lambda n: ValueError("x" * n),
    "model": lambda n: Customer(name="x", rest=list(range(n))),
    "depth": lambda n: functools.reduce(lambda inner, _: [inner], range(n // 1000), []),
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_thousand_times_larger_is_no_more_work(kind):
    """The cost of a snapshot depends on the limits, not on the value."""
    capture.attribute(LARGE[kind](10_000))
    small, large = (LARGE[kind](n) for n in (10_000, 1_000_000))
    patient = capture.DEFAULT_LIMITS._replace(seconds=60)  # a stalled machine must not cut one of them short
    work = [steps_of(lambda value=value: capture.attribute(value, patient)) for value in (small, large)]
    assert abs(work[0] - work[1]) <= 10
    tracemalloc.start()
    try:
        capture.attributes({"key": large})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    "value",
    [
        [[["\0" * 9000] * 100] * 100] * 100,
        [[[[[1] * 64] * 64] * 64] * 64] * 64,
        {"\0" * 1000 + str(n): [n] for n in range(100)},
        [10**600] * 100,
        [[DAY, MOMENT] * 32] * 64,
        [[[Colour.RED, Rank.FIRST] * 32] * 64] * 64,
        [Order(1, DAY, [Order(2, DAY)] * 64)] * 64,
    ],
    ids=["control characters", "ones", "keys", "long numbers", "dates", "enums", "dataclasses"],
)
@pytest.mark.parametrize("total", [0, 1, 10, 500, 5_000, 32_768])
def test_json_is_bounded_as_a_whole(value, total):
    """However the limits multiply, one value's JSON stays within its total, and its schema is bounded too."""
    shown, schema = capture.attribute(value, capture.Limits(total=total, seconds=10.0))
    assert len(shown) <= total
    assert len(schema) <= 10_000
    if total >= 3:
        json.loads(shown)
    json.loads(schema)


def test_a_container_that_another_thread_changes_is_shown_or_named():
    """A race with the host's threads neither raises nor stalls."""
    table = {n: n for n in range(50)}
    queue = collections.deque(range(50))
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            for n in range(50, 60):
                table[n] = n
                queue.append(n)
            for n in range(50, 60):
                del table[n]
                queue.pop()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(300):
            shown = capture.attributes({"table": table, "queue": queue})
            json.loads(shown["table"])
            json.loads(shown["queue"])
    finally:
        stop.set()
        thread.join()


def test_the_caches_are_bounded():
    """A service that makes classes or attribute names on the fly doesn't grow for it."""
    for n in range(3_000):
        capture.attributes({f"name{n}": n})
    for n in range(1_500):
        capture.attribute(type(f"C{n}", (), {})())
    assert len(spans._schemas) <= 512
    assert len(shapes._shapes) <= 1_024


def test_a_class_made_after_another_was_freed_is_not_mistaken_for_it():
    """What is known of a class is never applied to another one that got its place in memory."""
    for n in range(200):
        cls = dataclasses.make_dataclass("D", [f"f{n}"])
        assert capture.attribute(cls(1))[0] == f'{{"f{n}":1}}'


def test_at_the_recursion_limit_a_value_is_still_answered():
    """Just short of the interpreter's recursion limit telemetry shows less, and forgets that afterwards."""
    fresh = [dataclasses.make_dataclass(f"Fresh{n}", ["a"])(n) for n in range(60)]
    answers = []

    def dive():
        try:
            dive()
        except RecursionError:
            value = fresh[len(answers) % 60]
            answers.append((capture.attributes({"key": [value]}), capture.attribute(value), capture.text([1], 10)))
            if len(answers) < len(fresh):
                raise

    dive()
    assert len(answers) == len(fresh)
    for attributes, (shown, _), text in answers:
        assert set(attributes) <= {"key", SCHEMA}
        assert isinstance(shown, str)
        assert len(text) <= 10
    assert [capture.attribute(value)[0] for value in fresh] == [f'{{"a":{n}}}' for n in range(60)]


# --- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        (None, "None"),
        (True, "True"),
        (7, "7"),
        (1.5, "1.5"),
        (DAY, "2026-11-23"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Colour.RED, "red"),
        ({"a": [1]}, '{"a":[1]}'),
        (ValueError("bad"), "bad"),
        (b"raw", "raw"),
    ],
)
def test_text_of_a_value(value, expected):
    """Text is what a person would write in a message."""
    assert capture.text(value, 100) == expected


@pytest.mark.parametrize("limit", [0, 1, 5, 30, 1000])
@pytest.mark.parametrize("name", ORDINARY)
def test_text_stays_within_its_limit(name, limit):
    """Whatever the value, the text fits."""
    assert len(capture.text(ORDINARY[name], limit)) <= limit
    assert len(capture.text("long " * 1000, limit)) <= limit


# --- anything at all ------------------------------------------------------------------------------------------------


class Endless(list):
    """A list whose iterator never ends."""

    def __iter__(self):
        while True:
            yield self

    def __len__(self):
        return 10**18


class LyingDict(dict):
    """A dict that is wrong about itself."""

    def __len__(self):
        return -1  # noqa: PLE0303 - it lies

    def items(self):
        return Endless()

    __iter__ = items
    __class__ = property(lambda self: str)  # type: ignore[assignment]


class Loud:
    """An object whose texts are ten megabytes."""

    def __repr__(self):
        return "x" * 10_000_000

    __str__ = __repr__


class Closed:
    """An object that lets nobody look."""

    __slots__ = ()

    def __getattribute__(self, name):
        raise SystemError(name)


class Impostor:
    """A class that pretends to be a dataclass, a model and an attrs class."""

    __dataclass_fields__ = 5
    __attrs_attrs__ = property(lambda self: 1 / 0)
    model_fields: typing.ClassVar[dict] = {1: 2}


class BadField:
    """A dataclass field list with nonsense in it."""

    __dataclass_fields__: typing.ClassVar[dict] = {"a": None}


@dataclasses.dataclass
class Unset:
    """A dataclass whose instance has lost its fields, and whose property hides one."""

    a: int

    def __init__(self):
        pass

    def __repr__(self):
        return "Unset()"

    __dict__ = property(lambda self: 1 / 0)  # type: ignore[assignment]


HOSTILE = [
    Endless([1]),
    LyingDict(a=1),
    Loud(),
    Closed(),
    Impostor(),
    Impostor,
    BadField(),
    Unset(),
    tripwired(dict, {"a": 1}),
    tripwired(list, [1]),
    circle(),
    Customer.model_construct(),
    Order.__new__(Order),
    uuid.UUID.__new__(uuid.UUID),
    pathlib.PurePath.__new__(pathlib.PurePath),
    types.MappingProxyType(collections.UserDict(a=1)),
    types.MappingProxyType(LyingDict(a=1)),
    decimal.Decimal("sNaN"),
    "\ud800\udc00\udfff",
    range(-(10**30), 10**30, 7),
    re.compile(b"x"),
    memoryview(b"x"),
    sys,
    _trip,
    len,
    KeyError(Loud()),
    OSError(Loud(), Loud()),
]
# By number, for hypothesis describes what it samples from.
hostile = st.integers(0, len(HOSTILE) - 1).map(lambda number: HOSTILE[number])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=()), max_size=40),
    st.binary(max_size=20),
    st.datetimes(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.complex_numbers(),
    st.sampled_from([Colour.RED, Mixed.TWO, Rank.FIRST, Word.YES, DAY, Point(1, DAY)]),
)
keys = st.one_of(st.text(st.characters(exclude_categories=()), max_size=10), scalars, st.tuples(scalars, scalars))
anything = st.recursive(
    scalars | hostile,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.tuples(inner, inner),
        st.dictionaries(keys, inner, max_size=6),
        st.lists(scalars, max_size=6).map(collections.deque),
        st.frozensets(scalars, max_size=6),
        st.builds(Order, number=inner, due=inner),
        st.builds(lambda value: Customer.model_construct(name=value, other=value), inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=3).map(types.MappingProxyType),
    ),
    max_leaves=25,
)
some_limits = st.builds(
    capture.Limits,
    depth=st.integers(0, 6),
    breadth=st.integers(0, 8),
    text=st.integers(0, 60),
    total=st.integers(0, 2_000),
    span=st.integers(0, 2_000),
)


@settings(deadline=None, max_examples=300)
@given(value=anything, limits=some_limits | st.just(capture.DEFAULT_LIMITS))
def test_anything_becomes_a_bounded_valid_attribute(value, limits):
    """No value raises, grows beyond the limits, or becomes something that can't be exported."""
    shown, schema = capture.attribute(value, limits)
    together = capture.attributes({"first": value, "second": value, "third": 1}, limits)
    text = capture.text(value, limits.text)
    assert json.loads(schema) is not None
    assert spans._UNREADABLE not in {shown, together.get("first"), together.get("second")}
    if limits is capture.DEFAULT_LIMITS:
        assert set(together) == {"first", "second", "third", SCHEMA}
    if SCHEMA in together:
        assert set(json.loads(together[SCHEMA])["properties"]) == set(together) - {SCHEMA}
    for each in (shown, *together.values(), text):
        assert type(each) in {str, int, float, bool}
        if type(each) is str:
            each.encode()
        elif type(each) is int:
            assert abs(each) <= 2**63
    if type(shown) is str:
        assert len(shown) <= max(limits.total, 600)
        if schema != "{}" and len(shown) >= 3:
            json.loads(shown)
    assert len(text) <= limits.text


# --- exceptions -----------------------------------------------------------------------------------------------------


def raised(error: BaseException) -> BaseException:
    try:
        raise error  # noqa: TRY301 - to give it a traceback
    except BaseException as caught:  # noqa: BLE001 - any exception is wanted
        return caught


def recorded_by_the_sdk(error: BaseException) -> dict[str, object]:
    from opentelemetry.sdk.trace import TracerProvider

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span("a span") as span:
        span.record_exception(error, escaped=True)
    return dict(exporter.get_finished_spans()[0].events[0].attributes)


class OwnError(Exception):
    """An exception of the host's."""


def chained() -> BaseException:
    try:
        try:
            1 / 0  # noqa: B018 - raises
        except ZeroDivisionError as error:
            raise OwnError("wrapped") from error
    except OwnError as error:
        error.add_note("a note")
        return error


@pytest.mark.parametrize(
    "error",
    [
        raised(ValueError("bad")),
        OwnError(),
        chained(),
        raised(KeyError("k" * 20)),
        raised(ExceptionGroup("several", [ValueError("a"), OwnError("b")])),
        raised(KeyboardInterrupt()),
        raised(SyntaxError("bad", ("f.py", 1, 2, "a b", 1, 3))),
    ],
    ids=repr,
)
def test_an_ordinary_exception_is_described_as_the_sdk_does(error):
    """Type, message and stack trace are those of OpenTelemetry's own exception event."""
    assert capture.is_tame(error)
    assert capture.exception_attributes(error) == recorded_by_the_sdk(error)


def saying(result: object) -> BaseException:
    class StrangeError(Exception):
        def __str__(self):
            if isinstance(result, BaseException):
                raise result
            return result

        __repr__ = __str__

    return raised(StrangeError())


def deep(depth: int) -> BaseException:
    def dive(n):
        if not n:
            raise OwnError("at the bottom")
        dive(n - 1)

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, depth + 500))
    try:
        dive(depth)
    except OwnError as error:
        return error
    finally:
        sys.setrecursionlimit(limit)


def long_chain(length: int) -> BaseException:
    error: BaseException = OwnError("first")
    for n in range(length):
        following = OwnError(f"error {n}")
        following.__cause__ = error
        error = following
    return error


def wide_group(width: int, depth: int) -> BaseException:
    members: list[Exception] = [OwnError("leaf")] * width
    for _ in range(depth):
        members = [ExceptionGroup("group", members)] * width
    return ExceptionGroup("top", members)


def with_notes(*notes: object) -> BaseException:
    error = OwnError("noted")
    error.__notes__ = list(notes)
    return error


def without_list_of_notes() -> BaseException:
    error = OwnError("noted")
    error.__notes__ = 5
    return error


class AttributelessError(Exception):
    """An exception whose attributes can't be read."""

    def __getattr__(self, name):
        raise OwnError(name)


class PropertiedError(Exception):
    """An exception with properties in the place of what the interpreter keeps."""

    __cause__ = property(_trip("__cause__"))
    __traceback__ = property(_trip("__traceback__"))
    __class__ = property(_trip("__class__"))
    args = property(_trip("args"))


WILD = {
    "str raises": saying(OwnError("no")),
    "str raises GeneratorExit": saying(GeneratorExit()),
    "str is cancelled": saying(__import__("asyncio").CancelledError()),
    "str gives a number": saying(5),
    "str gives None": saying(None),
    "ten megabytes": saying("x" * 10_000_000),
    "long key": raised(KeyError("x" * 10_000_000)),
    "deep": deep(900),
    "long chain": long_chain(1_000),
    "wide group": wide_group(30, 5),
    "long note": with_notes("n" * 100_000),
    "odd notes": with_notes(Loud(), 5, "short"),
    "notes that aren't a list": without_list_of_notes(),
    "no attributes": raised(AttributelessError("x")),
    "source of a megabyte": SyntaxError("bad", ("f.py", 1, 2, "x" * 1_000_000)),
}


@pytest.mark.parametrize("kind", WILD)
def test_a_wild_exception_is_described_within_bounds(kind):
    """Whatever an exception is like, its description is bounded text that can be exported."""
    error = WILD[kind]
    assert not capture.is_tame(error)
    shown = capture.exception_attributes(error)
    assert set(shown) == {"exception.type", "exception.message", "exception.stacktrace", "exception.escaped"}
    assert len(shown["exception.message"]) <= 8_192
    assert len(shown["exception.stacktrace"]) <= 32_768
    assert all(type(value) is str and value.encode() is not None for value in shown.values())
    assert type(error).__qualname__ in shown["exception.type"]


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("error", [raised(ValueError("bad")), deep(900)], ids=["tame", "wild"])
def test_an_exception_says_whether_it_escaped(error, escaped):
    """`exception.escaped` is what the caller says, in the words of OpenTelemetry's SDK."""
    assert capture.exception_attributes(error, escaped=escaped)["exception.escaped"] == str(escaped)


def test_a_deep_recursion_shows_both_ends():
    """Of a thousand frames one sees where the call came from, where it failed, and how many are between."""
    trace = capture.exception_attributes(deep(900))["exception.stacktrace"]
    assert trace.startswith("Traceback (most recent call last):\n")
    assert trace.endswith("OwnError: at the bottom\n")
    assert "\n  [… 802 more frames]\n" in trace
    assert 'raise OwnError("at the bottom")' in trace


def test_a_long_chain_keeps_the_latest():
    """The exception that was caught and those right before it show; how it began is left out."""
    trace = capture.exception_attributes(long_chain(1_000))["exception.stacktrace"]
    assert trace.startswith("[… earlier exceptions]")
    assert "error 999" in trace
    assert "error 980" in trace
    assert "error 970" not in trace


def test_a_circle_of_causes_ends():
    """Exceptions that cause each other are shown once each."""
    first, second = OwnError("first"), OwnError("second")
    first.__cause__, second.__cause__ = second, first
    assert capture.is_tame(first)
    assert capture.exception_attributes(first)["exception.stacktrace"].count("OwnError: ") == 2
    first.args = ("x" * 100_000,)
    assert capture.exception_attributes(first)["exception.stacktrace"].count("OwnError: ") == 2


def test_properties_of_an_exception_are_not_asked():
    """Cause, traceback and arguments are those the interpreter keeps."""
    error = PropertiedError("x" * 10_000)
    Tripwire.touched.clear()
    assert len(capture.exception_attributes(error)["exception.message"]) <= 8_192
    assert Tripwire.touched == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_request_to_stop_passes(stop):
    """Ctrl-C during an exception's `__str__` still ends the program."""
    error = saying(stop())
    for ask in (capture.exception_attributes, capture.is_tame, lambda each: capture.text(each, 10)):
        with pytest.raises(stop):
            ask(error)


def test_nothing_of_it_relies_on_the_guard():
    """Strict mode, which makes our bugs surface, finds none here."""
    before = guard.set_strict(True)
    try:
        for value in ORDINARY.values():
            capture.attributes({"key": value})
    finally:
        guard.set_strict(before)


def test_importing_it_is_light():
    """A program that only decorates its functions loads no library for the sake of snapshots."""
    code = (
        "import sys, tldr_observability.capture;"
        "print(*{'logfire', 'pydantic', 'wrapt', 'opentelemetry.sdk', 'asyncio', 'decimal', 'dataclasses', 'pathlib'}"
        " & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
