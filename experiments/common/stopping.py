"""Ctrl-C, SIGTERM and time limits: asked once, the run ends after the current chunk; asked twice, at once."""

import signal
import threading
import time


class StopRequest:
    """Context in which the first SIGINT or SIGTERM sets `requested`, and the next one acts as it usually
    does.

    Outside the main thread signals cannot be caught; only the time limit works there.
    """

    def __init__(self, max_minutes: float | None = None):
        self.reason: str | None = None
        self._deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._announced = False
        self._usual: dict[int, object] = {}

    @property
    def requested(self) -> bool:
        """Whether the run should end now."""
        if self.reason is None and self._deadline is not None and time.monotonic() >= self._deadline:
            self.reason = "the time limit was reached"
        return self.reason is not None

    def announce(self) -> None:
        """Tell the user once that the run is about to stop."""
        if self.requested and not self._announced:
            self._announced = True
            print(f"\n{self.reason}: stopping after this chunk of steps, with a checkpoint", flush=True)

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._usual[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _on_signal(self, number: int, frame: object) -> None:
        self.reason = f"{signal.Signals(number).name} was received"
        self._restore()

    def _restore(self) -> None:
        while self._usual:
            signal.signal(*self._usual.popitem())
