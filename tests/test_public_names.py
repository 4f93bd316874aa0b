"""The public names: what the package promises is what it has, for programs, editors and type checkers alike."""

from __future__ import annotations

import ast
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import tldr_observability

PROJECT = Path(__file__).parent.parent


def typed_names() -> dict[str, str]:
    """What type checkers and editors see: each name in the root's TYPE_CHECKING block, with its home."""
    tree = ast.parse(Path(tldr_observability.__file__).read_text(encoding="utf-8"))
    blocks = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {
        alias.asname or alias.name: str(node.module).removeprefix("tldr_observability.")
        for block in blocks
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def declared_version() -> str:
    version: str = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return version


def test_what_is_promised_is_what_can_be_loaded() -> None:
    """`__all__`, the lazy loader and the type checkers' view name the same objects in the same homes."""
    assert tldr_observability.__all__ == sorted(tldr_observability._HOME)
    assert typed_names() == tldr_observability._HOME


@pytest.mark.parametrize("name", tldr_observability.__all__)
def test_a_public_name_loads_the_object_from_its_home(name: str) -> None:
    """`from tldr_observability import name` gives an object of ours that carries its own documentation."""
    value = getattr(tldr_observability, name)

    assert value is getattr(tldr_observability, name)
    assert type(value).__module__.startswith("tldr_observability") or value.__module__.startswith("tldr_observability")
    assert value.__doc__


def test_an_editor_lists_every_public_name() -> None:
    """Completion after `tldr_observability.` offers what is there, loaded or not."""
    assert set(tldr_observability.__all__) <= set(dir(tldr_observability))


def test_a_star_import_brings_the_public_names() -> None:
    """`from tldr_observability import *` brings exactly what is promised."""
    namespace: dict[str, object] = {}
    exec("from tldr_observability import *", namespace)

    assert set(namespace) - {"__builtins__"} == set(tldr_observability.__all__)


def test_an_unknown_name_is_an_attribute_error_that_says_so() -> None:
    """A typing mistake fails as it does for any module."""
    with pytest.raises(AttributeError, match=r"module 'tldr_observability' has no attribute 'traced_servcie'"):
        _ = tldr_observability.traced_servcie
    assert not hasattr(tldr_observability, "logfire")


def test_the_version_is_one_everywhere() -> None:
    """The version a program reads is the one that pip installed and that the project declares."""
    assert tldr_observability.__version__ == declared_version() == metadata.version("tldr-observability")


def test_the_changelog_has_a_heading_for_this_version() -> None:
    """Who upgrades finds what changed."""
    headings = [
        line for line in (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines() if line[:3] == "## "
    ]

    assert any(heading.startswith(f"## [{declared_version()}]") for heading in headings), headings
