"""The Celery application of test_celery.py, for the test process as well as for its workers."""

from __future__ import annotations

import functools
import os
import time
from typing import Any

from celery import Celery
from celery.exceptions import Ignore, Reject
from celery.signals import task_prerun

from tldr_observability import add_user_context, context, span, traced_background_task


class SoldOutError(Exception):
    """What the shop's tasks fail with."""


def build(url: str) -> Celery:  # noqa: C901 - a list of tasks
    """Make the application, with a broker and result store of its own."""
    backend = url if url.startswith("redis:") else "cache+memory://"
    app = Celery("shop", broker=url, backend=backend, set_as_current=False)
    task = functools.partial(app.task, shared=False)
    app.conf.update(worker_prefetch_multiplier=1, result_expires=600, broker_connection_retry_on_startup=True)

    @task(name="shop.add")
    def add(a: int, b: int) -> int:
        with span("adding"):
            return a + b

    @task(name="shop.total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @task(name="shop.who")
    def who() -> dict[str, str]:
        return dict(context.attributes())

    @task(name="shop.become")
    def become(organization: str) -> None:
        add_user_context(organization_id=organization)

    @task(name="shop.fail", throws=(KeyError,))
    def fail(kind: str) -> None:
        raise KeyError(kind) if kind == "expected" else SoldOutError(kind)

    @task(name="shop.flaky", bind=True, max_retries=5)
    def flaky(self: Any, times: int) -> int:
        if self.request.retries < times:
            raise self.retry(countdown=0, exc=SoldOutError("not yet"))
        return int(self.request.retries)

    @task(name="shop.nest")
    def nest() -> str:
        return str(add.delay(1, 2).id)

    @task(name="shop.leave")
    def leave(how: str) -> None:
        match how:
            case "ignore":
                raise Ignore
            case "reject":
                raise Reject("no", requeue=False)
            case "exit":
                raise SystemExit(3)
            case "die":
                os._exit(9)

    @task(name="shop.sleep")
    def sleep(seconds: float) -> None:
        time.sleep(seconds)

    @task(name="shop.detect")
    @traced_background_task(capture_args=["stream"], capture_result=True, attributes={"shop.kind": "task"})
    def detect(stream: str) -> str:
        if stream == "broken":
            raise SoldOutError(stream)
        return f"{stream}: {measure(stream)}"

    return app


@traced_background_task
def measure(stream: str) -> int:
    """A helper that is traced as a task is, and is none."""
    return len(stream)


@task_prerun.connect(weak=False)
def authenticate(kwargs: dict[str, Any] | None = None, **_: Any) -> None:
    """Do what services do in such a handler, connected before `setup()`: learn who is asking."""
    if kwargs and "broken_handler" in kwargs:
        raise SoldOutError("the handler's")
    add_user_context(user_id="from-the-handler")
