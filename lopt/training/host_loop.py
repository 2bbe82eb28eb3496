"""The training loop of a state on the host (a population of programs), with steps in Python.

Run folder, metrics, progress, checkpoints and stopping are those of `lopt.training.loop`. A step takes its random
numbers from the state, which is saved with its generator, so that a resumed run repeats an uninterrupted one bit for
bit.
"""

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

from lopt.training.checkpoint import Checkpoints
from lopt.training.folder import RunFolder
from lopt.training.loop import Outcome, add_next_command, check_folder
from lopt.training.metrics_log import ProgressDisplay, check_logger, open_logger
from lopt.training.run_config import RunConfig
from lopt.training.stopping import StopRequest


@runtime_checkable
class HostState(Protocol):
    """The state of a loop on the host, as JSON data."""

    def state_dict(self) -> Any:
        """The whole state, with its random generator, as JSON data."""
        ...

    def load_state_dict(self, data: Any) -> None:
        """Restore the state that `state_dict` returned."""
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
    """Run `num_steps` steps on the host, or resume the run in the folder.

    The loop ends early, with a checkpoint, on Ctrl-C, SIGTERM or `config.max_minutes`; a time limit ends it after one
    step at the earliest.

    Args:
        config: the run's options.
        folder: the run's folder.
        state: changed in place by the steps.
        step: `step(i)` changes the state and returns scalar metrics.
        num_steps: number of steps of the whole run.
        headline: names of the metrics that the progress line shows.
        unit: the name of a step in messages.

    Returns:
        The state and the last step.

    Raises:
        ValueError: no steps, or a logger that is not installed; a `CheckpointError` where no checkpoint can be used.
        OSError: a file could not be written, or the folder was deleted or replaced (its state is then saved beside it).
    """
    if num_steps < 1:
        raise ValueError(f"loop: number of steps must be >= 1 (got {num_steps})")
    check_logger(config)
    stop = StopRequest(config.max_minutes)
    start = 0
    if folder.resumed:
        start, text = folder.checkpoints.restore_text()
        state.load_state_dict(json.loads(text))
        if start >= num_steps:
            return Outcome(state, start, False, None, num_steps, unit)
    else:
        _save(folder.checkpoints, 0, state)
    logger, seconds = open_logger(config, folder, start)
    began = saved = time.monotonic()
    done = start
    try:
        with stop, ProgressDisplay(num_steps, start, headline, config.progress) as progress:
            while done < num_steps and not (stop.signalled or (done > start and stop.requested)):
                metrics = step(done)
                done += 1
                check_folder(folder, partial(_save, step=done, state=state))
                now = time.monotonic()
                logger.log(done, metrics | {"time/wall_seconds": seconds + now - began})
                progress.update(done, metrics)
                if done < num_steps and now - saved >= 60 * config.checkpoint_minutes:
                    _save(folder.checkpoints, done, state)
                    saved = time.monotonic()
            stop.announce()
            _save(folder.checkpoints, done, state)
    except OSError as error:
        add_next_command(error, folder)
        raise
    finally:
        logger.close()
    stopped = done < num_steps
    return Outcome(state, done, stopped, stop.reason if stopped else None, num_steps, unit)


def _save(checkpoints: Checkpoints, step: int, state: HostState) -> None:
    checkpoints.save_text(step, json.dumps(state.state_dict(), allow_nan=False))
