"""What pip installs: declared dependencies, the tested set of versions, what the distribution carries along."""

from __future__ import annotations

import ast
import sys
import tomllib
import warnings
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tldr_observability

PROJECT = Path(__file__).parent.parent
PACKAGE = Path(tldr_observability.__file__).parent
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CORE = [Requirement(line) for line in DECLARED["dependencies"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in DECLARED["optional-dependencies"].items()}
FEATURES = sorted(EXTRAS.keys() - {"all", "dev"})
WITH_CONTRIB = [name for name in FEATURES if any("instrumentation" in each.name for each in EXTRAS[name])]
CONSTRAINTS = {
    canonicalize_name(requirement.name): requirement
    for line in (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
    for requirement in [Requirement(line)]
}

# What the core doesn't need: each part here runs where its library is there, or inside pytest.
OPTIONAL_PARTS = ("integrations/", "testing/plugin.py")
# Which distribution brings a module whose name doesn't say so, by longest prefix.
BROUGHT_BY = {
    "opentelemetry.sdk": "opentelemetry-sdk",
    "opentelemetry.semconv": "opentelemetry-semantic-conventions",
    "opentelemetry.exporter.otlp.proto.common": "opentelemetry-exporter-otlp-proto-common",
    "opentelemetry.proto": "opentelemetry-proto",
    "opentelemetry": "opentelemetry-api",
    "google.protobuf": "protobuf",
}


def core_modules() -> set[str]:
    """Every module of another library that the core imports, for running or for type checking."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).as_posix().startswith(OPTIONAL_PARTS):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {module for module in found if module.partition(".")[0] not in sys.stdlib_module_names}


def distribution_of(module: str) -> str:
    for prefix, distribution in BROUGHT_BY.items():
        if f"{module}.".startswith(f"{prefix}."):
            return distribution
    return str(canonicalize_name(module.partition(".")[0]))


def test_what_the_core_imports_is_declared() -> None:
    """A bare installation holds all that it imports because we ask for it, not because another package happens to."""
    imported = {distribution_of(module) for module in core_modules()}

    assert imported - {canonicalize_name(each.name) for each in CORE} == {"tldr-observability"}


@pytest.mark.parametrize("feature", WITH_CONTRIB)
def test_an_extra_names_one_whole_train_of_instrumentation(feature: str) -> None:
    """Old resolvers find the one set of contrib packages that fits at once, instead of searching for minutes."""
    train = {
        each.name: str(each.specifier)
        for each in EXTRAS[feature]
        if each.name.startswith(("opentelemetry-instrumentation", "opentelemetry-util-http"))
    }

    assert "opentelemetry-instrumentation" in train
    assert len({*train.values()}) == 1
    assert next(iter(train.values())).startswith("==")


def test_all_means_every_extra() -> None:
    """`pip install 'tldr-observability[all]'` leaves nothing out."""
    (everything,) = EXTRAS["all"]

    assert everything.extras == set(FEATURES)


@pytest.mark.parametrize("requirement", [*CORE, *(each for lines in EXTRAS.values() for each in lines)], ids=str)
def test_the_tested_set_holds_an_exact_version_of_every_dependency(requirement: Requirement) -> None:
    """Who installs with constraints.txt gets precisely what was tested, and it is what we declare."""
    if requirement.name == DECLARED["name"]:
        return
    (pin,) = CONSTRAINTS[canonicalize_name(requirement.name)].specifier

    assert pin.operator == "=="
    assert requirement.specifier.contains(pin.version, prereleases=True)


def test_the_tested_set_is_exact_throughout() -> None:
    """No line of constraints.txt leaves a choice or leads to a place that others can't reach."""
    loose = [str(each) for each in CONSTRAINTS.values() if each.url or not str(each.specifier).startswith("==")]

    assert loose == []


def test_a_type_checker_sees_our_types() -> None:
    """The distribution says that it is typed (PEP 561)."""
    assert (PACKAGE / "py.typed").is_file()


def test_the_command_and_the_fixtures_are_registered() -> None:
    """`tldr-obs` is there after installation, and pytest finds the fixtures by itself."""
    entries = metadata.distribution("tldr-observability").entry_points

    assert callable(entries.select(group="console_scripts", name="tldr-obs")["tldr-obs"].load())
    assert [each.value for each in entries.select(group="pytest11")] == ["tldr_observability.testing.plugin"]


@pytest.mark.parametrize("module", ["tldr_observability", "tldr_observability.tracing.engine"])
def test_a_warning_of_our_own_fails_the_tests(module: str) -> None:
    """What would be a warning in a user's log is found here first."""
    with pytest.raises(DeprecationWarning, match="old"):
        warnings.warn_explicit("old", DeprecationWarning, "file.py", 1, module=module)


def test_a_warning_of_others_does_not_fail_the_tests(recwarn: pytest.WarningsRecorder) -> None:
    """A library that deprecates something on its own account is no fault of ours."""
    warnings.warn_explicit("old", DeprecationWarning, "file.py", 1, module="tldr_observability_plugin")

    assert len(recwarn) == 1
