"""What `setup()` observes, what it leaves alone, and what it says of it; each library has a test module of its own."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, text

from tldr_observability import ConfigurationError, MissingExtraError, ObservabilitySettings, _setup, span
from tldr_observability.cli.diagnosis import parts, versions
from tldr_observability.integrations.table import INTEGRATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tldr_observability import Observability
    from tldr_observability.testing import OTLPReceiver

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {
    "sqlalchemy": "observe-sqlalchemy",
    "redis": "observe-redis",
    "celery": "observe-celery",
    "s3": "observe-s3",
    "httpx": "observe-http-clients",
    "threading": "keep-context-in-threads",
    "pydantic-ai": "observe-agents",
    "logging": "correlate-your-logs",
    "system metrics": "measure-the-system",
    "prometheus": "scrape-with-prometheus",
}

WITHOUT = """
import importlib.metadata
import sys

real = importlib.metadata.version

def version(name):
    if name == {missing!r}:
        raise importlib.metadata.PackageNotFoundError(name)
    return real(name)

importlib.metadata.version = version
from tldr_observability import MissingExtraError, setup
"""


def without(missing: str, source: str) -> str:
    """A program on a machine that lacks a distribution."""
    return WITHOUT.format(missing=missing) + textwrap.dedent(source)


def status_of(observability: Observability, part: str) -> tuple[bool, str]:
    (found,) = [each for each in observability.report() if each.part == part]
    return found.on, found.detail


@pytest.mark.parametrize("each", INTEGRATIONS, ids=lambda each: each.part)
def test_each_has_a_switch_a_page_and_a_row(each) -> None:
    """Whoever looks for a library finds its variable, its guide and what doctor says of it."""
    page = (DOCS / "how-to" / f"{PAGES[each.part]}.md").read_text(encoding="utf-8")
    rows = parts.look(ObservabilitySettings(), [], versions.find().installed)

    assert isinstance(ObservabilitySettings.model_fields[each.switch].default, bool)
    assert each.variable in page
    assert each.part in [row.status.part for row in rows]


@pytest.mark.parametrize("each", INTEGRATIONS, ids=lambda each: each.part)
def test_doctor_tells_the_versions_it_found(each) -> None:
    """The row of a library names the installed versions of the library and of what observes it."""
    installed = versions.find().installed
    rows = parts.look(ObservabilitySettings(**{each.switch: True}), [], installed)
    (row,) = [row for row in rows if row.status.part == each.part]

    assert row.status.on
    for name in (*each.libraries, *each.needs):
        if name in installed:
            assert f"{name} {installed[name]}" in row.status.detail


@pytest.mark.parametrize("each", [each for each in INTEGRATIONS if each.needs], ids=lambda each: each.part)
def test_what_is_asked_for_and_missing_is_loud(each, program: Callable) -> None:
    """A switch turned on by hand is refused with the extra to install, where nothing could be observed."""
    found = program(
        without(
            each.needs[0],
            """
            try:
                setup()
            except MissingExtraError as error:
                print(error)
            """,
        ),
        env={each.variable: "true"},
    )

    assert found.finish() == 0
    assert f"{each.variable}=true needs an extra that is not installed" in found.output
    assert f"tldr-observability[{each.extra}]" in found.output


def test_what_is_missing_and_not_asked_for_is_silent(program: Callable) -> None:
    """A service that never heard of httpx's instrumentation starts without a word of it, and the report says why."""
    found = program(
        without(
            "opentelemetry-instrumentation-httpx",
            """
            import httpx
            print([each.detail for each in setup().report() if each.part == "httpx"])
            """,
        )
    )

    assert found.finish() == 0
    assert found.output.strip() == (
        "[\"opentelemetry-instrumentation-httpx is not installed: pip install 'tldr-observability[httpx]'\"]"
    )


def test_doctor_calls_it_a_problem_when_it_was_asked_for() -> None:
    """Doctor tells what does not work from what nobody wants."""
    installed = {k: v for k, v in versions.find().installed.items() if k != "opentelemetry-instrumentation-httpx"}

    def row(**settings: bool) -> parts.Part:
        found = parts.look(ObservabilitySettings(**settings), [], installed)
        return next(part for part in found if part.status.part == "httpx")

    assert row().works
    assert not row(httpx_enabled=True).works
    assert row().type_this == "pip install 'tldr-observability[httpx]'"


def test_a_library_is_not_loaded_for_its_own_observation(program: Callable) -> None:
    """setup() imports none of the libraries that a service does not use itself."""
    found = program(
        """
        import sys
        from tldr_observability import setup
        setup()
        libraries = {"httpx", "botocore", "pydantic_ai", "redis", "celery", "sqlalchemy"}
        print(sorted(libraries & set(sys.modules)))
        """
    )

    assert found.finish() == 0
    assert found.output.strip() == "[]"


def test_everything_wrong_is_said_at_once(start: Callable) -> None:
    """One run shows each argument that can't be observed and each bad setting."""
    with pytest.raises(ConfigurationError) as refused:
        start(app="app", engine="engine", redis="client", celery="tasks", sample_rate=2)

    assert [problem.partition(":")[0] for problem in refused.value.problems] == [
        "app",
        "engine",
        "redis",
        "celery",
        "sample_rate",
    ]


def test_nothing_is_set_up_when_something_is_wrong(start: Callable) -> None:
    """After a refusal the next call starts from the beginning."""
    with pytest.raises(ConfigurationError):
        start(engine="engine")

    assert start().report()


def test_a_second_call_adds_what_is_new(start: Callable, otlp_receiver: OTLPReceiver) -> None:
    """An engine that is made later is observed from then on, and the first one not twice."""
    first, second = create_engine("sqlite://"), create_engine("sqlite://")
    observability = start(engine=first)
    _setup.setup(engine=first)
    _setup.setup(engines=[first, second])
    for engine in (first, second):
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    observability.flush()

    assert [each.name for each in otlp_receiver.spans if each.name.startswith("SELECT")] == ["SELECT"] * 2


@pytest.mark.parametrize("part", ["sqlalchemy", "redis", "celery", "s3", "httpx", "threading", "system metrics"])
def test_a_switch_turns_it_off(start: Callable, part: str) -> None:
    """What is switched off is not observed, and the report names the switch."""
    (each,) = [each for each in INTEGRATIONS if each.part == part]
    observability = start(**{each.switch: False})

    assert status_of(observability, part) == (False, f"{each.variable} is false")


def test_a_switched_off_engine_is_left_alone(start: Callable, otlp_receiver: OTLPReceiver) -> None:
    """With LOGFIRE_SQL_ENABLED=false the engine given to setup() makes no spans."""
    engine = create_engine("sqlite://")
    observability = start(engine=engine, sql_enabled=False)
    with span("here"), engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    observability.flush()

    assert [each.name for each in otlp_receiver.spans] == ["here"]


def test_disabled_means_that_nothing_is_touched(start: Callable) -> None:
    """With LOGFIRE_ENABLED=false no library is patched, whatever is handed over."""
    engine = create_engine("sqlite://")
    before = engine.dispatch.before_cursor_execute
    start(enabled=False, engine=engine)

    assert len(list(engine.dispatch.before_cursor_execute)) == len(list(before)) == 0


def test_an_extra_that_setup_needs_is_named(program: Callable) -> None:
    """setup(engine=...) without the instrumentation says what to install, before anything is set up."""
    found = program(
        without(
            "opentelemetry-instrumentation-sqlalchemy",
            """
            from sqlalchemy import create_engine
            try:
                setup(engine=create_engine("sqlite://"))
            except MissingExtraError as error:
                print(error)
            """,
        )
    )

    assert found.finish() == 0
    assert "setup(engine=engine) needs an extra" in found.output
    assert issubclass(MissingExtraError, ImportError)
