"""Logs of metrics, always `metrics.jsonl`, and optionally wandb or tensorboard; the progress display of a run: a line
with a bar on a terminal, printed lines elsewhere.
"""

import json
import math
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lopt.training.folder import RunFolder, write_text
from lopt.training.run_config import RunConfig

NONFINITE = "frac_nonfinite"
"""A metric of every estimator: the fraction of lifetimes (pairs, candidates) excluded because they were non-finite."""


@runtime_checkable
class Logger(Protocol):
    """A receiver of metrics and messages."""

    def log(self, step: int, metrics: dict[str, Any]) -> None:
        """Record scalar metrics of `step`; only names that begin with `time/` may differ between equal runs."""
        ...

    def message(self, text: str) -> None:
        """Show a message to the user."""
        ...

    def close(self) -> None:
        """Flush and close."""
        ...


class JsonlLogger:
    """One JSON object per line: `{"step": 10, "meta_loss": 0.5, ...}`; NaN is null, infinities are strings.

    Opened at `step`, it first deletes the lines of later steps, so that a resumed run's file equals an uninterrupted
    run's.

    Attributes:
        path: of the file.
        seconds: wall time of the run up to `step`.
    """

    def __init__(self, path: Path, step: int = 0):
        self.path = path
        lines, lost = _lines(path) if step else ([], 0)
        if lost:
            self.message(f"{path}: {lost} lines cannot be read and are lost")
        kept = [line for line in lines if line["step"] <= step]
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self.seconds = max((line.get("time/wall_seconds", 0.0) for line in kept), default=0.0)
        self._file = open(path, "a", encoding="utf-8")

    def log(self, step: int, metrics: dict[str, Any]) -> None:
        """Append a line and flush it."""
        line = {"step": int(step), **{name: _number(value) for name, value in metrics.items()}}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()

    def message(self, text: str) -> None:
        """Print the text."""
        print(text, flush=True)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class WandbLogger:
    """Sends metrics to Weights & Biases.

    Raises:
        ValueError: wandb is not installed.
    """

    def __init__(self, folder: RunFolder, config: dict[str, Any]):
        try:
            import wandb
        except ImportError as error:
            raise _missing("wandb") from error
        record = folder.file("wandb/id.txt")
        if not record.exists():
            write_text(record, secrets.token_hex(4))
        self._run = wandb.init(
            project="lopt",
            name=folder.path.name,
            id=record.read_text(),
            resume="allow",
            dir=folder.path,
            config=config,
        )

    def log(self, step: int, metrics: dict[str, Any]) -> None:
        """Send the scalars."""
        self._run.log({name: float(value) for name, value in metrics.items()}, step=step)

    def message(self, text: str) -> None:
        """Do nothing: messages are shown on the terminal."""

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class TensorboardLogger:
    """Writes event files below `tensorboard/` in the run folder.

    Raises:
        ValueError: tensorboardX is not installed.
    """

    def __init__(self, folder: RunFolder, step: int):
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise _missing("tensorboardX") from error
        self._writer = SummaryWriter(str(folder.path / "tensorboard"), purge_step=step + 1 if step else None)

    def log(self, step: int, metrics: dict[str, Any]) -> None:
        """Write the scalars that are finite."""
        for name, value in metrics.items():
            if math.isfinite(value):
                self._writer.add_scalar(name, float(value), step)

    def message(self, text: str) -> None:
        """Do nothing: messages are shown on the terminal."""

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class Loggers:
    """Several loggers as one `Logger`."""

    def __init__(self, *loggers: Logger):
        self._loggers = loggers

    def log(self, step: int, metrics: dict[str, Any]) -> None:
        """Record the metrics in every logger."""
        for logger in self._loggers:
            logger.log(step, metrics)

    def message(self, text: str) -> None:
        """Send the message to every logger."""
        for logger in self._loggers:
            logger.message(text)

    def close(self) -> None:
        """Close every logger."""
        for logger in self._loggers:
            logger.close()


def check_logger(config: RunConfig) -> None:
    """Check that the package of the chosen logger is installed.

    Raises:
        ValueError: it is not.
    """
    import importlib.util

    package = {"wandb": "wandb", "tensorboard": "tensorboardX"}.get(config.log)
    if package is not None and importlib.util.find_spec(package) is None:
        raise _missing(package)


def open_logger(config: RunConfig, folder: RunFolder, step: int) -> tuple[Logger, float]:
    """`(logger, seconds)`: the run's logger from `step` on, and the wall time that the run had used by then."""
    jsonl = JsonlLogger(folder.file("metrics.jsonl"), step)
    if config.log == "wandb":
        record = json.loads(folder.file("config.json").read_text(encoding="utf-8"))
        return Loggers(jsonl, WandbLogger(folder, record["config"])), jsonl.seconds
    if config.log == "tensorboard":
        return Loggers(jsonl, TensorboardLogger(folder, step)), jsonl.seconds
    return jsonl, jsonl.seconds


def read_metrics(path: str | Path) -> list[dict[str, float]]:
    """The rows of a `metrics.jsonl`, with NaN and infinities as floats; what cannot be read is left out."""
    return [
        {
            name: math.nan if value is None else float(value) if isinstance(value, str) else value
            for name, value in line.items()
        }
        for line in _lines(Path(path))[0]
    ]


def _lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The readable lines, and the number of others; an incomplete last line, of a process that was killed, is none."""
    if not path.exists():
        return [], 0
    lines, lost = [], 0
    texts = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for i, text in enumerate(texts):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
        else:
            lost += i < len(texts) - 1
    return lines, lost


def _number(value: Any) -> float | int | str | None:
    number = value if isinstance(value, (int, float)) else value.item()
    if isinstance(number, float) and not math.isfinite(number):
        return None if math.isnan(number) else str(number)
    return number


def _missing(package: str) -> ValueError:
    return ValueError(f"log: {package} is not installed; run `pip install {package}` or use --log none")


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
