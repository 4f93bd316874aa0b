"""Spans around blocks: names, messages, places, exceptions, and what a program without tracing sees."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
import textwrap
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

from tldr_observability import _record, current_span, guard, span, traced
from tldr_observability.tracing import messages, source

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def exporter(monkeypatch):
    """The spans that a real SDK provider exported."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


def only(exporter):
    """The one span that was exported."""
    (made,) = exporter.get_finished_spans()
    return made


def line_here():
    """The line of the caller."""
    return sys._getframe(1).f_lineno


def test_a_block_is_a_span_with_message_place_and_attributes(exporter):
    """The span keeps the bounded template as its name, and shows the filled text as its message."""
    with span("fetched {count} items", count=3, rows=[1]) as made:
        made.set_attribute("late", True)
        assert current_span() is made
    line = line_here() - 3
    exported = only(exporter)
    attributes = dict(exported.attributes)
    schema = json.loads(attributes.pop("logfire.json_schema"))
    assert schema["properties"] == {"count": {}, "rows": {"type": "array"}}
    assert attributes == {
        "code.filepath": "tests/test_spans.py",
        "code.function": "test_a_block_is_a_span_with_message_place_and_attributes",
        "code.lineno": line,
        "logfire.msg_template": "fetched {count} items",
        "logfire.msg": "fetched 3 items",
        "logfire.span_type": "span",
        "count": 3,
        "rows": "[1]",
        "late": True,
    }
    assert exported.name == "fetched {count} items"
    assert exported.status.status_code is StatusCode.UNSET


def test_blocks_nest_with_decorators_and_plain_opentelemetry(exporter):
    """Ours, decorated and OpenTelemetry's own spans are each other's parents as the code nests."""
    tracer = trace.get_tracer("theirs")

    @traced
    def work():
        with tracer.start_as_current_span("theirs"), span("inner"):
            pass

    with span("outer"):
        work()
    made = {each.name: each for each in exporter.get_finished_spans()}
    chain = ["inner", "theirs", "work", "outer"]
    for child, parent in itertools.pairwise(chain):
        assert made[child].parent.span_id == made[parent].context.span_id
    assert made["outer"].parent is None


def test_a_name_can_be_an_attribute(exporter):
    """Any keyword is an attribute, also `name` and `self`."""
    with span("block", name="n", self="s"):
        pass
    assert {"name": "n", "self": "s"}.items() <= dict(only(exporter).attributes).items()


def test_async_with(exporter):
    """A block of a coroutine may be entered with `async with`, and says where it stands."""

    async def main():
        async with span("block") as made:
            assert current_span() is made
            await asyncio.sleep(0)

    asyncio.run(main())
    assert only(exporter).attributes["code.function"] == "test_async_with.<locals>.main"


def test_an_exit_stack_keeps_the_place(exporter):
    """Entered by an exit stack, a span still says where it was written."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(span("block"))
    assert only(exporter).attributes["code.filepath"] == "tests/test_spans.py"


def test_an_exception_is_recorded_and_passes(exporter):
    """The block's exception leaves as the same object, and the span has the error."""
    error = ValueError("no")
    with pytest.raises(ValueError, match="no") as caught, span("block"):
        raise error
    assert caught.value is error
    assert error.__context__ is None
    exported = only(exporter)
    assert (exported.status.status_code, exported.status.description) == (StatusCode.ERROR, "ValueError: no")
    assert exported.attributes["logfire.level_num"] == 17
    assert [event.name for event in exported.events] == ["exception"]


def test_a_long_exception_text_is_bounded(exporter):
    """An exception of a megabyte makes a short status."""
    with pytest.raises(ValueError, match="xxx"), span("block"):
        raise ValueError("x" * 1_000_000)
    exported = only(exporter)
    assert len(exported.status.description) < 1000
    assert len(str(exported.events[0].attributes)) < 100_000


def test_a_cancelled_block_is_no_error(exporter):
    """A cancellation inside of a block marks the span as cancelled."""

    async def main():
        async def wait():
            with span("block"):
                await asyncio.sleep(10)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert only(exporter).attributes["tldr.outcome"] == "cancelled"
    assert only(exporter).status.status_code is StatusCode.UNSET


def test_side_by_side_blocks_keep_their_parents(exporter):
    """Blocks of tasks and threads that run at once don't mix."""

    async def one(number):
        async with span("outer", number=number):
            await asyncio.sleep(0.001)
            with span("inner", number=number):
                await asyncio.sleep(0.001)

    async def main():
        await asyncio.gather(*[one(number) for number in range(10)])

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = exporter.get_finished_spans()
    outer = {each.context.span_id: each.attributes["number"] for each in made if each.name == "outer"}
    inner = [each for each in made if each.name == "inner"]
    assert len(inner) == 30
    assert all(outer[each.parent.span_id] == each.attributes["number"] for each in inner)


def test_one_object_can_be_entered_again(exporter):
    """Each entry of the same block object makes a span of its own."""
    block = span("block")
    for _ in range(2):
        with block:
            pass
    first, second = exporter.get_finished_spans()
    assert first.context.span_id != second.context.span_id


def test_without_a_provider(monkeypatch):
    """Without OpenTelemetry's SDK a block gets a span that ignores everything."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    with span("block {x}", x=1) as made:
        made.set_attribute("a", 1)
    assert not made.is_recording()


def test_disabled(exporter):
    """Disabled, a block makes no span and adds nothing to the host's own."""
    _record.record.enabled = False
    with trace.get_tracer("theirs").start_as_current_span("theirs"), span("block", a=1) as made:
        made.set_attribute("b", 2)
    assert only(exporter).name == "theirs"
    assert not only(exporter).attributes


def test_sampled_out(monkeypatch, exporter):
    """In a trace that isn't kept, blocks share their root's ids and make no spans."""
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    with span("root") as root, span("child") as child:
        assert child.get_span_context() == root.get_span_context()
        assert current_span() is root
    assert current_span() is trace.INVALID_SPAN
    assert not exporter.get_finished_spans()


def test_a_name_that_is_no_text_does_not_fail_the_host(exporter):
    """A wrong name costs the span, not the block."""
    guard.set_strict(False)
    ran = []
    with span(object()):  # type: ignore[arg-type]
        ran.append(1)
    assert ran == [1]


def test_the_current_span_without_any():
    """Outside of all spans the current one ignores what it is told."""
    current_span().set_attribute("a", 1)
    assert not current_span().is_recording()


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        ("plain", {}, "plain"),
        ("{a} and {b}", {"a": 1}, "1 and {b}"),
        ("{a!r:>5} {b:.2f} {c=}", {}, "{a!r:>5} {b:.2f} {c=}"),
        ("{a=}, {a!r}", {"a": 2}, "a=2, 2"),
        ("{a:.2f} {b:05d} {c:>5}", {"a": 1.239, "b": 42, "c": "x"}, "1.24 00042     x"),
        ("{a:.2f}", {"a": "text"}, "text"),
        ("{a:9999999999d}", {"a": 1}, "1"),
        ("{a:>+,.2f}", {"a": 1234.5}, "+1,234.50"),
        ("{a:.2f}", {"a": 10**400}, f"{10**400}"[:62] + "..." + "0" * 62),
        ("{a:{b}}", {"a": 1, "b": 5}, "1"),
        ("{{literal}} {a}", {"a": 1}, "{literal} 1"),
        ("{", {"a": 1}, "{"),
        ("}{a}", {"a": 1}, "}{a}"),
        ("{} {0}", {"a": 1}, "{} {0}"),
        ("{a}é", {"a": "\ud800"}, "\ufffdé"),
        ("plain \udfff", {}, "plain \ufffd"),
        ("{a:c}", {"a": 0xD800}, "\ufffd"),
        ("{a}", {"a": None}, "None"),
        ("{a}", {"a": True}, "True"),
        ("{a}", {"a": "x" * 500}, "x" * 62 + "..." + "x" * 62),
    ],
)
def test_messages(template, values, expected):
    """Values are filled in by name, formatted if they are plain, shortened, and left as written if missing."""
    assert messages.fill(template, values) == expected


def test_messages_run_no_code_of_the_hosts():
    """Attributes, items and `__format__` of a value are not touched."""

    class Trap:
        def __getattr__(self, name):
            raise AssertionError

        def __getitem__(self, key):
            raise AssertionError

        def __format__(self, spec):
            raise AssertionError

    text = messages.fill("{a.b} {a[0]} {a:x} {a}", {"a": Trap()})
    assert text.startswith("{a.b} {a[0]} ")


def test_a_huge_integer_in_a_message():
    """An integer too long to be written does not fail."""
    assert messages.fill("{a} {a:d}", {"a": 10**10_000})


@given(st.text(alphabet="{}ab!r:=.0[]d ", max_size=30), st.text(max_size=300) | st.integers() | st.floats() | st.none())
def test_filling_never_raises_and_is_bounded(template, value):
    """Whatever the template and the value, there is a text of bounded length."""
    assert len(messages.fill(template, {"a": value, "b": SimpleNamespace()})) <= 2048


def test_the_cache_of_places_is_bounded():
    """A program that makes code objects without end does not grow our memory."""
    for number in range(source._MOST_PLACES + 10):
        source.of_code(compile(f"{number}", f"made-{number}", "exec"))
        messages.fill(f"{{a}} {number}", {"a": 1})
    assert len(source._places) <= source._MOST_PLACES
    assert len(messages._templates) <= messages._MOST_TEMPLATES


def test_equal_code_of_two_files_has_two_places(exporter):
    """Two files with the very same text are told apart: Python holds their code for equal."""
    for path in ("one.py", "two.py"):
        exec(compile("with span('block'):\n    pass", path, "exec"), {"span": span})
    assert [made.attributes["code.filepath"] for made in exporter.get_finished_spans()] == ["one.py", "two.py"]


def test_the_same_fields_as_logfire_span(tmp_path):
    """Beside `logfire.span`, our block has the same fields with the same meaning, and they nest in each other."""
    script = """
        import json, sys
        import logfire
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from tldr_observability import guard, span

        guard.set_strict(True)
        exporter = InMemorySpanExporter()
        logfire.configure(send_to_logfire=False, console=False, scrubbing=False,
                          additional_span_processors=[SimpleSpanProcessor(exporter)])

        def use(make):
            with make("hello {x} {long}", x=1, long="y" * 300, rows=[{"a": 1}], nothing=None):
                pass
            try:
                with make("boom"):
                    raise ValueError("no")
            except ValueError:
                pass

        use(span)
        use(logfire.span)
        with span("a"), logfire.span("b"), span("c"):
            pass

        def plain(made):
            attributes = dict(made.attributes)
            if "logfire.json_schema" in attributes:
                attributes["logfire.json_schema"] = json.loads(attributes["logfire.json_schema"])
            return [made.name, made.kind.name, attributes, made.status.status_code.name, made.status.description,
                    [sorted(event.attributes) for event in made.events]]

        *spans, c, b, a = exporter.get_finished_spans()
        assert c.parent.span_id == b.context.span_id and b.parent.span_id == a.context.span_id
        assert len(spans) == 4, spans
        json.dump([plain(each) for each in spans], sys.stdout)
    """
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(script))
    ran = subprocess.run([sys.executable, path], check=False, capture_output=True, text=True, timeout=50)
    assert ran.returncode == 0, ran.stderr
    ours_hello, ours_boom, theirs_hello, theirs_boom = json.loads(ran.stdout)
    assert ours_hello == theirs_hello
    assert ours_boom == theirs_boom
