"""Stopping and resuming: Ctrl-C, SIGTERM and time limits, and the commands that start and resume a run."""

import os
import shlex
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
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
        self._signal = 0
        self._previous: dict[int, Any] = {}

    @property
    def signalled(self) -> bool:
        """Whether a signal was received; unlike the time limit, it stops a run before its first step."""
        return bool(self._signal)

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
        self._signal = number
        self.reason = f"{signal.Signals(number).name} was received"
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())


def program() -> str:
    """The command of this process without its options: `python -m experiments.groove`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        return "python -m " + spec.name.removesuffix(".__main__")
    return "python " + os.path.basename(sys.argv[0])


def command_line(argv: Sequence[str] | None = None) -> str:
    """The shell command that started this run, without `--resume` and `--overwrite`; `argv` replaces `sys.argv[1:]`."""
    words = sys.argv[1:] if argv is None else argv
    words = [word for word in words if word not in ("--resume", "--overwrite", "--no-resume", "--no-overwrite")]
    return shlex.join([*program().split(), *words])


def resume_command(argv: Sequence[str] | None = None) -> str:
    """The shell command that resumes this run; `argv` replaces `sys.argv[1:]`."""
    return resume_line(command_line(argv))


def resume_line(command: str) -> str:
    """The shell command that resumes the run started by `command`, without its time limit (see `runnable`)."""
    words = iter(shlex.split(command))
    kept = []
    for word in words:
        if word in ("--max-minutes", "--max_minutes"):
            next(words, None)
        elif not word.startswith(("--max-minutes=", "--max_minutes=")):
            kept.append(word)
    return f"{runnable(shlex.join(kept))} --resume"


def runnable(command: str) -> str:
    """`command` with a leading `python` replaced by the interpreter of this process (see `interpreter`)."""
    first, space, rest = command.partition(" ")
    return f"{shlex.quote(interpreter())}{space}{rest}" if first == "python" else command


def interpreter() -> str:
    """The name of this process's Python for a shell in the current folder.

    It is `python` if that is the first one on the PATH, else a relative path below the current folder, else an absolute
    path.
    """
    # links are not followed: the python of a virtual environment is one
    path = Path(os.path.abspath(sys.executable))
    first = shutil.which("python")
    if not sys.executable or (first and Path(os.path.abspath(first)) == path):
        return "python"
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
