"""The progress display of a run: a line with a bar on a terminal, printed lines elsewhere."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lopt.training.metrics_log import NONFINITE

PRINT_SECONDS = 10.0
"""Least time between two printed lines, where there is no terminal."""
BAR, LONGEST_BAR = 10, 40
"""Smallest and largest number of characters of the bar."""
GAP = 2
"""Spaces between the parts of the line."""


@contextmanager
def status(message: str, enabled: bool = True, console: Any = None) -> Iterator[None]:
    """Context that shows a message during a long operation: with the seconds so far on a terminal, once elsewhere.

    Args:
        message: what the program does.
        enabled: whether anything is shown.
        console: a rich console to use instead of the standard output.
    """
    if not enabled:
        yield
        return
    console = console or _terminal()
    if console is None:
        print(f"{message} ...", flush=True)
        yield
        return
    from rich.live import Live
    from rich.text import Text

    began = time.monotonic()
    with Live(
        get_renderable=lambda: Text(f"{message} ... {time.monotonic() - began:.0f} s"),
        console=console,
        refresh_per_second=2,
    ):
        yield


class ProgressDisplay:
    """Context that shows the step, time left, headline metrics, rate and elapsed time of a run.

    Args:
        total: number of steps of the whole run.
        start: the step from which this process runs.
        headline: names of the metrics that are shown.
        enabled: whether anything is shown.
        console: a rich console to use instead of the standard output.
    """

    def __init__(self, total: int, start: int, headline: Sequence[str], enabled: bool = True, console: Any = None):
        self.total, self.start, self.step = total, start, start
        self.headline = tuple(headline)
        self._enabled, self._console = enabled, console
        self._live: Any = None
        self._numbers: list[str] = []
        self._began = self._printed = self._updated = time.monotonic()

    def __enter__(self) -> "ProgressDisplay":
        self._began = self._printed = self._updated = time.monotonic()
        console = (self._console or _terminal()) if self._enabled else None
        if console is not None:
            from rich.live import Live

            self._live = Live(get_renderable=lambda: self._line(console), console=console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Show that `step` steps are done; `metrics` are the means over the last chunk."""
        self.step, self._updated = step, time.monotonic()
        self._numbers = [f"{name} {float(metrics[name]):.4g}" for name in self.headline if name in metrics]
        nonfinite = float(metrics.get(NONFINITE, 0.0))
        if nonfinite > 0:
            self._numbers.insert(0, f"{100 * nonfinite:.2g} % non-finite")
        if self._live is None and self._enabled:
            if step >= self.total or time.monotonic() - self._printed >= PRINT_SECONDS:
                self._printed = time.monotonic()
                numbers = "  ".join(self._numbers)
                print(f"step {step}/{self.total}  {self._rate()}  {self._left()} left  {numbers}", flush=True)

    def _line(self, console: Any) -> Any:
        """The line: step, bar and time left, then, as the width allows, metrics, rate and elapsed time."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        elapsed = _hours(time.monotonic() - self._began)
        first = [f"{self.step}/{self.total}", f"{self._left()} left"]
        more = [*self._numbers, self._rate(), f"elapsed {elapsed}"]
        shown = fit(first, more, console.width - BAR - GAP)
        bar = min(LONGEST_BAR, console.width - sum(len(text) + GAP for text in shown))
        line = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
        for _ in range(len(shown) + 1):
            line.add_column(no_wrap=True)
        line.add_row(shown[0], ProgressBar(self.total, self.step, width=max(bar, 1)), *shown[1:])
        return line

    def _rate(self) -> str:
        rate = (self.step - self.start) / max(self._updated - self._began, 1e-9)
        return f"{rate:.1f} steps/s" if rate >= 1 or rate == 0 else f"{1 / rate:.1f} s/step"

    def _left(self) -> str:
        done = self.step - self.start
        if not done:
            return "-:--:--"
        remaining = (self._updated - self._began) * (self.total - self.step) / done
        return _hours(remaining - (time.monotonic() - self._updated))


def fit(first: Sequence[str], more: Sequence[str], width: int) -> list[str]:
    """All texts of `first`, and the longest beginning of `more` that fits into `width` with gaps between all."""
    shown, used = list(first), sum(map(len, first)) + GAP * (len(first) - 1)
    for text in more:
        used += GAP + len(text)
        if used > width:
            break
        shown.append(text)
    return shown


def _hours(seconds: float) -> str:
    """A duration as h:mm:ss."""
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _terminal() -> Any:
    """A rich console on the standard output, None if that is not a terminal."""
    if not sys.stdout.isatty():
        return None
    from rich.console import Console

    return Console()
