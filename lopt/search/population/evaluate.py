"""Training by the programs of a population on a proxy task, and their fitness, with successive halving."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from lopt import tree
from lopt.protocols import Task
from lopt.search.population.code import (
    Code,
    Interpreter,
    Layout,
    empty_code,
    encode,
    interpret_sequential,
    layout_of,
    stack,
)
from lopt.search.program import Program
from lopt.types import Key, Params


def cosine(step: Int[Array, ""], steps: int) -> Float[Array, ""]:
    """The cosine schedule (1 + cos(pi step / steps)) / 2 from 1 to 0; the peak rate is a constant of the program."""
    return 0.5 * (1.0 + jnp.cos(jnp.pi * step / steps))


@dataclass(frozen=True, eq=False, kw_only=True)
class Proxy:
    """A proxy task: a small task on which a program trains a learner from its initial weights.

    Attributes:
        init: `key -> params`, the initial weights.
        batch: `key -> minibatch` of a step.
        loss: `(params, minibatch) -> scalar`, which is differentiated.
        score: `params -> scalar` of trained weights, on held-out data; larger is better.
        steps: number of updates of a lifetime.
        schedule: `(step, steps) -> lr`, in [0, 1].
        max_loss_ratio: a learner whose loss exceeds this many times its first loss counts as diverged.

    Raises:
        ValueError: `steps` below one, or a `max_loss_ratio` of one or less.
    """

    init: Callable[[Key], Params]
    batch: Callable[[Key], Any]
    loss: Callable[[Params, Any], Float[Array, ""]]
    score: Callable[[Params], Float[Array, ""]]
    steps: int
    schedule: Callable[[Int[Array, ""], int], Float[Array, ""]] = cosine
    max_loss_ratio: float = 3.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.max_loss_ratio > 1:
            raise ValueError(
                f"Proxy: expected steps >= 1 and max_loss_ratio > 1 (got {self.steps} and {self.max_loss_ratio})"
            )

    @classmethod
    def of_task(cls, task: Task, steps: int, num_batches: int = 8) -> "Proxy":
        """A supervised task as a proxy of `steps` updates.

        The score is minus the mean loss on `num_batches` held-out batches, the same for all learners.

        Raises:
            ValueError: a task with several instances.
        """
        instance = task.sample(jax.random.key(0))
        if jax.tree.leaves(instance):
            raise ValueError(f"proxy: expected a task with a single instance (got {type(task).__name__})")

        def score(params: Params) -> jax.Array:
            keys = jax.random.split(jax.random.key(0), num_batches)
            batches = jax.vmap(lambda key: task.batch(key, instance, held_out=True))(keys)
            return -jax.vmap(lambda batch: task.loss(instance, params, batch)[0])(batches).mean()

        return cls(
            init=lambda key: task.init(key, instance),
            batch=lambda key: task.batch(key, instance, held_out=False),
            loss=lambda params, batch: task.loss(instance, params, batch)[0],
            score=score,
            steps=steps,
        )


class Learners(struct.PyTreeNode):
    """States of N learners with P parameters and E extra variables.

    Attributes:
        w: weights.
        extras: extra variables of the programs.
        active: whether a learner has not diverged.
        first_loss: loss at the first step, infinity before.
    """

    w: Float[Array, "N P"]
    extras: Float[Array, "N E P"]
    active: Bool[Array, " N"]
    first_loss: Float[Array, " N"]


def init_learners(proxy: Proxy, layout: Layout, key: Key, number: int) -> Learners:
    """`number` copies of one initial learner."""
    w, _ = ravel_pytree(proxy.init(key))
    return Learners(
        w=jnp.tile(w[None], (number, 1)),
        extras=jnp.zeros((number, layout.extras, layout.width), w.dtype),
        active=jnp.ones(number, bool),
        first_loss=jnp.full(number, jnp.inf, w.dtype),
    )


def make_train(
    proxy: Proxy, layout: Layout, interpreter: Interpreter
) -> Callable[[Key, Code, Learners, Int[Array, ""], Int[Array, ""]], tuple[Learners, Float[Array, " N"]]]:
    """A pure function `(key, codes, learners, start, stop) -> (learners, scores)` that makes updates `start` to `stop`.

    The minibatch of step i depends on the key and i only, so all learners get the same minibatches in every batch of
    programs. A learner diverges if its loss is not finite or exceeds `proxy.max_loss_ratio` times its first loss. Its
    program is then no longer executed, and its score is minus infinity.
    """
    template = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(proxy.init, jax.random.key(0)))
    _, unravel = ravel_pytree(template)

    def loss(w: Array, batch: Any) -> Array:
        return proxy.loss(unravel(w), batch)

    def step(key: Key, codes: Code, i: Array, learners: Learners) -> Learners:
        batch = proxy.batch(jax.random.fold_in(key, i))
        losses, g = jax.vmap(jax.value_and_grad(loss), (0, None))(learners.w, batch)
        first_loss = jnp.where(i == 0, losses, learners.first_loss)
        active = learners.active & (losses <= proxy.max_loss_ratio * first_loss)
        masked = codes.replace(length=jnp.where(active, codes.length, 0))
        lr = proxy.schedule(i, proxy.steps).astype(g.dtype)
        update, extras = interpreter(layout, masked, learners.w, g, learners.extras, lr)
        updated = learners.replace(w=learners.w - update, extras=extras)
        return tree.where(active, updated, learners).replace(active=active, first_loss=first_loss)

    def train(key: Key, codes: Code, learners: Learners, start: Array, stop: Array) -> tuple[Learners, Array]:
        learners = jax.lax.fori_loop(start, stop, lambda i, x: step(key, codes, i, x), learners)
        scores = jax.vmap(lambda w: proxy.score(unravel(w)))(learners.w)
        return learners, jnp.where(learners.active & jnp.isfinite(scores), scores, -jnp.inf)

    return train


@dataclass(frozen=True)
class Rung:
    """A rung of successive halving: which candidates continue to train after `step` updates.

    Attributes:
        step: number of updates after which learners are scored.
        keep: fraction of the candidates, the best ones, that continue.
        threshold: score from which a candidate continues whatever its rank.
    """

    step: int
    keep: float = 0.5
    threshold: float = float("inf")


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation of n programs.

    Attributes:
        fitness: `[n]`, larger is better; minus infinity for a program that cannot be encoded or whose learner diverged.
        finished: whether all updates were made, `[n]`.
        updates: number of updates, over all learners of all programs.
        scores: score of each learner, `[n, seeds]`; NaN for programs that did not finish.
    """

    fitness: np.ndarray
    finished: np.ndarray
    updates: int
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class Evaluator:
    """Fitness of programs: the mean final score of learners that they train, one learner per seed.

    All programs train the same initial learners on the same minibatches. Successive halving applies to the first seed:
    a program that a rung rejects has its first learner's score at that rung as its fitness, and does not train on the
    other seeds. One computation of `lanes` learners is compiled; it runs all programs.

    Attributes:
        proxy: the proxy task.
        extras: maximum number of extra variables of a program.
        seeds: seeds of the initial learners and minibatches.
        rungs: rungs of successive halving, in the order of their steps.
        lanes: number of learners in one call of the compiled computation.
        capacity: maximum number of statements, and of constants; the fitness of a longer program is minus infinity.
        threads: number of concurrent calls; None for the number of processors.
        interpreter: `interpret_sequential` (CPU) or `interpret_vectorised` (accelerators).
        compile: transformation that compiles the computation, as `jax.jit` does.

    Raises:
        ValueError: no seeds, no lanes, or rungs whose steps do not increase strictly between 0 and `proxy.steps`.

    Paper: arXiv 2302.06675, section 2; successive halving: arXiv 1502.07943.
    """

    proxy: Proxy
    extras: int = 2
    seeds: tuple[int, ...] = (0,)
    rungs: tuple[Rung, ...] = ()
    lanes: int = 64
    capacity: int = 32
    threads: int | None = None
    interpreter: Interpreter = interpret_sequential
    compile: Callable[..., Any] = field(default=jax.jit)

    def __post_init__(self) -> None:
        if not self.seeds or self.lanes < 1:
            raise ValueError(f"Evaluator: expected seeds and lanes >= 1 (got {self.seeds} and {self.lanes})")
        steps = [0, *(rung.step for rung in self.rungs), self.proxy.steps]
        if steps != sorted(set(steps)):
            raise ValueError(f"Evaluator: rungs must increase between 0 and {self.proxy.steps} (got {steps[1:-1]})")

    def __call__(self, programs: Sequence[Program]) -> Evaluation:
        """Evaluate programs; the order of the results is that of the programs."""
        fitness, finished = np.full(len(programs), -np.inf), np.zeros(len(programs), bool)
        scores = np.full((len(programs), len(self.seeds)), np.nan)
        codes = {i: code for i, p in enumerate(programs) if (code := self._encode(p)) is not None}
        if not codes:
            return Evaluation(fitness, finished, 0, scores)
        remaining, updates = self._train_first_seed(codes, fitness)
        if not len(remaining):
            return Evaluation(fitness, finished, updates, scores)
        scores[remaining, 0] = fitness[remaining]
        for i, seed in enumerate(self.seeds[1:], 1):
            _, scores[remaining, i] = self._train(seed, [codes[j] for j in remaining], None, 0, self.proxy.steps)
            updates += len(remaining) * self.proxy.steps
        fitness[remaining] = scores[remaining].mean(1)
        finished[remaining] = True
        return Evaluation(fitness, finished, updates, scores)

    def _encode(self, program: Program) -> Code | None:
        try:
            return encode(program, self.layout)
        except ValueError:
            return None

    def _train_first_seed(self, codes: dict[int, Code], fitness: np.ndarray) -> tuple[np.ndarray, int]:
        """Write the fitness at each rung and at the end; returns the programs that finished, and the updates made."""
        remaining, learners, start, updates = np.array(list(codes)), None, 0, 0
        for rung in (*self.rungs, Rung(self.proxy.steps, keep=1.0)):
            learners, scores = self._train(self.seeds[0], [codes[i] for i in remaining], learners, start, rung.step)
            updates += len(remaining) * (rung.step - start)
            fitness[remaining] = scores
            selected = survivors(scores, rung)
            remaining, start = remaining[selected], rung.step
            learners = jax.tree.map(lambda x, selected=selected: x[selected], learners)
            if not len(remaining):
                break
        return remaining, updates

    def _train(
        self, seed: int, codes: Sequence[Code], learners: Learners | None, start: int, stop: int
    ) -> tuple[Learners, np.ndarray]:
        """Train learners, initial ones if None, in batches of `lanes`; returns them and their scores."""
        parts = [slice(i, i + self.lanes) for i in range(0, len(codes), self.lanes)]
        init, train = self._compiled
        key_init, key_train = jax.random.split(jax.random.key(seed))
        initial = init(key_init) if learners is None else None

        def run(part: slice) -> tuple[Learners, np.ndarray]:
            number = len(codes[part])
            # padding lanes repeat the last learner and have an empty program
            row = np.minimum(np.arange(part.start, part.start + self.lanes), len(codes) - 1)
            lanes = initial if learners is None else jax.tree.map(lambda x: x[row], learners)
            out = train(key_train, stack(codes[part], self.lanes), lanes, jnp.int32(start), jnp.int32(stop))
            return jax.tree.map(lambda x: np.asarray(x)[:number], out)

        with ThreadPoolExecutor(self.threads or os.cpu_count() or 1) as pool:
            results = list(pool.map(run, parts))
        trained = jax.tree.map(lambda *x: np.concatenate(x), *[learners for learners, _ in results])
        return trained, np.concatenate([scores for _, scores in results])

    @cached_property
    def layout(self) -> Layout:
        """Layout of the register file for the proxy's parameters."""
        return layout_of(jax.eval_shape(self.proxy.init, jax.random.key(0)), self.extras, self.capacity)

    @cached_property
    def _compiled(self) -> tuple[Any, Any]:
        """The compiled initialisation and training; computed before threads start, so that each is compiled once."""
        key, step = jax.random.key(0), jnp.int32(0)
        codes = stack([empty_code(self.layout)], self.lanes)
        init = self.compile(lambda key: init_learners(self.proxy, self.layout, key, self.lanes)).lower(key)
        train = self.compile(make_train(self.proxy, self.layout, self.interpreter))
        return init.compile(), train.lower(key, codes, init.out_info, step, step).compile()


def survivors(scores: np.ndarray, rung: Rung) -> np.ndarray:
    """Increasing indices of the candidates that continue after a rung; none with a score of minus infinity does."""
    best = np.argsort(-scores, kind="stable")[: int(np.ceil(rung.keep * len(scores)))]
    selected = (scores >= rung.threshold) | np.isin(np.arange(len(scores)), best)
    return np.flatnonzero(selected & (scores > -np.inf))
