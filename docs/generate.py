"""Writes those parts of the reference pages that say what the source says: settings, public names, metrics.

It fills in what stands between `<!-- generated: NAME -->` and `<!-- end -->`; the rest is written by hand.

    python docs/generate.py            write the pages
    python docs/generate.py --check    write nothing; exit with 1 where a page is out of date
"""  # noqa: INP001 - a script, not a package

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sys
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tldr_observability
from tldr_observability import Observability, ObservabilitySettings, testing
from tldr_observability.catalogue import ALL, GROUPS
from tldr_observability.cli import doctor, verify
from tldr_observability.instruments.business import BusinessMetrics
from tldr_observability.settings import PRESETS
from tldr_observability.testing import plugin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tldr_observability.catalogue.spec import Attribute, MetricSpec

__all__ = ["main", "stale"]

PAGES = [Path(__file__).parent / "reference" / name for name in ("settings.md", "api.md", "metrics.md")]
_REGION = re.compile(r"(?<=<!-- generated: )(\w+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
_BOUNDS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "max_length": "at most {} characters"}
_SECRETS = ("token", "api_key")


def stale() -> dict[Path, str]:
    """The pages that differ from the source, with what they should be."""
    wanted = {page: _REGION.sub(_filled, page.read_text(encoding="utf-8")) for page in PAGES}
    return {page: text for page, text in wanted.items() if text != page.read_text(encoding="utf-8")}


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or with `--check` say which ones are out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page is out of date")
    check = parser.parse_args(arguments).check
    pages = stale()
    for page, text in pages.items():
        if check:
            sys.stderr.write(f"{page.name} is out of date: run python docs/generate.py\n")
        else:
            page.write_text(text, encoding="utf-8")
    return int(check and bool(pages))


def _filled(region: re.Match[str]) -> str:
    parts = {
        "variables": _variables,
        "presets": _presets,
        "names": _names,
        "fixtures": _fixtures,
        "testing": _testing,
        "commands": _commands,
        "metrics": _metrics,
        "attributes": _attributes,
        "methods": _methods,
    }
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(parts[region[1]]())).strip()
    return f"{region[1]}{region[2]}\n{text}\n\n"


# The settings


def _variables() -> Iterator[str]:
    yield "| variable | setting | default | expected | meaning |"
    yield "|---|---|---|---|---|"
    for name, field in ObservabilitySettings.model_fields.items():
        variables = " or ".join(f"`{variable}`" for variable in typing.cast("Any", field.validation_alias).choices)
        meaning = " ".join((field.description or "").split())
        yield f"| {variables} | `{name}` | {_default(name, field)} | {_expected(name, field)} | {meaning} |"


def _presets() -> Iterator[str]:
    settings = sorted({name for preset in PRESETS.values() for name in preset})
    yield "| environment | " + " | ".join(f"`{name}`" for name in settings) + " |"
    yield "|---|" + "---|" * len(settings)
    for environment, preset in PRESETS.items():
        yield f"| `{environment}` | " + " | ".join(_value(preset[name]) for name in settings) + " |"


def _default(name: str, field: Any) -> str:
    if any(name in preset for preset in PRESETS.values()):
        return f"[preset](#presets): {_value(PRESETS['production'][name])}"
    return "see the meaning" if field.default_factory else _value(field.default)


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{','.join(value)}`" if isinstance(value, tuple) else f"`{value}`"


def _expected(name: str, field: Any) -> str:
    if name in _SECRETS:
        return "text, kept secret"
    if typing.get_origin(field.annotation) is typing.Literal:
        return "one of " + ", ".join(f"`{choice}`" for choice in typing.get_args(field.annotation))
    kinds = {bool: "`true` or `false`", int: "whole number", float: "number", tuple: "paths, separated by commas"}
    named = typing.get_args(field.annotation) or (field.annotation,)
    kind = next((text for kind, text in kinds.items() if kind in (*named, typing.get_origin(field.annotation))), "text")
    kind = "`http(s)://host[:port]`" if name == "base_url" else kind
    limits = [
        words.format(f"{getattr(item, bound):g}")
        for item in field.metadata
        for bound, words in _BOUNDS.items()
        if hasattr(item, bound)
    ]
    return ", ".join((kind, *limits))


# The public names


def _names() -> Iterator[str]:
    for name in tldr_observability.__all__:
        yield from _entry(name, getattr(tldr_observability, name))


def _fixtures() -> Iterator[str]:
    for name in plugin.__all__:
        yield f"- `{name}`: {_first_paragraph(_unwrapped(getattr(plugin, name)))}"


def _testing() -> Iterator[str]:
    for name in testing.__all__:
        yield from _entry(name, getattr(testing, name))


def _entry(name: str, value: Any) -> Iterator[str]:
    yield f"### {name}\n"
    if inspect.isclass(value):
        yield from _class(value)
    elif inspect.isfunction(value):
        yield _signatures(name, value)
        yield _summary(value)
    elif callable(value):
        yield _signatures(name, type(value).__call__)
        yield _summary(value)
    else:
        yield _summary(type(value))
        yield from _members(type(value))


def _class(cls: type) -> Iterator[str]:
    if issubclass(cls, BaseException):
        yield f"Is also: {', '.join(f'`{base.__name__}`' for base in cls.__bases__)}.\n"
    elif not dataclasses.is_dataclass(cls) and cls.__init__ is not object.__init__ and _is_made_by_users(cls):
        yield _signatures(cls.__name__, cls.__init__)
    yield _summary(cls)
    if dataclasses.is_dataclass(cls):
        yield "Fields: " + ", ".join(f"`{field.name}: {field.type}`" for field in dataclasses.fields(cls)) + ".\n"
    yield from _members(cls)


def _is_made_by_users(cls: type) -> bool:
    return cls is not Observability and cls is not ObservabilitySettings


def _members(cls: type) -> Iterator[str]:
    for name, value in vars(cls).items():
        if name.startswith("_") or name in ("model_config", "model_post_init", "settings_customise_sources"):
            continue
        inner = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if inspect.isfunction(inner):
            yield f"- {_one_signature(name, inner)}: {_first_paragraph(inner)}"
        elif isinstance(value, property):
            yield f"- `{name}`: {_first_paragraph(value.fget)}"
    yield ""


def _signatures(name: str, function: Callable[..., Any]) -> str:
    versions = typing.get_overloads(function) or [function]
    return "\n".join(f"- {_one_signature(name, version)}" for version in versions) + "\n"


def _one_signature(name: str, function: Callable[..., Any]) -> str:
    """A signature as the source has it, whichever Python runs this."""
    signature = inspect.signature(function)
    parameters = [parameter for parameter in signature.parameters.values() if parameter.name not in ("self", "cls")]
    answer = signature.return_annotation
    gives = f" -> {answer}" if isinstance(answer, str) and answer != "None" else ""
    return f"`{name}({', '.join(_parameters(parameters))}){gives}`"


def _parameters(parameters: Iterable[inspect.Parameter]) -> Iterator[str]:
    before = None
    seen_star = False
    for parameter in parameters:
        kind = parameter.kind
        if before is parameter.POSITIONAL_ONLY and kind is not parameter.POSITIONAL_ONLY:
            yield "/"
        if kind is parameter.KEYWORD_ONLY and not seen_star:
            seen_star = True
            yield "*"
        before = kind
        yield _parameter(parameter)
    if before is inspect.Parameter.POSITIONAL_ONLY:
        yield "/"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = "*" * (parameter.kind is parameter.VAR_POSITIONAL) + "**" * (parameter.kind is parameter.VAR_KEYWORD)
    text = f"{stars}{parameter.name}"
    if isinstance(parameter.annotation, str):
        text += f": {parameter.annotation}"
    if parameter.default is parameter.empty:
        return text
    return f"{text} = {parameter.default!r}" if ":" in text else f"{text}={parameter.default!r}"


def _summary(value: Any) -> str:
    return f"{_first_paragraph(value)}\n"


def _first_paragraph(value: Any) -> str:
    paragraph = (inspect.getdoc(value) or "").partition("\n\n")[0]
    return " ".join(paragraph.split())


def _unwrapped(fixture: Any) -> Any:
    return inspect.unwrap(getattr(fixture, "_fixture_function", fixture))


# The commands


def _commands() -> Iterator[str]:
    subparsers = argparse.ArgumentParser(prog="tldr-obs").add_subparsers()
    for command in (doctor, verify):
        command.add_to(subparsers)
    for name, parser in subparsers.choices.items():
        yield f"### tldr-obs {name}\n"
        yield f"{parser.description}\n"
        for action in parser._actions:  # noqa: SLF001 - argparse has no public list of a parser's options
            yield f"- `{', '.join(action.option_strings) or action.metavar}`: {action.help}"
        yield ""
        yield from _exit_codes(parser.epilog or "")
        yield ""


def _exit_codes(epilog: str) -> Iterator[str]:
    title, _, lines = epilog.partition("\n")
    yield f"{title.capitalize()}\n"
    for line in lines.splitlines():
        code, _, meaning = line.strip().partition("  ")
        yield f"- `{code}`: {meaning}"


# The metrics


def _metrics() -> Iterator[str]:
    for group, specs in GROUPS.items():
        module = sys.modules[f"tldr_observability.catalogue.{group}"]
        yield f"### {group}\n"
        yield _summary(module)
        yield "| name | kind and unit | attributes | recorded by | replicas | meaning |"
        yield "|---|---|---|---|---|---|"
        yield from map(_metric, specs)
        yield ""
        for spec in specs:
            if spec.bounds:
                yield f"- Buckets of `{spec.name}`: {', '.join(f'{bound:.10g}' for bound in spec.bounds)}"
        yield ""


def _metric(spec: MetricSpec) -> str:
    cells = (
        f"`{spec.name}`",
        f"{spec.kind}, {spec.unit}",
        ", ".join(f"`{attribute.key}`{_choices(attribute)}" for attribute in spec.attributes) or "none",
        _recorded_by(spec),
        spec.across,
        spec.description,
    )
    return f"| {' | '.join(cells)} |"


def _choices(attribute: Attribute) -> str:
    return f" ({', '.join(attribute.values)})" if attribute.values else ""


def _recorded_by(spec: MetricSpec) -> str:
    by_hand = ", ".join(f"`{method}()`" for method in spec.facade)
    if spec.owner == "service":
        return by_hand
    return f"{spec.owner}; by hand {by_hand}" if by_hand else spec.owner


def _attributes() -> Iterator[str]:
    yield "| key | argument of `bind` | meaning |"
    yield "|---|---|---|"
    meanings: dict[tuple[str, str], set[str]] = {}
    for attribute in (each for spec in ALL for each in spec.attributes):
        meanings.setdefault((attribute.key, attribute.argument), set()).add(attribute.description)
    for (key, argument), texts in sorted(meanings.items()):
        yield f"| `{key}` | `{argument}` | {'; '.join(sorted(texts))} |"


def _methods() -> Iterator[str]:
    for name, method in vars(BusinessMetrics).items():
        metrics = [f"`{spec.name}`" for spec in ALL if name in spec.facade]
        if metrics:
            yield f"- {_one_signature(name, method)} to {', '.join(metrics)}: {_first_paragraph(method)}"


if __name__ == "__main__":
    sys.exit(main())
