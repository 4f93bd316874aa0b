"""Which part of the package may load what: the storeys of docs/explanation/architecture.md, read from the source.

Imports inside functions count as much as those at the top; imports for type checkers only don't count.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import tldr_observability

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(tldr_observability.__file__).parent
TESTS = Path(__file__).parent

# From the ground up. A part loads what stands below its own storey; neighbours on one storey don't know each other.
STOREYS = (
    {"errors", "semconv"},
    {"catalogue"},
    {"_record", "guard", "redaction"},
    {"settings", "context", "capture", "instruments"},
    {"tracing", "export"},
    {"asgi"},
    {"integrations"},
    {"_setup"},
    {"testing"},
    {"cli"},
)
DATA = STOREYS[0] | STOREYS[1]
TOOLS = STOREYS[-2] | STOREYS[-1]
RUNTIME = set().union(*STOREYS) - DATA - TOOLS
# Who alone in the runtime may load a part: the others are handed what they need of it.
ONLY_FOR = {"integrations": {"_setup"}, "export": {"_setup"}, "_setup": set()}

# Of what we don't own, by longest prefix. `opentelemetry` alone is the API with its semantic conventions.
API = {"opentelemetry"}
NOT_THE_API = {"opentelemetry." + part for part in ("sdk", "exporter", "proto", "instrumentation", "util.http")}
MAY_LOAD = {
    "errors": set(),
    "semconv": set(),
    "catalogue": set(),
    "_record": set(),
    "guard": set(),
    "redaction": set(),
    "settings": {"pydantic", "pydantic_settings"},
    "context": API,
    "capture": API,
    "instruments": API,
    "tracing": API | {"wrapt"},
    "asgi": API,
    "export": API | {"opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "requests", "urllib3"},
    "integrations": API
    | {"opentelemetry.instrumentation", "opentelemetry.sdk", "opentelemetry.exporter", "wrapt"}
    | {"billiard", "botocore", "celery", "fastapi", "httpx", "kombu", "prometheus_client", "psutil"}
    | {"pydantic_ai", "redis", "sqlalchemy", "starlette", "structlog"},
    "_setup": API | {"opentelemetry.sdk", "logfire", "pydantic", "wrapt"},
    "testing": API | {"opentelemetry.proto", "google.protobuf", "pytest"},
    "cli": API | {"packaging", "pydantic", "requests"},
}


class Import(NamedTuple):
    """One import of a source file: by whom, of what, and where it stands."""

    part: str
    target: str
    place: str


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below that runs, functions' bodies included."""
    for child in ast.iter_child_nodes(node):
        if for_type_checkers(child):
            for other in child.orelse:
                yield from (other, *executed(other))
        else:
            yield from (child, *executed(child))


def targets(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [each.name for each in names]
        case ast.ImportFrom(module=str(module), names=names, level=0):
            return [f"{module}.{each.name}" for each in names]
        case ast.ImportFrom():
            return ["a relative import"]
        case ast.Call(func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"), args=[first, *_]):
            return [first.value] if isinstance(first, ast.Constant) else []
    return []


def imports() -> list[Import]:
    return [
        Import(part_of(path), target, f"{path.relative_to(ROOT)}:{node.lineno}")
        for path in sorted(ROOT.rglob("*.py"))
        for node in executed(ast.parse(path.read_text(encoding="utf-8")))
        for target in targets(node)
    ]


def our_part(target: str) -> str | None:
    """The part of ours that an import loads; a public name taken from the root loads the part that holds it."""
    package, _, rest = target.partition(".")
    if package != "tldr_observability" or rest in {"", "__version__"}:
        return None
    name = rest.partition(".")[0]
    return tldr_observability._HOME.get(name, name)


def storey(part: str) -> int:
    return next(number for number, parts in enumerate(STOREYS) if part in parts)


def is_within(target: str, package: str) -> bool:
    return target == package or target.startswith(package + ".")


def may_load(part: str, target: str) -> bool:
    allowed = MAY_LOAD[part]
    for closed in NOT_THE_API:
        if is_within(target, closed):
            return closed in allowed
    return any(is_within(target, package) for package in allowed)


IMPORTS = imports()
INTERNAL = [(each.part, ours, each.place) for each in IMPORTS if (ours := our_part(each.target)) is not None]
EXTERNAL = [
    each for each in IMPORTS if each.target.partition(".")[0] not in {"tldr_observability", *sys.stdlib_module_names}
]


def test_every_part_has_its_storey() -> None:
    """A new module can't be added without deciding where in the house it stands."""
    parts = {part_of(path) for path in ROOT.rglob("*.py")} - {"__init__"}

    assert parts == set().union(*STOREYS)
    assert parts == set(MAY_LOAD)


def test_imports_point_down() -> None:
    """Nobody meets an import cycle, and no part drags in one that stands above it or beside it."""
    upward = [
        f"{place}: {part} loads {ours}"
        for part, ours, place in INTERNAL
        if part not in {ours, "__init__"} and storey(ours) >= storey(part)
    ]

    assert upward == []


def test_the_root_loads_nothing_by_itself() -> None:
    """Importing the package costs next to nothing until a name is asked for."""
    assert [place for part, _, place in INTERNAL if part == "__init__"] == []
    assert [each.place for each in EXTERNAL if each.part == "__init__"] == []


@pytest.mark.parametrize("part", sorted(ONLY_FOR))
def test_composition_happens_in_one_place(part: str) -> None:
    """Whoever reads how the runtime is wired reads `_setup`, for nothing else wires parts together."""
    strangers = [place for by, ours, place in INTERNAL if ours == part and by in RUNTIME - {part} - ONLY_FOR[part]]

    assert strangers == []


def test_the_runtime_never_loads_a_tool() -> None:
    """A service in production loads neither the command line nor the test fixtures."""
    assert [place for part, ours, place in INTERNAL if part in RUNTIME | DATA and ours in TOOLS] == []


@pytest.mark.parametrize("part", sorted(MAY_LOAD))
def test_each_part_loads_only_the_libraries_it_is_built_on(part: str) -> None:
    """Who uses one part of the package pays for the libraries of that part only."""
    foreign = [f"{each.place}: {each.target}" for each in EXTERNAL if each.part == part]

    assert [each for each in foreign if not may_load(part, each.partition(": ")[2])] == []


def test_logfire_is_loaded_in_one_part_of_the_runtime() -> None:
    """Decorators, spans and the middleware work with any OpenTelemetry provider, without Logfire."""
    assert {each.part for each in EXTERNAL if is_within(each.target, "logfire")} == {"_setup"}


def test_no_module_carries_the_name_of_a_public_object() -> None:
    """`tldr_observability.setup` is always the function: importing a module can't put itself in its place."""
    modules = {path.stem for path in ROOT.rglob("*.py")} | {path.name for path in ROOT.rglob("*") if path.is_dir()}

    assert modules.isdisjoint(tldr_observability.__all__)


def test_the_data_storey_needs_the_standard_library_only() -> None:
    """Names and errors can be used where no SDK is installed."""
    assert [each for each in EXTERNAL if each.part in DATA] == []


def test_every_test_says_what_a_user_would_notice() -> None:
    """Who breaks a test reads in one sentence what no longer holds."""
    silent = [
        f"{path.name}:{node.lineno}: {node.name}"
        for path in sorted(TESTS.rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not (ast.get_docstring(node) or "").partition("\n")[0].endswith(".")
    ]

    assert silent == []
