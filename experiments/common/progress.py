"""How far a run is: a rich bar on a terminal, a plain line every few seconds elsewhere."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

PLAIN_SECONDS = 10.0


class Progress:
    """Context that shows step, rate, time left and the headline numbers of a run of `total` steps."""

    def __init__(self, total: int, start: int, headline: Sequence[str], enabled: bool = True):
        self.total = total
        self.start = start
        self.headline = tuple(headline)
        self._enabled = enabled
        self._bar: Any = None
        self._task: Any = None
        self._began = self._spoke = time.monotonic()

    def __enter__(self) -> "Progress":
        self._began = self._spoke = time.monotonic()
        if self._enabled and sys.stdout.isatty():
            self._open_bar()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Show that `step` steps are done; `metrics` are the last chunk's means."""
        numbers = "  ".join(f"{name} {float(metrics[name]):.4g}" for name in self.headline if name in metrics)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, numbers=numbers, rate=self._rate(step))
        elif self._enabled and (step >= self.total or time.monotonic() - self._spoke >= PLAIN_SECONDS):
            self._spoke = time.monotonic()
            print(
                f"step {step}/{self.total}  {self._rate(step)}  {self._left(step)} left  {numbers}",
                flush=True,
            )

    def _open_bar(self) -> None:
        from rich import progress

        self._bar = progress.Progress(
            progress.TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            progress.BarColumn(),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[numbers]}"),
            speed_estimate_period=120.0,
        )
        self._bar.start()
        self._task = self._bar.add_task("", total=self.total, completed=self.start, numbers="", rate="")

    def _rate(self, step: int) -> str:
        rate = (step - self.start) / max(time.monotonic() - self._began, 1e-9)
        return f"{rate:.1f} steps/s" if rate >= 1 or rate == 0 else f"{1 / rate:.1f} s/step"

    def _left(self, step: int) -> str:
        done = max(step - self.start, 1)
        seconds = (time.monotonic() - self._began) * (self.total - step) / done
        return f"{seconds // 60:.0f}:{seconds % 60:02.0f}"
