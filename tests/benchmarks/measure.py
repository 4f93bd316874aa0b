"""Compares peers fairly: each in a process of its own, rounds interleaved, ratios taken inside a round, medians told.

A benchmark is one script with two faces. `compare` starts it again once a peer, with `--peer NAME`; there it prepares
the peer and hands its cases to `serve`.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Self

__all__ = ["Figures", "Sample", "Table", "compare", "options", "serve"]

_CONFIGURING = ("LOGFIRE_", "OTEL_", "FASTAPI_OTEL_")


class Sample(NamedTuple):
    """What one run of a case cost, in microseconds of CPU time per call."""

    call: float
    """Of the calling thread."""
    cpu: float
    """Of the whole process, with the delivery of what was recorded."""


def options(doc: str) -> argparse.Namespace:
    """The command line that all benchmarks share."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="runs of every case by every peer (default: 9)")
    parser.add_argument("--quick", action="store_true", help="three rounds: for a first look")
    parser.add_argument("--only", default="", help="only the cases whose names contain this text")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--sink", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds = 3
    return chosen


# The peer's process


def serve(cases: Mapping[str, Callable[[int], object]], flush: Callable[[], object]) -> None:
    """Run cases as the parent process asks for them.

    Args:
        cases: each runs the given number of calls in the calling thread.
        flush: delivers what they have recorded.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not come between the answers
    print("ready", file=answers)
    for line in sys.stdin:
        name, calls = line.rstrip("\n").split("\t")
        print(*_run(cases[name], int(calls), flush), file=answers)


def _run(case: Callable[[int], object], calls: int, flush: Callable[[], object]) -> Sample:
    flush()
    before = time.process_time_ns()
    flush()
    idle_flush = time.process_time_ns() - before  # metrics, mostly, which are due once a minute and not once a run
    gc.collect()
    cpu_before, call_before = time.process_time_ns(), time.thread_time_ns()
    case(calls)
    call = time.thread_time_ns() - call_before
    flush()
    cpu = time.process_time_ns() - cpu_before - idle_flush
    return Sample(call / calls / 1e3, cpu / calls / 1e3)


# The parent's process


class _Process:
    def __init__(self, script: str, peer: str, sink: str, variables: Mapping[str, str], directory: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_CONFIGURING)}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(script).resolve()), "--peer", peer, "--sink", sink],
            env={**inherited, **variables},
            cwd=directory,  # Logfire reads settings and credentials from the working directory
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.peer = peer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"peer {self.peer!r} has ended; see above")
        return line.rstrip("\n")

    def sample(self, case: str, calls: int) -> Sample:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{case}\t{calls}\n")
        return Sample(*map(float, self.answer().split()))


class Figures:
    """All samples of a comparison, by case and peer, in the order of the rounds."""

    def __init__(self) -> None:
        self.samples: dict[tuple[str, str], list[Sample]] = {}

    def __contains__(self, case: object) -> bool:
        """Whether the case was run."""
        return any(case == known for known, _ in self.samples)

    def added(self, case: str, peer: str, figure: str, baseline: str | None) -> float:
        """The median of what the peer costs beyond the baseline."""
        return median(self._beyond(case, peer, figure, baseline))

    def ratio(self, case: str, peer: str, other: str, figure: str, baseline: str | None) -> float:
        """The median of what the peer costs beyond the baseline, as a multiple of what the other does."""
        pairs = zip(
            self._beyond(case, peer, figure, baseline), self._beyond(case, other, figure, baseline), strict=True
        )
        return median(mine / theirs for mine, theirs in pairs)

    def _beyond(self, case: str, peer: str, figure: str, baseline: str | None) -> list[float]:
        values = [getattr(sample, figure) for sample in self.samples[case, peer]]
        if baseline is None:
            return values
        base = [getattr(sample, figure) for sample in self.samples[case, baseline]]
        return [value - each for value, each in zip(values, base, strict=True)]


def compare(
    script: str, peers: Mapping[str, Mapping[str, str]], calls: Mapping[str, int], chosen: argparse.Namespace
) -> Figures:
    """Run every case by every peer, after one round of warming up.

    Args:
        script: the benchmark itself.
        peers: by name, the environment variables that each is started with.
        calls: by name of the case, how many make one run.
        chosen: the command line's options.
    """
    figures = Figures()
    cases = [case for case in calls if chosen.only in case]
    if not cases:
        return figures
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        sink = stack.enter_context(_Process(str(Path(__file__).with_name("sink.py")), "", "", {}, directory)).answer()
        processes = [
            stack.enter_context(_Process(script, peer, sink, variables, directory)) for peer, variables in peers.items()
        ]
        for process in processes:
            process.answer()  # it is ready
        for turn in range(-1, chosen.rounds):
            for case, process in _turns(cases, processes, turn):
                sample = process.sample(case, calls[case])
                if turn >= 0:
                    figures.samples.setdefault((case, process.peer), []).append(sample)
    return figures


def _turns(cases: Iterable[str], processes: Sequence[_Process], turn: int) -> Iterator[tuple[str, _Process]]:
    """Every case by every process; in each round another one begins."""
    start = turn % len(processes)
    for case in cases:
        for process in (*processes[start:], *processes[:start]):
            yield case, process


class Table:
    """Prints figures in columns."""

    def __init__(self, title: str, *columns: str) -> None:
        self._width = 44
        print(f"\n{title:{self._width}}", *(f"{column:>14}" for column in columns))

    def row(self, name: str, *cells: float) -> None:
        """Print one line, which may end early."""
        print(f"  {name:{self._width - 2}}", *(f"{cell:>14.{2 if abs(cell) >= 1 else 3}f}" for cell in cells))
