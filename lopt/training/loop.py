"""The training loop of every study: jitted chunks of steps, with logging, hooks, checkpoints and stopping in between.

One chunk is a `lax.scan` over `chunk` steps with donated state. Step `i` gets the key `fold_in(root, i)`, so
a resumed run repeats an uninterrupted one bit for bit (on the same machine, with the same versions). Metrics are
averaged over a chunk on the device; NaN means "not measured in this step" and is excluded.
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from lopt.training.checkpoint import Checkpoints, load_orbax
from lopt.training.compiling import jit_once, jit_repeated, no_garbage_collection
from lopt.training.folder import RunFolder
from lopt.training.metrics_log import NONFINITE, Logger, ProgressDisplay, check_logger, open_logger, status
from lopt.training.run_config import RunConfig
from lopt.training.stopping import StopRequest, resume_line
from lopt.tree import canonical

WAIT_FOR_CHUNKS_LONGER_THAN = 0.5  # seconds; of shorter chunks, one is dispatched ahead


@dataclass(frozen=True)
class Hook:
    """A callback between chunks, for evaluations and exports.

    `call(key, step, state, logger)` gets a key that depends on the seed and the step alone, so that a resumed run
    repeats its measurements. The state is donated to the next chunk: a callback must copy what it keeps. Files that it
    writes are written again if the run is killed before the next checkpoint.

    Attributes:
        every: steps between two calls, a multiple of the chunk.
        call: the callback.
        at_start: whether it is also called before the first step.
    """

    every: int
    call: Callable[[jax.Array, int, Any, Logger], None]
    at_start: bool = False


@dataclass(frozen=True)
class Outcome:
    """The end of a run.

    Attributes:
        state: after the last step.
        step: the last step.
        stopped: whether the run stopped before `num_steps`.
        reason: of the stop, None without one.
        num_steps: number of steps of the whole run.
        unit: the name of a step in messages.
    """

    state: Any
    step: int
    stopped: bool
    reason: str | None = None
    num_steps: int = 0
    unit: str = "step"

    @property
    def note(self) -> str:
        """A note for reports and rule files of a stopped run: at which step it stopped."""
        return f"stopped at {self.unit} {self.step} of {self.num_steps}, not finished"


def run(
    config: RunConfig,
    folder: RunFolder,
    *,
    init: Callable[[jax.Array], Any],
    step: Callable[[jax.Array, Any], tuple[Any, dict[str, Any]]],
    num_steps: int,
    chunk: int,
    key: jax.Array | None = None,
    hooks: Sequence[Hook] = (),
    headline: Sequence[str] = (),
    finite: Sequence[str] = (),
    unit: str = "step",
) -> Outcome:
    """Run `num_steps` steps, or resume the run in the folder.

    The loop ends early, with a checkpoint, on Ctrl-C, SIGTERM or `config.max_minutes`; a time limit ends it after one
    chunk at the earliest, so that a run that is started again and again proceeds.

    Args:
        config: the run's options.
        folder: the run's folder.
        init: `init(key) -> state`, pure; jitted here.
        step: `step(key, state) -> (state, metrics)`, pure; jitted here. `metrics` is a flat dict of scalars.
        num_steps: number of steps of the whole run; with 0 nothing is compiled, and the initial state is returned.
        chunk: steps per compiled call; it divides `num_steps`, and the step at which a run is resumed.
        key: root of all random numbers; None for `jax.random.key(config.seed)`.
        hooks: callbacks between chunks.
        headline: names of the metrics that the progress bar shows.
        finite: names of the metrics that stop the run when they are NaN or infinite.
        unit: the name of a step in messages.

    Returns:
        The state and the last step.

    Raises:
        ValueError: sizes that do not divide, metrics that are not scalars, unknown metric names, a logger that is not
            installed; a `CheckpointError` where no checkpoint can be used.
        FloatingPointError: a metric named in `finite` was not finite, or `frac_nonfinite` was 1.
        OSError: a file could not be written, or the folder was deleted or replaced (its state is then saved beside it).
    """
    check_sizes(num_steps, chunk, hooks, smallest=0)
    check_logger(config)
    stop = StopRequest(config.max_minutes)
    key_init, key_steps, key_hooks = _keys(config, key)
    initial = jit_once(lambda key: canonical(init(key)))
    lower = partial(_lower, step, chunk, key_steps, headline=tuple(headline), finite=tuple(finite))
    start = 0
    if folder.resumed:
        # before the step is compiled, so that an unusable checkpoint is reported at once
        start, state = folder.checkpoints.restore(initial(key_init))
        if start % chunk:
            raise ValueError(f"loop: the chunk must divide the step to go on from (got {chunk} and step {start})")
        if start >= num_steps:
            return Outcome(state, start, False, None, num_steps, unit)
        with status(f"compiling the {unit}", config.progress), no_garbage_collection():
            compiled = lower(state).compile()
    elif num_steps == 0:
        state, compiled = initial(key_init), None
    else:
        state, compiled = _start(config, initial, lower, key_init, unit)

    def advance(state, start):
        return compiled(key_steps, state, jnp.int32(start))

    if start == 0:
        folder.checkpoints.save(0, state)
    logger, seconds = open_logger(config, folder, start)
    try:
        with stop:
            progress = ProgressDisplay(num_steps, start, headline, config.progress)
            loop = _Loop(
                config, folder, logger, key_hooks, tuple(hooks), chunk, num_steps, seconds, stop, progress, unit
            )
            loop.prepare(state, start)
            with progress:
                return loop.run(advance, state, start)
    except OSError as error:
        add_next_command(error, folder)
        raise
    finally:
        logger.close()


def check_folder(folder: RunFolder, save: Callable[[Checkpoints], None]) -> None:
    """Check that the run's folder is still there.

    Args:
        folder: of the run.
        save: writes a checkpoint, beside the folder if it is lost.

    Raises:
        FileNotFoundError: the folder was deleted, moved or replaced; the message says where the checkpoint is.
    """
    if not folder.lost:
        return
    path = folder.rescue(save)
    error = FileNotFoundError(
        f"{folder.path} was deleted, moved or replaced under the run; its state is saved in {path}"
    )
    error.add_note(f"to continue: {resume_line(folder.command)} --out {path}")
    raise error


def add_next_command(error: OSError, folder: RunFolder) -> None:
    """Add a note to an error of the file system: the newest checkpoint, and the command that resumes from it."""
    if folder.lost:
        return
    step = folder.checkpoints.latest()
    saved = "there is no checkpoint yet" if step is None else f"the checkpoint of step {step} is complete"
    error.add_note(f"{saved}; to continue: {resume_line(folder.command)}")


def _start(config: RunConfig, initial: Any, lower: Callable, key: jax.Array, unit: str) -> tuple[Any, Any]:
    """The initial state and the compiled chunk, which are compiled side by side."""
    with (
        status(f"compiling the {unit}", config.progress),
        no_garbage_collection(),
        ThreadPoolExecutor(1) as background,
    ):
        traced = initial.trace(key)
        pending = background.submit(lower(traced.out_info).compile)
        # Python's work, while the compiler runs in the other thread
        load_orbax()
        state = traced.lower().compile()(key)
        return state, pending.result()


def untrained(config: RunConfig, init: Callable[[jax.Array], Any]) -> Any:
    """The initial meta-parameters of a run: `theta` of the state that `run` starts from with this `init`."""
    return jit_once(lambda key: init(key).theta)(_keys(config)[0])


def _keys(config: RunConfig, key: jax.Array | None = None) -> jax.Array:
    """The keys `[3]` of the initial state, of the steps and of the hooks."""
    return jax.random.split(jax.random.key(config.seed) if key is None else key, 3)


def check_sizes(num_steps: int, chunk: int, hooks: Sequence[Hook] = (), smallest: int = 1) -> None:
    """Check that the chunk divides the number of steps, at least `smallest`, and the intervals of the hooks.

    Raises:
        ValueError: it does not; the message lists sizes that would.
    """
    if num_steps < smallest or chunk < 1:
        raise ValueError(
            f"loop: number of steps and chunk must be >= {smallest} and >= 1 (got {num_steps} and {chunk})"
        )
    if num_steps % chunk:
        near = sorted((d for d in range(1, num_steps + 1) if num_steps % d == 0), key=lambda d: abs(d - chunk))
        raise ValueError(
            f"loop: the number of steps must be a multiple of the chunk (got {num_steps} and {chunk}); "
            f"chunks that divide {num_steps}: {', '.join(map(str, sorted(near[:5])))}"
        )
    for hook in hooks:
        if hook.every < 1 or hook.every % chunk:
            near_multiple = max(chunk, round(hook.every / chunk) * chunk)
            raise ValueError(
                f"loop: a hook must run every so many whole chunks (got every {hook.every} steps, chunk "
                f"{chunk}); every {near_multiple} steps would do"
            )


def _lower(step: Callable, chunk: int, root: jax.Array, state: Any, *, headline: tuple, finite: tuple) -> Any:
    """The lowered chunk `advance(root, state, start) -> (state, means, nonfinite)`; the last is its first bad step."""

    def advance(root, state, start):
        def body(state, i):
            return step(jax.random.fold_in(root, i), state)

        state, metrics = jax.lax.scan(body, state, start + jnp.arange(chunk))
        _check_metrics(metrics, chunk, (*headline, *finite))
        watched = {name: metrics[name].astype(jnp.float32) for name in finite}
        is_nonfinite = jnp.zeros(chunk, bool)
        for x in watched.values():
            is_nonfinite |= ~jnp.isfinite(x)
        if NONFINITE in metrics:
            watched[NONFINITE] = metrics[NONFINITE].astype(jnp.float32)
            is_nonfinite |= watched[NONFINITE] >= 1
        first = jnp.argmax(is_nonfinite)
        nonfinite = {
            "any": is_nonfinite.any(),
            "first": first,
            "values": {name: x[first] for name, x in watched.items()},
        }
        return state, {name: jnp.nanmean(x.astype(jnp.float32)) for name, x in metrics.items()}, nonfinite

    return jit_repeated(advance, donate_argnums=1).lower(root, state, jnp.int32(0))


def _check_metrics(metrics: Any, chunk: int, named: Sequence[str]) -> None:
    if not isinstance(metrics, dict):
        raise ValueError(f"loop: step must return (state, dict of scalars) (got {type(metrics).__name__})")
    for name, value in metrics.items():
        if getattr(value, "shape", None) != (chunk,):
            raise ValueError(f"loop: metric {name!r} must be a scalar (got shape {jnp.shape(value)[1:]}); average it")
    for name in named:
        if name not in metrics:
            raise ValueError(f"loop: there is no metric {name!r}; the step returns {', '.join(sorted(metrics))}")


class _Loop:
    """The loop over chunks of `run`."""

    def __init__(self, config, folder, logger, key_hooks, hooks, chunk, num_steps, seconds, stop, progress, unit):
        self.config, self.folder, self.logger, self.key_hooks = config, folder, logger, key_hooks
        self.hooks, self.chunk, self.num_steps = hooks, chunk, num_steps
        self.stop, self.progress, self.unit = stop, progress, unit
        self.warned = False
        self.seconds = seconds  # wall time used by earlier processes
        self.began = self.drained = self.saved = time.monotonic()
        self.chunk_seconds = math.inf

    def prepare(self, state: Any, start: int) -> None:
        """Call the hooks with `at_start`, if the run is new."""
        hooks = [hook for hook in self.hooks if hook.at_start and start == 0]
        if hooks:
            with status(f"measuring before the first {self.unit}", self.config.progress):
                self._call_hooks(hooks, 0, state)

    def run(self, advance: Callable, state: Any, start: int) -> Outcome:
        """Run chunks until the last step or a request to stop."""
        step, pending = start, None
        self.advance = advance
        while step < self.num_steps and not (self.stop.signalled or (step > start and self.stop.requested)):
            state, means, nonfinite = advance(state, step)
            step += self.chunk
            self.state, self.step = state, step
            if pending is not None:
                self._drain(*pending)
            pending = (step, means, nonfinite)
            due = [hook for hook in self.hooks if step % hook.every == 0]
            save = time.monotonic() - self.saved >= 60 * self.config.checkpoint_minutes
            if due or save or self.chunk_seconds > WAIT_FOR_CHUNKS_LONGER_THAN:
                self._drain(*pending)
                pending = None
            self._call_hooks(due, step, state)
            if save:
                self._save(step, state)
        if pending is not None:
            self._drain(*pending)
        self._save(step, state)
        stopped = step < self.num_steps
        return Outcome(state, step, stopped, self.stop.reason if stopped else None, self.num_steps, self.unit)

    def _save(self, step: int, state: Any) -> None:
        check_folder(self.folder, lambda checkpoints: checkpoints.save(step, state))
        self.folder.checkpoints.save(step, state)
        self.saved = self.drained = time.monotonic()

    def _call_hooks(self, hooks: Sequence[Hook], step: int, state: Any) -> None:
        for hook in hooks:
            hook.call(jax.random.fold_in(self.key_hooks, step), step, state, self.logger)
            self.drained = time.monotonic()

    def _drain(self, step: int, means: Any, nonfinite: Any) -> None:
        """Wait for the chunk that ends at `step`, check, log and display its metrics."""
        self._wait(means)
        check_folder(self.folder, lambda checkpoints: checkpoints.save(self.step, self.state))
        now = time.monotonic()
        self.chunk_seconds, self.drained = now - self.drained, now
        if bool(nonfinite["any"]):
            self._raise_nonfinite(step - self.chunk, jax.device_get(nonfinite))
        means = {name: value.item() for name, value in jax.device_get(means).items()}
        wall = {"time/wall_seconds": self.seconds + now - self.began}
        wall["time/steps_per_second"] = self.chunk / max(self.chunk_seconds, 1e-9)
        self.logger.log(step, means | wall)
        self._warn(step, means.get(NONFINITE, 0.0))
        self.progress.update(step, means)

    def _warn(self, step: int, nonfinite: float) -> None:
        """Warn once that non-finite lifetimes are excluded."""
        if nonfinite > 0 and not self.warned:
            self.warned = True
            self.logger.message(
                f"warning: up to {self.unit} {step}, {100 * nonfinite:.2g} % of lifetimes were left out because their "
                "loss or gradient was not finite; the others continue. If this persists, try a smaller learning rate "
                "of the rule or of the agents, a tighter gradient clip, or fewer updates per step"
            )

    def _wait(self, tree: Any) -> None:
        """Wait until the arrays are computed, with short sleeps so that signals are handled."""
        pause = 0.0002
        while not all(leaf.is_ready() for leaf in jax.tree.leaves(tree)):
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
            self.stop.announce()

    def _raise_nonfinite(self, start: int, nonfinite: Any) -> None:
        """Save the last state before a non-finite metric and raise `FloatingPointError`."""
        step = start + int(nonfinite["first"])
        # if the first step of a chunk is non-finite, the state before it may be so, too
        last_finite = self._recompute(start if step > start else max(start - self.chunk, 0))
        notes = {NONFINITE: " (every lifetime was left out because its loss or gradient was not finite)"}
        values = ", ".join(
            f"{name} = {float(value)}{notes.get(name, '') if value >= 1 else ''}"
            for name, value in nonfinite["values"].items()
        )
        raise FloatingPointError(
            f"step {step}: {values}. The last good state, of step {last_finite}, is saved in "
            f"{self.folder.checkpoints.folder}; a run resumed from it would repeat this. Try a smaller learning "
            "rate, a tighter gradient clip or another seed (with another --out); metrics.jsonl has the metrics of "
            "the steps before"
        )

    def _recompute(self, last_finite: int) -> int:
        """Save the state of step `last_finite`, recomputed from an earlier checkpoint; later ones are renamed."""
        checkpoints = self.folder.checkpoints
        for step in checkpoints.steps():
            if step > last_finite:
                checkpoints.set_aside(step, "nonfinite")
        step, state = checkpoints.restore(self.state)
        while step < last_finite and not self.stop.requested:
            state, means, _ = self.advance(state, step)
            step += self.chunk
            self._wait(means)
        checkpoints.save(step, state)
        return step
