"""One signal's way to the backend: a thread that sleeps, sends, waits, tries again and answers flushes in time.

Lanes are independent: a backend that can't take metrics, or a metric callback that hangs, holds up no trace. A lane
wakes up at a tick, for a full batch, at the end of a back-off and when somebody asks for a flush.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
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
_HURRY_LASTS_SECONDS = 30.0
_MOST_FAILED_REMEMBERED = 64
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
        self._faults = 0
        self._books = threading.Lock()
        """Held while items change from waiting to unsent to settled, by the lane's thread and by `close`; never while
        something is waited for, and never by a thread that a signal handler's flush could have interrupted."""
        self._progress = threading.Condition()
        self._asked = 0
        self._answered = 0
        self._lost_at: dict[int, int] = {}
        """By ticket that is not answered yet: how much had been given up when it was asked for."""
        self._failed: deque[range] = deque(maxlen=_MOST_FAILED_REMEMBERED)
        """The tickets whose answer was no."""
        self._hurried_until = 0.0
        self._thread: threading.Thread | None = None
        self.closed = False

    # For subclasses

    hurried = 0.05
    """Seconds between ticks while the process is about to end."""

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
            present = self._thread
            if self.closed or (present is not None and (present.ident is None or present.is_alive())):
                return
            # Known before it runs: a signal handler that flushes meanwhile must not start a second one.
            self._thread = threading.Thread(target=self._run, name=f"tldr-observability-{self.signal}", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no thread to be had: the next item or flush tries again
                self._thread = None

    def ask(self) -> int:
        """Have everything that waits delivered now; `answer` waits for the returned ticket."""
        self.start()
        with self._progress:
            ticket = self._asked + 1
            self._lost_at[ticket] = self.tally.given_up
            self._asked = ticket  # last, for the lane's thread looks at it without the lock
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
            return self._answered >= ticket and not any(ticket in failed for failed in self._failed)

    def hurry(self) -> None:
        """Tick as often as makes sense for a while: the process is about to end, nobody knows when."""
        self._hurried_until = time.monotonic() + _HURRY_LASTS_SECONDS
        self._next_tick = 0.0
        self._wake.ring()

    def close(self) -> int:
        """End, and count what is left as dropped; returns how many items that is. A second call finds nothing."""
        with self._progress:
            self.closed = True
            self._progress.notify_all()
        self._wake.ring()
        return self._write_off()

    def _write_off(self) -> int:
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
                delivered = self._round(self._lost_before(asked), flushing=flushing)
            except BaseException as error:  # noqa: BLE001 - not even a SystemExit of a metric callback ends the lane
                self._held_until = time.monotonic() + _FIRST_BACKOFF_SECONDS
                guard.report("delivering telemetry", error)
            finally:
                if flushing:
                    self._give_answer(asked, delivered=delivered)
        self._write_off()  # should `close` have come in the middle of something long

    def _lost_before(self, asked: int) -> int:
        """How much had been given up before the first of the tickets that this round answers."""
        known = [self._lost_at.pop(ticket) for ticket in range(self._answered + 1, asked + 1)]
        return min(known, default=self.tally.given_up)

    def _give_answer(self, asked: int, *, delivered: bool) -> None:
        with self._progress:
            if not delivered:
                self._failed.append(range(self._answered + 1, asked + 1))
            self._answered = asked
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

    def _round(self, lost_before: int, *, flushing: bool) -> bool:
        """Send what is due; whether nothing had to stay, and no more is lost than before."""
        now = time.monotonic()
        tick = flushing or now >= self._next_tick
        if tick:
            self._next_tick = now + (self.hurried if now < self._hurried_until else self._interval)
        if now < self._held_until and not flushing:
            return False
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
                if outcome.answer is Answer.FAULT and self._faults + 1 >= _MOST_ATTEMPTS_ON_FAULT:
                    outcome = outcome._replace(answer=Answer.REFUSED)
                halves = body.halves(self.tally) if outcome.answer is Answer.TOO_LARGE else None
                if outcome.answer in (Answer.RETRY, Answer.FAULT):
                    self._hold(outcome)
                else:
                    self._unsent[:1] = halves or ()
                    if halves is None:
                        self._settle(body, outcome)
            if halves is None:
                self._tell(outcome)  # with the books closed: whoever handles our log records may take his time
            if outcome.answer in (Answer.RETRY, Answer.FAULT, Answer.DENIED):
                return False
        return True

    def _hold(self, outcome: Outcome) -> None:
        self._faults += outcome.answer is Answer.FAULT
        self._backoff = min(max(self._backoff * 2, _FIRST_BACKOFF_SECONDS), _LONGEST_BACKOFF_SECONDS)
        jittered = self._backoff * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, guards nothing
        self._held_until = time.monotonic() + max(jittered, outcome.retry_after or 0.0)

    def _settle(self, body: Body, outcome: Outcome) -> None:
        """Count a request that needs no further try."""
        self._backoff = self._held_until = 0.0
        self._faults = 0
        match outcome.answer:
            case Answer.DELIVERED:
                rejected = min(max(outcome.rejected, 0), body.size)
                self.tally.export(body.size - rejected)
                self.tally.drop("rejected", rejected)
            case Answer.DENIED:
                self.tally.drop("rejected", body.size)
                self._held_until = time.monotonic() + _DENIED_PAUSE_SECONDS
            case Answer.TOO_LARGE:
                self.tally.drop("too_large", body.size)
            case _:
                self.tally.drop("rejected", body.size)

    def _tell(self, outcome: Outcome) -> None:
        """Say what stands in the way, or that nothing does any more."""
        name, why = self._destination.name, outcome.reason
        match outcome.answer:
            case Answer.DELIVERED if not outcome.rejected:
                self._trouble.end(self.signal)
                return
            case Answer.DELIVERED:
                kind = "partial"
                message = f"{name} took only part of a request: {why or 'it gave no reason'}."
            case Answer.RETRY | Answer.FAULT:
                kind = "away"
                message = (
                    f"Telemetry can't be delivered to {name} ({why}). It is kept and tried again in the background; "
                    f"your service is not affected."
                )
            case Answer.DENIED:
                kind = "denied"
                message = (
                    f"{name} refuses our credentials ({why}), so telemetry is dropped. Check "
                    f"{self._destination.token_variable}; your service is not affected."
                )
            case _:
                kind = "refused"
                message = f"{name} refuses some telemetry ({why}); it is dropped, your service is not affected."
        self._trouble.begin(self.signal, kind, message)
