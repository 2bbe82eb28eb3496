"""One call that trains: compiled, logged, checkpointed, resumable."""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from lopt.training.checkpoint import Checkpoints
from lopt.training.folder import open_folder, recorded_identity
from lopt.training.loop import Hook, run
from lopt.training.metrics_log import read_metrics
from lopt.training.run_config import RunConfig, describe, differences, identity
from lopt.training.stopping import command_line
from lopt.types import Key


@runtime_checkable
class Learner(Protocol):
    """What `fit` trains: `lopt.meta.MetaLearner`, or an object of your own. Both methods are pure and get jitted.

    An optional method `trained(state)` returns what the training is for, the trained rule.
    """

    def init(self, key: Key) -> Any:
        """The state before the first step, a pytree of arrays."""
        ...

    def step(self, key: Key, state: Any) -> tuple[Any, dict[str, Any]]:
        """The state after one step, and scalar metrics by name."""
        ...


@dataclass(frozen=True)
class FitResult:
    """Where a training run ended.

    Attributes:
        learner: what was trained.
        state: the learner's state after `step` steps.
        step: steps done.
        metrics: a dictionary of means for each logged chunk of steps, `step` among them.
        stopped: why the run ended before its last step; None if it did not.
    """

    learner: Any
    state: Any
    step: int
    metrics: list[dict[str, float]] = field(repr=False)
    stopped: str | None = None

    @property
    def rule(self) -> Any:
        """The trained rule, `learner.trained(state)`.

        Raises:
            ValueError: a learner without a method `trained`.
        """
        trained = getattr(self.learner, "trained", None)
        if trained is None:
            raise ValueError(f"fit: {type(self.learner).__name__} has no method trained(state); read result.state")
        return trained(self.state)


@dataclass(frozen=True)
class _FitConfig:
    """What the run folder records: by it a run is recognised."""

    learner: Any
    key: list[int]
    run: RunConfig


def fit(
    learner: Any,
    key: Key,
    num_steps: int,
    *,
    out: str | Path | None = None,
    chunk: int | None = None,
    hooks: Sequence[Hook] = (),
    show: Sequence[str] = (),
    finite: Sequence[str] = (),
    max_minutes: float | None = None,
    checkpoint_minutes: float = 2.0,
    overwrite: bool = False,
    progress: bool = True,
) -> FitResult:
    """Train a learner for `num_steps` steps, or go on with the run that the folder `out` holds.

    Steps are compiled in chunks; step i gets the key `fold_in(root, i)`. A run that was stopped (Ctrl-C, SIGTERM,
    `max_minutes`, a killed process) goes on from its last checkpoint when the same call is made again, and then equals
    an uninterrupted run bit for bit on the same machine. A larger `num_steps` prolongs a finished run.

    Example:
        result = lopt.fit(lopt.groove(levels, lopt.LPG()), jax.random.key(0), 800, out="runs/groove")

    Args:
        learner: a `Learner`.
        key: root of every random number.
        num_steps: steps in all, those of earlier calls included.
        out: folder for config.json, metrics.jsonl and checkpoints; None keeps nothing on disk.
        chunk: steps per compiled call, a divisor of `num_steps` and of the step to go on from: metrics are averaged
            over a chunk, and signals and hooks are seen between chunks. By default the largest such number up to 20.
        hooks: calls in between, such as validations.
        show: metrics beside the progress bar.
        finite: metrics that stop the run when they are not finite, after saving the last good state.
        max_minutes: wall time after which the run stops, with a checkpoint.
        checkpoint_minutes: wall time between checkpoints.
        overwrite: delete the run that the folder holds, and start anew.
        progress: show a progress bar.

    Returns:
        The final state and the metrics.

    Raises:
        ValueError: something without `init` and `step`, sizes that do not divide, a folder that holds the run of
            another learner or key or something that is no run, or that another process uses.
        FloatingPointError: a metric of `finite` was not finite, or nothing of a step was.
    """
    if not isinstance(learner, Learner):
        raise ValueError(f"fit: expected a learner with methods init and step (got {type(learner).__name__})")
    if num_steps < 1:
        raise ValueError(f"fit: num_steps must be at least 1 (got {num_steps})")
    with tempfile.TemporaryDirectory() as scratch:
        options = RunConfig(
            out=scratch if out is None else str(out),
            max_minutes=max_minutes,
            checkpoint_minutes=checkpoint_minutes,
            overwrite=overwrite,
            progress=progress,
        )
        root = np.asarray(jax.random.key_data(key)).ravel().tolist()
        config = _resuming(_FitConfig(describe(learner), root, options))
        folder = open_folder(config, command_line())
        if chunk is None:
            chunk = _largest_divisor(math.gcd(num_steps, *folder.checkpoints.steps()), 20)
        try:
            outcome = run(
                config.run,
                folder,
                key=key,
                init=learner.init,
                step=learner.step,
                num_steps=num_steps,
                chunk=chunk,
                hooks=hooks,
                headline=show,
                finite=finite,
            )
        finally:
            folder.close()
        metrics = read_metrics(folder.path / "metrics.jsonl")
    if outcome.stopped:
        how = "nothing was kept, give `out`" if out is None else f"the same call goes on from there, in {folder.path}"
        print(f"{outcome.note} ({outcome.reason}); {how}", flush=True)
    return FitResult(learner, outcome.state, outcome.step, metrics, outcome.reason if outcome.stopped else None)


def _resuming(config: _FitConfig) -> _FitConfig:
    """With `resume` where the folder holds this run."""
    path = Path(config.run.out).expanduser()
    recorded = recorded_identity(path)
    if config.run.overwrite or recorded is None or Checkpoints(path / "checkpoints").latest() is None:
        return config
    if lines := differences(recorded, identity(config)):
        raise ValueError(
            f"fit: {path} holds another run; it differs in\n  "
            + "\n  ".join(lines)
            + "\ngive another `out`, or overwrite=True to delete it"
        )
    return replace(config, run=replace(config.run, resume=True))


def _largest_divisor(number: int, most: int) -> int:
    return max(d for d in range(1, min(number, most) + 1) if number % d == 0)
