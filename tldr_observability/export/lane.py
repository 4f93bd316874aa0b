"""One signal's way to the backend: a thread that sleeps, sends, waits, tries again and answers flushes in time.

Lanes are independent: a backend that can't take metrics, or a metric callback that hangs, holds up no trace. A lane
wakes up at a tick, for a full batch, at the end of a back-off and when somebody asks for a flush.
"""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from opentelemetry.context import (
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,
    _SUPPRESS_INSTRUMENTATION_KEY,
    Context,
    attach,
)

from tldr_observability import guard
from tldr_observability.export.bell import Bell
from tldr_observability.export.deliver import Answer
from tldr_observability.export.tally import Tally

if TYPE_CHECKING:
    from tldr_observability.export.deliver import Delivery, Outcome
    from tldr_observability.export.destination import Destination
    from tldr_observability.export.encode import Body
    from tldr_observability.export.trouble import Trouble

__all__ = ["Lane"]

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 8.0
_DENIED_PAUSE_SECONDS = 60.0
_MOST_ATTEMPTS_ON_FAULT = 10
"""A backend that fails on one body again and again (500) must not keep all that is behind it waiting."""
_HURRIED_SECONDS = 0.05
_BOOKS_SECONDS = 1.0  # the encoding of one batch


class Lane:
    """Sends one signal's requests in order; what fails in passing is kept, byte for byte, and tried again.

    Subclasses know where the requests come from: `fill` makes them, `queued` counts what would go into them.

    Args:
        signal: `traces`, `logs` or `metrics`.
        destination: where to.
        delivery: the connection, the lane's own.
        trouble: where to say what hinders it.
        interval: seconds between ticks.
    """

    def __init__(
        self, signal: str, destination: Destination, delivery: Delivery, trouble: Trouble, interval: float
    ) -> None:
        self.signal = signal
        self.tally = Tally()
        self._destination = destination
        self._delivery = delivery
        self._trouble = trouble
        self._interval = interval
        self._next_tick = time.monotonic() + interval
        self._wake = Bell()
        self._unsent: list[Body] = []
        self._held_until = 0.0
        self._backoff = 0.0
        self._attempts = 0
        self._books = threading.Lock()
        """Held while items change from waiting to unsent to settled, by the lane's thread and by `close`; never while
        something is waited for, and never by a thread that a signal handler's flush could have interrupted."""
        self._progress = threading.Condition()
        self._asked = 0
        self._answered = 0
        self._last_flush_delivered = True
        self._thread: threading.Thread | None = None
        self.closed = False

    # For subclasses

    def queued(self) -> int:
        """How many items wait to be made into requests."""
        return 0

    def discard_queued(self) -> int:
        """Let go of what is queued; returns how many items that was."""
        return 0

    def fill(self, *, tick: bool) -> bool:  # noqa: ARG002 - the subclasses' interface
        """Make the next requests of what waits: of all of it at a tick, else of full batches; False when done."""
        return False

    def begin_round(self, *, tick: bool) -> None:
        """Note how much `fill` is to take at most, so that what arrives meanwhile waits for the next round."""

    # What the host's threads call

    def waiting(self) -> int:
        """How many items are queued or under way."""
        return self.queued() + sum(body.size for body in list(self._unsent))

    def start(self) -> None:
        """Start the thread if it is not running."""
        with self._progress:
            if self.closed or (self._thread is not None and self._thread.is_alive()):
                return
            thread = threading.Thread(target=self._run, name=f"tldr-observability-{self.signal}", daemon=True)
            with suppress(RuntimeError):  # no thread to be had: the next item or flush tries again
                thread.start()
                self._thread = thread

    @property
    def is_running(self) -> bool:
        """Whether there is a thread."""
        return self._thread is not None

    def ask(self) -> int:
        """Have everything that waits delivered now; `answer` waits for the returned ticket."""
        self.start()
        with self._progress:
            self._asked += 1
            ticket = self._asked
        self._wake.ring()
        return ticket

    def answer(self, ticket: int, deadline: float) -> bool:
        """Wait for a ticket until `deadline` on the monotonic clock: whether all that waited has been delivered."""
        with self._progress:
            while self._answered < ticket and not self.closed:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                self._progress.wait(remaining)
            return self._last_flush_delivered and not self.closed

    def hurry(self) -> None:
        """Tick as often as makes sense: the process is about to end, nobody knows when."""
        self._interval = _HURRIED_SECONDS
        self._next_tick = 0.0
        self._wake.ring()

    def close(self) -> int:
        """End, and count what is left as dropped; returns how many items that is. A second call finds nothing."""
        with self._progress:
            self.closed = True
            self._progress.notify_all()
        self._wake.ring()
        if not self._books.acquire(timeout=_BOOKS_SECONDS):
            return 0
        try:
            lost = self.discard_queued() + sum(body.size for body in self._unsent)
            self._unsent.clear()
            self.tally.refuse("shutdown", lost)
        finally:
            self._books.release()
        return lost

    # What the lane's thread does

    def _run(self) -> None:
        # Our own requests must not be traced, and what is current where the thread starts does not concern it.
        attach(Context({_SUPPRESS_INSTRUMENTATION_KEY: True, _SUPPRESS_HTTP_INSTRUMENTATION_KEY: True}))
        while not self.closed:
            self._sleep()
            asked = self._asked
            flushing = asked > self._answered
            delivered = False
            try:
                delivered = self._round(flushing=flushing)
            except BaseException as error:  # noqa: BLE001 - not even a SystemExit of a metric callback ends the lane
                self._held_until = time.monotonic() + _FIRST_BACKOFF_SECONDS
                guard.report("delivering telemetry", error)
            finally:
                if flushing:
                    with self._progress:
                        self._answered = asked
                        self._last_flush_delivered = delivered
                        self._progress.notify_all()

    def _sleep(self) -> None:
        now = time.monotonic()
        self.mute(self._held_until > now)
        until = min(self._next_tick, self._held_until) if self._held_until > now else self._next_tick
        if self._asked > self._answered or (self._unsent and self._held_until <= now):
            until = now
        self._wake.wait(until - now)

    def mute(self, muted: bool) -> None:
        """Say whether a queue that fills is a reason to wake up."""

    def _round(self, *, flushing: bool) -> bool:
        """Send what is due; whether nothing had to stay or was lost."""
        now = time.monotonic()
        tick = flushing or now >= self._next_tick
        if tick:
            self._next_tick = now + self._interval
        if now < self._held_until and not flushing:
            return False
        lost_before = self.tally.given_up
        self.begin_round(tick=tick)
        while self._send():
            if not self.fill(tick=tick):
                return not self.closed and self.tally.given_up == lost_before
        return False

    def _send(self) -> bool:
        """Send the unsent requests in order; False when some have to wait."""
        while self._unsent:
            if self.closed:
                return False
            body = self._unsent[0]
            outcome = self._delivery.post(self.signal, body.data)
            with self._books:
                if self.closed:  # the deadline passed meanwhile, and this request has been counted as dropped
                    return False
                if outcome.answer is Answer.FAULT and self._attempts + 1 >= _MOST_ATTEMPTS_ON_FAULT:
                    outcome = outcome._replace(answer=Answer.REFUSED)
                if outcome.answer in (Answer.RETRY, Answer.FAULT):
                    self._hold(outcome)
                    return False
                self._attempts = 0
                halves = body.halves(self.tally) if outcome.answer is Answer.TOO_LARGE else None
                self._unsent[:1] = halves or ()
                if halves is None:
                    self._settle(body, outcome)
            if outcome.answer is Answer.DENIED:
                return False
        return True

    def _hold(self, outcome: Outcome) -> None:
        self._attempts += 1
        self._backoff = min(max(self._backoff * 2, _FIRST_BACKOFF_SECONDS), _LONGEST_BACKOFF_SECONDS)
        jittered = self._backoff * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, guards nothing
        self._held_until = time.monotonic() + max(jittered, outcome.retry_after or 0.0)
        self._trouble.begin(
            self.signal,
            "away",
            f"Telemetry can't be delivered to {self._destination.name} ({outcome.reason}). It is kept and tried again "
            f"in the background; your service is not affected.",
        )

    def _settle(self, body: Body, outcome: Outcome) -> None:
        """Count a request that needs no further try, and say what is wrong with it or that all is well again."""
        name = self._destination.name
        self._backoff = self._held_until = 0.0
        match outcome.answer:
            case Answer.DELIVERED:
                rejected = min(max(outcome.rejected, 0), body.size)
                self.tally.export(body.size - rejected)
                self.tally.drop("rejected", rejected)
                if rejected:
                    why = outcome.reason or "it gave no reason"
                    self._trouble.begin(self.signal, "partial", f"{name} took only part of a request: {why}.")
                else:
                    self._trouble.end(self.signal)
            case Answer.DENIED:
                self.tally.drop("rejected", body.size)
                self._held_until = time.monotonic() + _DENIED_PAUSE_SECONDS
                self._trouble.begin(
                    self.signal,
                    "denied",
                    f"{name} refuses our credentials ({outcome.reason}), so telemetry is dropped. Check "
                    f"{self._destination.token_variable}; your service is not affected.",
                )
            case _:
                self.tally.drop("too_large" if outcome.answer is Answer.TOO_LARGE else "rejected", body.size)
                self._trouble.begin(
                    self.signal,
                    "refused",
                    f"{name} refuses some telemetry ({outcome.reason}); it is dropped, your service is not affected.",
                )
