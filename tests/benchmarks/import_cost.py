"""What importing the public names costs, as a multiple of importing OpenTelemetry's trace API alone.

    python tests/benchmarks/import_cost.py

Each round starts a fresh interpreter for either import, one after the other, so that a busy machine slows both alike.
What is compared is the median CPU time of the import statement itself: neither wall time nor the interpreter's start
counts. `--each-module` also lists what our import loads beyond OpenTelemetry's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from statistics import median

BASELINE = "import opentelemetry.trace"
OURS = "from tldr_observability import traced_service_method, metrics, span"
GOAL = 1.25

_TIMED = """
from time import process_time
start = process_time()
{statement}
print(process_time() - start)
"""
_LOADED = """
{statement}
import sys
print(*sys.modules)
"""


def measure(rounds: int) -> tuple[float, float]:
    """The median CPU seconds of the baseline import and of ours."""
    with tempfile.TemporaryDirectory() as cache:
        # Compiled once and kept apart from the source tree, which may be read-only or stale.
        env = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        for statement in (BASELINE, OURS):
            _seconds(statement, env)
        pairs = [(_seconds(BASELINE, env), _seconds(OURS, env)) for _ in range(rounds)]
    baseline, ours = zip(*pairs, strict=True)
    return median(baseline), median(ours)


def modules(statement: str) -> set[str]:
    """The names of all modules that a fresh interpreter holds after the statement."""
    return set(_run(_LOADED.format(statement=statement), dict(os.environ)).split())


def _seconds(statement: str, env: dict[str, str]) -> float:
    return float(_run(_TIMED.format(statement=statement), env))


def _run(code: str, env: dict[str, str]) -> str:
    return subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout


def main() -> int:
    """Print both prices and their ratio; with `--check`, fail when the ratio is above the goal."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=41, help="fresh interpreters of each kind (default: 41)")
    parser.add_argument("--each-module", action="store_true", help="list what ours loads beyond the baseline")
    parser.add_argument("--check", action="store_true", help=f"exit with 1 when the ratio is above {GOAL}")
    options = parser.parse_args()
    baseline, ours = measure(options.rounds)
    ratio = ours / baseline
    print(f"{BASELINE}: {baseline * 1e3:.1f} ms CPU")
    print(f"{OURS}: {ours * 1e3:.1f} ms CPU")
    print(f"import cost ratio: {ratio:.2f} (goal: at most {GOAL})")
    if options.each_module:
        print(*sorted(modules(OURS) - modules(BASELINE)), sep="\n")
    return int(options.check and ratio > GOAL)


if __name__ == "__main__":
    sys.exit(main())
