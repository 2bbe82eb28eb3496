"""The loop of studies whose state lives on the host (a population of programs): the same folder, log, progress,
checkpoints and stopping as `experiments.common.loop`, around steps in Python.

The state is an object with `plain() -> JSON data` and `restore(data)`. A step that is given no key draws all chance
from the state, so that a run that was stopped and resumed repeats an uninterrupted one bit for bit.
"""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from experiments.common.config import RunConfig
from experiments.common.folder import RunFolder
from experiments.common.logging import check_logger, open_logger
from experiments.common.loop import Outcome
from experiments.common.progress import Progress
from experiments.common.stopping import StopRequest


class HostState(Protocol):
    """What a host loop carries."""

    def plain(self) -> Any:
        """All of it, as JSON data."""
        ...

    def restore(self, data: Any) -> None:
        """Take over what `plain` gave."""
        ...


def run_on_host(
    config: RunConfig,
    folder: RunFolder,
    state: HostState,
    step: Callable[[int], dict[str, float]],
    num_steps: int,
    headline: Sequence[str] = (),
    unit: str = "step",
) -> Outcome:
    """Take `num_steps` steps, or go on with the run that the folder holds.

    `step(i)` changes the state and returns metrics; `unit` is what a step is called. The loop ends early, with a
    checkpoint, on Ctrl-C, SIGTERM or `config.max_minutes`.

    Raises:
        ValueError: no steps, a missing or foreign checkpoint, a logger that is not installed.
    """
    if num_steps < 1:
        raise ValueError(f"loop: number of steps must be >= 1 (got {num_steps})")
    check_logger(config)
    stop = StopRequest(config.max_minutes)
    start = 0
    if folder.resumed:
        start, text = folder.checkpoints.restore_text()
        state.restore(json.loads(text))
        if start >= num_steps:
            return Outcome(state, start, False, None, num_steps, unit)
    logger, seconds = open_logger(config, folder, start)
    began = saved = time.monotonic()
    done = start
    try:
        with stop, Progress(num_steps, start, headline, config.progress) as progress:
            while done < num_steps and not stop.requested:
                metrics = step(done)
                done += 1
                now = time.monotonic()
                logger.log(done, metrics | {"time/wall_seconds": seconds + now - began})
                progress.update(done, metrics)
                if done < num_steps and now - saved >= 60 * config.checkpoint_minutes:
                    _save(folder, done, state)
                    saved = time.monotonic()
            stop.announce()
            _save(folder, done, state)
    finally:
        logger.close()
    stopped = done < num_steps
    return Outcome(state, done, stopped, stop.reason if stopped else None, num_steps, unit)


def _save(folder: RunFolder, step: int, state: HostState) -> None:
    folder.checkpoints.save_text(step, json.dumps(state.plain(), allow_nan=False))
