"""Requests to stop a run: Ctrl-C, SIGTERM and time limits."""

import signal
import threading
import time
from typing import Any


class StopRequest:
    """Context in which the first SIGINT or SIGTERM sets `requested`; the next one has its previous effect.

    Outside the main thread, where signals cannot be caught, only the time limit applies.

    Attributes:
        reason: of the request, None without one.
    """

    def __init__(self, max_minutes: float | None = None):
        self.reason: str | None = None
        self._deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._announced = False
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether the run should stop after the current chunk."""
        if self.reason is None and self._deadline is not None and time.monotonic() >= self._deadline:
            self.reason = "the time limit was reached"
        return self.reason is not None

    def announce(self) -> None:
        """Print once that the run is about to stop."""
        if self.requested and not self._announced:
            self._announced = True
            print(f"\n{self.reason}: stopping after this chunk of steps, with a checkpoint", flush=True)

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _on_signal(self, number: int, frame: object) -> None:
        self.reason = f"{signal.Signals(number).name} was received"
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())
