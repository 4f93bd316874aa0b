"""What `celery -A celery_worker worker` loads: the application of test_celery.py, observed."""

from __future__ import annotations

import os

from celery.signals import worker_init, worker_process_init
from celery_shop import build

from tldr_observability import setup

app = build(os.environ["SHOP_BROKER"])
app.conf.beat_schedule = {"often": {"task": "shop.add", "schedule": 0.5, "args": (1, 2)}}
setup(celery=app)


@worker_init.connect(weak=False)
@worker_process_init.connect(weak=False)
def again(**_: object) -> None:
    """Set up where other libraries want it, too."""
    setup(celery=app)
