"""The documentation is true: its code runs, its output is what it shows, its links lead somewhere, nothing is left out.

What stands in front of a code block says how to take it:

* `<!-- file: NAME -->`: the block is a file, which the page's commands find in their working directory;
* `<!-- example output -->`: nothing to compare, for it differs from machine to machine;
* `<!-- exit: N -->`: the command ends with this exit status;
* `<!-- serves -->`: the command is a server: it is stopped with SIGTERM once the page's other commands have run;
* `<!-- fresh -->`: as if `setup()` had not been called before on this page;
* `<!-- command: NAME -->` (run by `.ci/run`), `<!-- takes long -->`: not run here, but the scripts exist.

A `text` block is the output of the block before it, where `...` stands for anything. Lines with `pip install` are not
run but looked at: the extra exists. An `export` holds for its block, unless it says where to send: the variable exists,
and the value is accepted.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tldr_observability
from tldr_observability import ObservabilitySettings, cli, semconv, setup
from tldr_observability.settings import PRESETS, load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tldr_observability.testing import OTLPReceiver

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))}
LANGUAGES = {"python", "bash", "text"}
PORT = "8000"
WHERE = {"LOGFIRE_TOKEN", "LOGFIRE_API_KEY", "LOGFIRE_BASE_URL"}
BLOCK = re.compile(
    r"^(?P<marks>(?:<!-- [^\n]+ -->\n+)*)```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)

RUN_BLOCKS = """
import contextlib, io, json, sys, types
page = types.ModuleType("page")
page.__file__ = "page.py"
sys.modules["page"] = page
outputs = {}
for line, fresh, source in json.load(sys.stdin):
    if fresh:
        from tldr_observability import _setup
        _setup.reset()
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile("\\n" * line + source, sys.argv[1], "exec"), vars(page))
    outputs[line] = output.getvalue()
print(json.dumps(outputs))
"""

CURL = """#!PYTHON
import argparse, http.client, sys, urllib.parse
parser = argparse.ArgumentParser()
for flag in ("-s", "-i"):
    parser.add_argument(flag, action="store_true")
parser.add_argument("-X", default="GET")
parser.add_argument("-H", action="append", default=[])
parser.add_argument("url")
asked = parser.parse_args()
url = urllib.parse.urlsplit(asked.url)
connection = http.client.HTTPConnection(url.netloc)
connection.request(asked.X, url.path, headers=dict(header.split(": ", 1) for header in asked.H))
answer = connection.getresponse()
if asked.i:
    print(f"HTTP/1.1 {answer.status} {answer.reason}", *map(": ".join, answer.getheaders()), sep="\\n", end="\\n\\n")
sys.stdout.write(answer.read().decode())
"""
"""For machines without curl: what the pages use of it."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    text: str
    line: int
    """Of its fence."""
    marks: tuple[str, ...]

    def mark(self, name: str) -> str | None:
        return next((mark.removeprefix(name).strip(": ") for mark in self.marks if mark.startswith(name)), None)

    @property
    def runs(self) -> bool:
        return not any(self.mark(name) is not None for name in ("file", "command", "takes long"))


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    return [
        Block(
            match["language"],
            match["text"],
            text.count("\n", 0, match.start("language")) + 1,
            tuple(re.findall(r"<!-- (.+?) -->", match["marks"])),
        )
        for match in BLOCK.finditer(text)
    ]


def with_language(*languages: str) -> list[str]:
    return [name for name, path in PAGES.items() if any(b.language in languages and b.runs for b in blocks(path))]


def shows(expected: str, output: str) -> bool:
    """Whether the output is the expected one; `...` stands for anything, and a clock time or an id for any other."""
    pattern = ".*?".join(map(re.escape, comparable(expected).split("...")))
    return re.fullmatch(pattern, comparable(output), re.DOTALL) is not None


def comparable(text: str) -> str:
    lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
    times = re.sub(r"\b\d\d:\d\d:\d\d\.\d{3}\b", "TIME", lines)
    return re.sub(r"\b(?:[0-9a-f]{32}|[0-9a-f]{16})\b", "ID", times)


def check_outputs(name: str, outputs: dict[int, str]) -> None:
    """Compare each text block with what the block before it has printed."""
    last: int | None = None
    for block in blocks(PAGES[name]):
        if block.language != "text":
            last = block.line if block.runs else None
        elif block.mark("example output") is None and last in outputs:
            assert shows(block.text, outputs[last]), f"{name}:{block.line} shows other than\n{outputs[last]}"


@pytest.fixture
def environment(otlp_receiver: OTLPReceiver, tmp_path: Path) -> dict[str, str]:
    """A user's environment: the commands of this installation, a token, and a backend that answers."""
    clean = {
        name: value
        for name, value in os.environ.items()
        # With CI set, Logfire's own pytest plugin takes a token for an invitation to trace the tests.
        if not name.startswith(("PYTEST", "LOGFIRE_", "OTEL_", "PYTHON", "CI"))
    }
    commands = tmp_path / "bin"
    commands.mkdir()
    if shutil.which("curl") is None:
        (commands / "curl").write_text(CURL.replace("PYTHON", sys.executable, 1))
        (commands / "curl").chmod(0o755)
    return {
        **clean,
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), clean["PATH"], str(commands))),
        "PYTHONUNBUFFERED": "1",
        "LOGFIRE_TOKEN": "test-token",
        "LOGFIRE_BASE_URL": otlp_receiver.url,
    }


@pytest.fixture
def files(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A directory with the files that the page tells its reader to make."""
    for block in blocks(PAGES[request.node.callspec.params["name"]]):
        if file := block.mark("file"):
            (tmp_path / file).write_text(block.text)
    return tmp_path


@pytest.mark.parametrize("name", with_language("python"))
def test_the_python_of_a_page_runs(name: str, files: Path, environment: dict[str, str]) -> None:
    """A reader who types a page's Python from top to bottom sees what the page shows."""
    page = [block for block in blocks(PAGES[name]) if block.language == "python" and block.runs]
    given = json.dumps([(block.line, block.mark("fresh") is not None, block.text) for block in page])
    done = subprocess.run(
        [sys.executable, "-c", RUN_BLOCKS, name],
        input=given,
        env=environment,
        cwd=files,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    check_outputs(name, {int(line): text for line, text in json.loads(done.stdout.splitlines()[-1]).items()})


@pytest.mark.parametrize("name", with_language("bash"))
def test_the_commands_of_a_page_run(name: str, files: Path, environment: dict[str, str]) -> None:
    """A reader who types a page's commands sees what the page shows, and its servers end well."""
    port = free_port()
    outputs: dict[int, str] = {}
    with servers() as running:
        for block in blocks(PAGES[name]):
            if block.language != "bash" or not block.runs:
                continue
            command = "\n".join(to_run(block)).replace(PORT, port)
            env = environment | {name: value for name, value in exports(block) if name in variables() - WHERE}
            if not command:
                continue
            if block.mark("serves") is not None:
                for server in running:
                    end(server)
                running[:] = [subprocess.Popen(shlex.split(command, comments=True), env=env, cwd=files)]
                wait_for(port)
                continue
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                env=env,
                cwd=files,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=50,
                check=False,
            )
            assert done.returncode == int(block.mark("exit") or 0), f"{name}:{block.line}\n{done.stdout}"
            outputs[block.line] = done.stdout.replace(port, PORT)
        for server in running:
            assert end(server) in (0, -signal.SIGTERM)
    check_outputs(name, outputs)


class servers:  # noqa: N801 - reads as a statement
    """What is still running at the end of the block ends with it."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> list[subprocess.Popen[bytes]]:
        return self.running

    def __exit__(self, *_: object) -> None:
        for server in self.running:
            if server.poll() is None:
                server.kill()
                server.wait()


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def wait_for(port: str) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(port))) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")


def end(server: subprocess.Popen[bytes]) -> int:
    server.terminate()
    return server.wait(10)


def exports(block: Block) -> list[tuple[str, str]]:
    """The variables that a command block sets."""
    return re.findall(r"^export ((?:LOGFIRE|OTEL)_\w+)=(\S+)", block.text, re.MULTILINE)


def to_run(block: Block) -> Iterator[str]:
    """The lines of a command block that are run; the others are only looked at."""
    for line in block.text.splitlines():
        if not re.match(r"\s*(export|unset|pip install|#|$)", line):
            yield line


def extras() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, list[str]] = project["optional-dependencies"]
    return found


def variables() -> set[str]:
    """Every variable that a setting is read from."""
    choices = (field.validation_alias.choices for field in ObservabilitySettings.model_fields.values())  # type: ignore[union-attr]
    return {str(variable) for each in choices for variable in each}


def text_of(*names: str) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for name, path in PAGES.items() if not names or name in names)


def test_only_blocks_that_are_checked_are_there() -> None:
    """Every fenced block has a language that this module knows how to take, and every mark is one that it knows."""
    known = ("file:", "example output", "exit:", "serves", "fresh", "command:", "takes long")
    for name, path in PAGES.items():
        fences = re.findall(r"^```(\w*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(fences[::2]) <= LANGUAGES, name
        assert len(fences) == 2 * len(blocks(path)), name
        for block in blocks(path):
            assert all(mark.startswith(known) for mark in block.marks), f"{name}:{block.line}"


@pytest.mark.parametrize("name", list(PAGES))
def test_what_is_installed_and_set_exists(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pip install` names extras that there are; `export` names variables that are read, with accepted values."""
    for block in blocks(PAGES[name]):
        if block.language != "bash":
            continue
        for listed in re.findall(r"tldr-observability\[([\w,-]+)\]", block.text):
            assert set(listed.split(",")) <= set(extras()), f"{name}:{block.line}"
        if not block.runs:
            assert all((ROOT / script).exists() for script in re.findall(r"[\w/]+\.py\b", block.text)), block.text
        for variable, value in exports(block):
            assert variable in variables() or f"`{variable}`" in text_of("docs/reference/settings.md"), variable
            if variable in variables() and block.mark("exit") is None:
                with monkeypatch.context() as patched:
                    patched.setenv(variable, value)
                    load()


def test_the_readme_shows_the_quickstart() -> None:
    """The README's example is examples/quickstart/shop.py, which has docstrings beside."""
    (shown,) = (block.text for block in blocks(ROOT / "README.md") if block.language == "python")
    assert without_docstrings(shown) == without_docstrings((ROOT / "examples/quickstart/shop.py").read_text())


def without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(
            node
        ):
            del node.body[0]
    return ast.dump(tree)


LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?://)([^)\s]*)\)")


@pytest.mark.parametrize("name", [*PAGES, "CHANGELOG.md", "tests/benchmarks/README.md"])
def test_links_lead_somewhere(name: str) -> None:
    """Every relative link of a page names a file that there is, and a heading in it."""
    page = ROOT / name
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{name}: {link}"
        assert not anchor or anchor in anchors(target), f"{name}: {link}"


def anchors(page: Path) -> set[str]:
    """The anchors that a forge makes of a page's headings."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index() -> None:
    """docs/README.md leads to every page."""
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in LINK.findall((DOCS / "README.md").read_text())}
    assert linked >= {path for path in PAGES.values() if path not in (ROOT / "README.md", DOCS / "README.md")}


@pytest.mark.parametrize("name", sorted({f"docs/{path.relative_to(DOCS)}" for path in (DOCS / "how-to").glob("*.md")}))
def test_a_how_to_has_its_parts(name: str) -> None:
    """A how-to has an outcome, the shortest way, variants, how to see that it works, and what to do where not."""
    assert "**Outcome:**" in text_of(name)
    assert {"shortest-way", "variants", "verify", "troubleshooting"} <= anchors(PAGES[name])


def test_the_generated_parts_are_up_to_date() -> None:
    """Settings and public names are described as the source has them; `python docs/generate.py` renews the pages."""
    spec = spec_from_file_location("generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    generate = module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert generate.stale() == {}
    assert generate.main(["--check"]) == 0


def test_every_public_name_is_described_and_used() -> None:
    """Each name of the package has a heading in the reference and is told of on a page that is written by hand."""
    by_hand = text_of(*(name for name in PAGES if name != "docs/reference/api.md"))
    for name in tldr_observability.__all__:
        assert name.lower() in anchors(DOCS / "reference/api.md")
        assert re.search(rf"\b{name}\b", by_hand), name


def test_every_setting_is_described() -> None:
    """Each variable is in the table of settings; each setting is told of in the how-to, or linked from it."""
    table = text_of("docs/reference/settings.md")
    for variable in variables():
        assert f"`{variable}`" in table
    assert "../reference/settings.md#presets" in text_of("docs/how-to/configure.md")


def test_the_presets_are_a_table() -> None:
    """Each environment with a preset has a row with each of its values."""
    _, _, after = text_of("docs/reference/settings.md").partition("## Presets")
    rows = {row[0].strip("` "): row[1:] for line in after.splitlines() if (row := line.strip("|").split("|"))}
    header = [cell.strip("` ") for cell in rows["environment"]]
    for environment, preset in PRESETS.items():
        shown = dict(zip(header, (cell.strip("` ") for cell in rows[environment]), strict=True))
        assert shown == {setting: str(value).lower() for setting, value in preset.items()}


def test_every_extra_is_described() -> None:
    """Each extra of pyproject.toml is told of."""
    for extra in extras():
        assert f"`{extra}`" in text_of("docs/how-to/deploy.md"), extra


def test_every_command_is_described() -> None:
    """Each command of `tldr-obs` and each of its options is in the reference."""
    reference = text_of("docs/reference/api.md")
    parsers = (action for action in cli._parser()._actions if isinstance(action, argparse._SubParsersAction))
    commands = {name: parser for action in parsers for name, parser in action.choices.items()}
    assert {"doctor", "verify"} <= set(commands)
    for name, parser in commands.items():
        assert f"### tldr-obs {name}" in reference
        for action in parser._actions:
            assert f"`{', '.join(action.option_strings) or action.metavar}`" in reference


def test_what_is_emitted_is_described(telemetry) -> None:
    """Every metric, event and attribute that a service with everything on emits is in the reference."""
    emit_everything()
    described = set(re.findall(r"`([\w.]+)`", text_of("docs/reference/telemetry.md", "docs/reference/metrics.md")))
    resource = set()
    for span in telemetry.spans:
        resource |= set(span.resource)
        keys = {re.sub(r"(http\.(?:request|response)\.header)\..*", r"\1", key) for key in span.attributes}
        assert keys <= described | {"item", "quantity", "…"}, keys - described
    for log in telemetry.logs:
        assert log.event_name in described | {"order.placed"}
        assert set(log.attributes) <= described | {"item"}, set(log.attributes) - described
    names = {metric.name for metric in telemetry.metrics}
    assert names <= described, names - described
    assert {"http.server.request.duration", "tldr.function.duration", "otel.sdk.exporter.span.exported"} <= names
    assert {key for key in resource if not key.startswith(("process.", "host.", "os.", "telemetry."))} <= described


def emit_everything() -> None:
    import asyncio

    import httpx
    from fastapi import FastAPI

    from tldr_observability import add_processing_context, add_user_context, log_event, span, timed, traced_use_case

    app = FastAPI()

    @timed
    @traced_use_case(capture_args=["item"], capture_result=True, slow_threshold=0)
    def place(item: str) -> str:
        add_processing_context("stream", "batch", "platform", "stage")
        with span("pack {quantity}", quantity=1):
            log_event("order.placed", item=item)
        return item

    @app.post("/orders/{item}")
    def order(item: str) -> str:
        add_user_context("organization", "user", "key")
        if item == "nothing":
            raise ValueError(item)
        return place(item)

    setup(app=app)

    async def requests() -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            for item in ("tea", "nothing"):
                await client.post(f"/orders/{item}?gift=1", json={"note": "hello"})

    asyncio.run(requests())


@pytest.fixture
def telemetry_settings() -> dict[str, object]:
    """Everything that can be captured."""
    return {"capture_headers": True, "capture_body": True, "project_name": "docs", "service_name": "shop"}


def test_the_attributes_of_ours_are_described() -> None:
    """Each key of `semconv` is in the reference, and each `tldr.` name of the reference is in the source."""
    keys = {value for name, value in vars(semconv).items() if name.isupper() and isinstance(value, str)}
    described = set(re.findall(r"`([\w.]+)`", text_of("docs/reference/telemetry.md", "docs/reference/metrics.md")))
    assert keys - {semconv.SCOPE_NAME} <= described, keys - described
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tldr_observability").rglob("*.py"))
    assert not [key for key in described if re.match(r"tldr\.\w", key) and f'"{key}"' not in source]


def test_every_part_is_on_the_architecture_page() -> None:
    """Each module and package below the root has its line."""
    package = Path(tldr_observability.__file__).parent
    parts = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert {f"| `{part}` |" for part in parts - {"__init__"}} <= set(
        re.findall(r"^\| `\w+` \|", text_of("docs/explanation/architecture.md"), re.MULTILINE)
    )


def test_the_changelog_has_this_version() -> None:
    """CHANGELOG.md has a heading for the version."""
    assert re.search(
        rf"^## \[{re.escape(tldr_observability.__version__)}\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
