"""One signal's way to the backend: what is waiting, what is encoded and unsent, and until when to hold back."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from tldr_observability.export import encode
from tldr_observability.export.deliver import Answer
from tldr_observability.export.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tldr_observability.export.deliver import Delivery, Outcome
    from tldr_observability.export.destination import Destination
    from tldr_observability.export.encode import Body
    from tldr_observability.export.queue import Queue
    from tldr_observability.export.trouble import Trouble

__all__ = ["Lane"]

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 8.0
_DENIED_PAUSE_SECONDS = 60.0


class Lane:
    """Sends one signal's requests in order; a request that fails in passing is kept, byte for byte, and tried again.

    Lanes are independent: a backend that can't take metrics still gets its traces.
    """

    def __init__(self, signal: str, destination: Destination) -> None:
        self.signal = signal
        self.tally = Tally()
        self.unsent: list[Body] = []
        self.held_until = 0.0
        """On the monotonic clock: no request before it."""
        self._backoff = 0.0
        self._destination = destination

    def unsent_count(self) -> int:
        """How many items the unsent requests carry."""
        return sum(body.size for body in list(self.unsent))

    def add(self, items: Sequence[Any]) -> None:
        """Encode items for sending."""
        self.tally.accept(len(items))
        self.unsent += encode.encode(self.signal, items, self.tally)

    def drain(self, queue: Queue[Any], first: list[Any], send: Callable[[], bool], *, tick: bool) -> None:
        """Send what waits, `first` first: all of it at a tick, else full batches; what arrives meanwhile waits."""
        left = len(queue)
        while first or (left and (tick or left >= queue.wake_at)):
            batch, first = first[: queue.wake_at], first[queue.wake_at :]
            taken = queue.take(min(left, queue.wake_at - len(batch)))
            left -= len(taken)
            self.add([*batch, *taken])
            if not send():
                return

    def send(self, delivery: Delivery, trouble: Trouble, is_closed: Callable[[], bool]) -> bool:
        """Send the unsent requests; False when some have to wait."""
        while self.unsent:
            if is_closed():
                return False
            body = self.unsent[0]
            outcome = delivery.post(self.signal, body.data)
            if is_closed():  # the deadline passed meanwhile, and what was unsent then has been counted as dropped
                return False
            if outcome.answer is Answer.RETRY:
                self._hold(outcome, trouble)
                return False
            del self.unsent[0]
            if outcome.answer is Answer.TOO_LARGE and len(body.items) > 1:
                middle = len(body.items) // 2
                for half in (body.items[middle:], body.items[:middle]):
                    self.unsent[:0] = encode.encode(self.signal, half, self.tally)
                continue
            self._settle(body, outcome, trouble)
        return time.monotonic() >= self.held_until

    def _hold(self, outcome: Outcome, trouble: Trouble) -> None:
        self._backoff = min(max(self._backoff * 2, _FIRST_BACKOFF_SECONDS), _LONGEST_BACKOFF_SECONDS)
        jittered = self._backoff * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, guards nothing
        self.held_until = time.monotonic() + (jittered if outcome.retry_after is None else outcome.retry_after)
        trouble.begin(
            self.signal,
            "away",
            f"Telemetry can't be delivered to {self._destination.name} ({outcome.reason}). It is kept and tried again "
            f"in the background; your service is not affected.",
        )

    def _settle(self, body: Body, outcome: Outcome, trouble: Trouble) -> None:
        """Count a request that needs no further try, and say what is wrong with it or that all is well again."""
        name = self._destination.name
        self._backoff = 0.0
        match outcome.answer:
            case Answer.DELIVERED:
                self.tally.export(body.size - outcome.rejected)
                self.tally.drop("rejected", outcome.rejected)
                if outcome.rejected:
                    why = outcome.reason or "it gave no reason"
                    trouble.begin(self.signal, "partial", f"{name} took only part of a request: {why}.")
                else:
                    trouble.end(self.signal)
            case Answer.DENIED:
                self.tally.drop("rejected", body.size)
                self.held_until = time.monotonic() + _DENIED_PAUSE_SECONDS
                trouble.begin(
                    self.signal,
                    "denied",
                    f"{name} refuses our credentials ({outcome.reason}), so telemetry is dropped. Check "
                    f"{self._destination.token_variable}; your service is not affected.",
                )
            case _:
                self.tally.drop("too_large" if outcome.answer is Answer.TOO_LARGE else "rejected", body.size)
                trouble.begin(
                    self.signal,
                    "refused",
                    f"{name} refuses some telemetry ({outcome.reason}); it is dropped, your service is not affected.",
                )
