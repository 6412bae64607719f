"""What one run may use of the door, so that no run takes it from another. Time is an argument."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

from remit.doors.gateway.messages import TOO_FAST, TOO_MANY, ProtocolError, RequestId
from remit.doors.gateway.settings import GatewaySettings

_MOST_BUCKETS = 4_096


class Rates:
    """A token bucket per run: `rate` messages a second, `burst` at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._buckets: dict[str, tuple[float, float]] = {}  # run id -> (tokens left, as of); written by `take` only

    def take(self, run: str, now: float) -> None:
        """Spend one message. Raises `ProtocolError` (HTTP 429, with `Retry-After`) when none is left."""
        left, since = self._buckets.get(run, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - since) * self._rate)
        if left < 1.0:
            self._buckets[run] = (left, now)
            wait = (1.0 - left) / self._rate
            raise ProtocolError(
                TOO_FAST,
                f"this run sends more than {self._rate:g} messages a second",
                hint=f"wait {wait:.2f} s",
                data={"retry_after_ms": ceil(wait * 1000)},
                status=429,
                headers=((b"retry-after", str(ceil(wait)).encode()),),
            )
        if len(self._buckets) >= _MOST_BUCKETS and run not in self._buckets:
            self._forget_full_ones(now)
        self._buckets[run] = (left - 1.0, now)

    def _forget_full_ones(self, now: float) -> None:
        """A bucket that has filled up again says nothing that a new one would not."""
        refill = self._burst / self._rate
        self._buckets = {run: state for run, state in self._buckets.items() if now - state[1] < refill}


class Slots:
    """How many of something each run holds at the moment, at most `most`."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._held: dict[str, int] = {}  # run id -> held; written by `hold` only

    @contextmanager
    def hold(self, run: str, request: RequestId = None) -> Iterator[None]:
        """Hold one for the length of the block. Raises `ProtocolError` (HTTP 429) when all are taken."""
        held = self._held.get(run, 0)
        if held >= self._most:
            raise ProtocolError(
                TOO_MANY,
                f"this run has {held} {self._what} already",
                hint="wait for one of them to end",
                data={"retry_after_ms": 1000},
                status=429,
                request_id=request,
                headers=((b"retry-after", b"1"),),
            )
        self._held[run] = held + 1
        try:
            yield
        finally:
            left = self._held[run] - 1
            if left:
                self._held[run] = left
            else:
                del self._held[run]

    def held(self, run: str) -> int:
        """How many `run` holds now."""
        return self._held.get(run, 0)


def slots(settings: GatewaySettings) -> tuple[Slots, Slots]:
    """The slots for calls and for connections of one door."""
    return Slots(settings.max_calls, "calls waiting"), Slots(settings.max_run_connections, "connections open")
