"""What must work where the wheel is installed with its core dependencies only, and the source is out of reach."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import tldr_observability

HOSTS = {"celery", "fastapi", "gunicorn", "pytest", "redis", "sqlalchemy", "starlette", "uvicorn"}
# These need an extra, or pytest, which is not here; `__main__` would run the command.
OPTIONAL = ("tldr_observability.integrations", "tldr_observability.testing.plugin", "tldr_observability.cli.__main__")

package = Path(tldr_observability.__file__).parent
assert package.is_relative_to(sys.prefix), f"imported from {package}, not from the wheel"
assert (package / "py.typed").is_file()
assert not [name for name in HOSTS if find_spec(name)], "not a bare environment"

for name in tldr_observability.__all__:
    getattr(tldr_observability, name)
for module in pkgutil.walk_packages([str(package)], "tldr_observability."):
    if not module.name.startswith(OPTIONAL):
        importlib.import_module(module.name)

from tldr_observability import setup, span, traced_service_method  # noqa: E402 - only now: each name had its own turn


@traced_service_method(capture_args=True)
def double(number: int) -> int:
    """Stands for a user's function."""
    return 2 * number


observability = setup()
with span("smoke"):
    assert double(21) == 42
observability.shutdown(timeout=2)

loaded = {name.partition(".")[0] for name in sys.modules}
assert loaded.isdisjoint(HOSTS), f"loaded {loaded & HOSTS}"

doctor = [str(Path(sys.prefix, "bin", "tldr-obs")), "doctor", "--json"]
document = json.loads(subprocess.run(doctor, check=True, capture_output=True, text=True, timeout=60).stdout)
assert document
print(f"{len(tldr_observability.__all__)} public names, setup(), a span and the doctor work in a bare environment")
