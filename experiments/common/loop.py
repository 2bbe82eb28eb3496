"""The host loop of every study: jitted chunks of steps, and between them logging, hooks, checkpoints and
stopping.

One chunk is a `lax.scan` over `chunk` steps with donated state. Step `i` gets the key `fold_in(root, i)`, so
a run that was stopped and resumed repeats an uninterrupted one bit for bit (same machine, same versions),
however often it was stopped. Metrics are averaged over a chunk on the device; NaN means "not measured in this
step" and is left out.
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

from experiments.common.checkpoint import load_orbax
from experiments.common.compiling import often, once, uncollected
from experiments.common.config import RunConfig
from experiments.common.folder import RunFolder
from experiments.common.logging import NONFINITE, Logger, check_logger, open_logger
from experiments.common.progress import Progress, status
from experiments.common.stopping import StopRequest

WAIT_FOR_CHUNKS_LONGER_THAN = 0.5  # seconds; shorter chunks are dispatched one ahead


@dataclass(frozen=True)
class Hook:
    """Something that happens every `every` steps: `call(key, step, state, logger)`.

    `key` depends on the seed and the step alone, so that what a hook measures is the same in a resumed run.
    The state is donated to the next chunk: a hook must copy what it wants to keep. With `at_start` it also
    runs before the first step. A hook may write files; if the run is killed before the next checkpoint, they
    are written again.
    """

    every: int
    call: Callable[[jax.Array, int, Any, Logger], None]
    at_start: bool = False


@dataclass(frozen=True)
class Outcome:
    """Where the run ended; `stopped` if before its last step, with the reason.

    Attributes:
        num_steps: what it would have taken to the end.
        unit: what a step is called.
    """

    state: Any
    step: int
    stopped: bool
    reason: str | None = None
    num_steps: int = 0
    unit: str = "step"

    @property
    def note(self) -> str:
        """Where a stopped run stands."""
        return f"stopped at {self.unit} {self.step} of {self.num_steps}, not finished"


def run(
    config: RunConfig,
    folder: RunFolder,
    *,
    init: Callable[[jax.Array], Any],
    step: Callable[[jax.Array, Any], tuple[Any, dict[str, Any]]],
    num_steps: int,
    chunk: int,
    hooks: Sequence[Hook] = (),
    headline: Sequence[str] = (),
    finite: Sequence[str] = (),
    unit: str = "step",
) -> Outcome:
    """Run `num_steps` steps, or go on with the run that the folder holds.

    `init(key) -> state` and `step(key, state) -> (state, metrics)` are pure and jitted here; `metrics` is a
    flat dict of scalars. `headline` names the two or three metrics the progress bar shows, `finite` those
    that stop the run when they are NaN or infinite; a metric `frac_nonfinite` stops it when nothing of a step was
    finite. `unit` is what a step is called. The loop ends early, with a checkpoint, on Ctrl-C, SIGTERM or
    `config.max_minutes`.

    Raises:
        ValueError: sizes that do not divide, metrics that are not scalars, unknown metric names, a missing or
            foreign checkpoint, a logger that is not installed.
        FloatingPointError: a metric named in `finite` was not finite, or `frac_nonfinite` was one.
    """
    check_sizes(num_steps, chunk, hooks)
    check_logger(config)
    stop = StopRequest(config.max_minutes)
    key_init, key_steps, key_hooks = _keys(config)
    first = once(lambda key: jax.tree.map(_strong, init(key)))
    lower = partial(_lower, step, chunk, key_steps, headline=tuple(headline), finite=tuple(finite))
    start = 0
    if folder.resumed:
        # a checkpoint that cannot be used is told before the step is compiled
        start, state = folder.checkpoints.restore(first(key_init))
        if start >= num_steps:
            return Outcome(state, start, False, None, num_steps, unit)
        with status(f"compiling the {unit}", config.progress), uncollected():
            compiled = lower(state).compile()
    else:
        with status(f"compiling the {unit}", config.progress), uncollected(), ThreadPoolExecutor(1) as background:
            traced = first.trace(key_init)
            pending = background.submit(lower(traced.out_info).compile)
            # Python's turn, while the compiler has its own
            load_orbax()
            state = traced.lower().compile()(key_init)
            compiled = pending.result()

    def advance(state, start):
        return compiled(key_steps, state, jnp.int32(start))

    if start == 0:
        folder.checkpoints.save(0, state)
    logger, seconds = open_logger(config, folder, start)
    try:
        with stop:
            progress = Progress(num_steps, start, headline, config.progress)
            loop = _Loop(
                config, folder, logger, key_hooks, tuple(hooks), chunk, num_steps, seconds, stop, progress, unit
            )
            loop.prepare(state, start)
            with progress:
                return loop.run(advance, state, start)
    finally:
        logger.close()


def untrained(config: RunConfig, init: Callable[[jax.Array], Any]) -> Any:
    """The rule before the first step: the `theta` of the state that `run` starts from with this `init`."""
    return once(lambda key: init(key).theta)(_keys(config)[0])


def _keys(config: RunConfig) -> jax.Array:
    """What the seed gives: the keys of the first state, of the steps and of the hooks."""
    return jax.random.split(jax.random.key(config.seed), 3)


def check_sizes(num_steps: int, chunk: int, hooks: Sequence[Hook] = ()) -> None:
    """Check that chunks fill the run and that hooks fall between chunks.

    Raises:
        ValueError: they do not; names the sizes that would.
    """
    if num_steps < 1 or chunk < 1:
        raise ValueError(f"loop: number of steps and chunk must be >= 1 (got {num_steps} and {chunk})")
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


def _strong(leaf: Any) -> jax.Array:
    """The leaf as an array without a weak type, so that the first chunk has the same types as all later ones."""
    leaf = jnp.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    return jax.lax.convert_element_type(leaf, leaf.dtype)


def _lower(step: Callable, chunk: int, root: jax.Array, state: Any, *, headline: tuple, finite: tuple) -> Any:
    """One chunk, lowered: `advance(root, state, start) -> (state, means, bad)`; `bad` says where it broke."""

    def advance(root, state, start):
        def body(state, i):
            return step(jax.random.fold_in(root, i), state)

        state, metrics = jax.lax.scan(body, state, start + jnp.arange(chunk))
        _check_metrics(metrics, chunk, (*headline, *finite))
        watched = {name: metrics[name].astype(jnp.float32) for name in finite}
        broken = jnp.zeros(chunk, bool)
        for x in watched.values():
            broken |= ~jnp.isfinite(x)
        if NONFINITE in metrics:
            watched[NONFINITE] = metrics[NONFINITE].astype(jnp.float32)
            broken |= watched[NONFINITE] >= 1
        first = jnp.argmax(broken)
        bad = {"any": broken.any(), "first": first, "values": {name: x[first] for name, x in watched.items()}}
        return state, {name: jnp.nanmean(x.astype(jnp.float32)) for name, x in metrics.items()}, bad

    return often(advance, donate_argnums=1).lower(root, state, jnp.int32(0))


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
    """The part of `run` that repeats."""

    def __init__(self, config, folder, logger, key_hooks, hooks, chunk, num_steps, seconds, stop, progress, unit):
        self.config, self.folder, self.logger, self.key_hooks = config, folder, logger, key_hooks
        self.hooks, self.chunk, self.num_steps = hooks, chunk, num_steps
        self.stop, self.progress, self.unit = stop, progress, unit
        self.warned = False
        self.seconds = seconds  # wall time that earlier processes used
        self.began = self.drained = self.saved = time.monotonic()
        self.chunk_seconds = math.inf

    def prepare(self, state: Any, start: int) -> None:
        """The hooks before the first step; they compile, too."""
        hooks = [hook for hook in self.hooks if hook.at_start and start == 0]
        if hooks:
            with status(f"measuring before the first {self.unit}", self.config.progress):
                self._call_hooks(hooks, 0, state)

    def run(self, advance: Callable, state: Any, start: int) -> Outcome:
        """Chunks until the last step or a request to stop."""
        step, pending = start, None
        self.advance = advance
        while step < self.num_steps and not self.stop.requested:
            state, means, bad = advance(state, step)
            self.state = state
            step += self.chunk
            if pending is not None:
                self._drain(*pending)
            pending = (step, means, bad)
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
        self.folder.checkpoints.save(step, state)
        self.saved = self.drained = time.monotonic()

    def _call_hooks(self, hooks: Sequence[Hook], step: int, state: Any) -> None:
        for hook in hooks:
            hook.call(jax.random.fold_in(self.key_hooks, step), step, state, self.logger)
            self.drained = time.monotonic()

    def _drain(self, step: int, means: Any, bad: Any) -> None:
        """Wait for the chunk that ended at `step`, check it, log it and show it."""
        self._wait(means)
        now = time.monotonic()
        self.chunk_seconds, self.drained = now - self.drained, now
        if bool(bad["any"]):
            self._diverged(step - self.chunk, jax.device_get(bad))
        means = {name: value.item() for name, value in jax.device_get(means).items()}
        wall = {"time/wall_seconds": self.seconds + now - self.began}
        wall["time/steps_per_second"] = self.chunk / max(self.chunk_seconds, 1e-9)
        self.logger.log(step, means | wall)
        self._warn(step, means.get(NONFINITE, 0.0))
        self.progress.update(step, means)

    def _warn(self, step: int, left_out: float) -> None:
        """Say once that lifetimes are left out."""
        if left_out > 0 and not self.warned:
            self.warned = True
            self.logger.message(
                f"warning: up to {self.unit} {step}, {100 * left_out:.2g} % of lifetimes were left out because their "
                "loss or gradient was not finite; the rest goes on. If it stays so, try a smaller learning rate of the "
                "rule or of the agents, a tighter gradient clip, or fewer updates per step"
            )

    def _wait(self, tree: Any) -> None:
        """Block until the arrays are there, in naps, so that signals are seen meanwhile."""
        nap = 0.0002
        while not all(leaf.is_ready() for leaf in jax.tree.leaves(tree)):
            time.sleep(nap)
            nap = min(2 * nap, 0.02)
            self.stop.announce()

    def _diverged(self, start: int, bad: Any) -> None:
        """Save the last good state and raise."""
        step = start + int(bad["first"])
        # if a chunk breaks in its first step, the state it began with is itself suspect
        good = self._rescue(start if step > start else max(start - self.chunk, 0))
        why = {NONFINITE: " (every lifetime was left out because its loss or gradient was not finite)"}
        values = ", ".join(
            f"{name} = {float(value)}{why.get(name, '') if value >= 1 else ''}" for name, value in bad["values"].items()
        )
        raise FloatingPointError(
            f"step {step}: {values}. The last good state, of step {good}, is saved in "
            f"{self.folder.checkpoints.folder}; going on from it would repeat this. Try a smaller learning "
            "rate, a tighter gradient clip or another seed (with another --out); metrics.jsonl shows how it "
            "came about"
        )

    def _rescue(self, good: int) -> int:
        """Make the newest checkpoint that of step `good`, by repeating the steps since the one before it."""
        checkpoints = self.folder.checkpoints
        for step in checkpoints.steps():
            if step > good:
                checkpoints.set_aside(step, "nonfinite")
        step, state = checkpoints.restore(self.state)
        while step < good and not self.stop.requested:
            state, means, _ = self.advance(state, step)
            step += self.chunk
            self._wait(means)
        checkpoints.save(step, state)
        return step
