"""Fitness of many programs at once, with successive halving."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lopt.search.population.code import Code, Layout, empty_code, encode, layout_of, stack
from lopt.search.population.interpret import Interpreter, interpret_sequential
from lopt.search.population.training import Learners, Proxy, init_learners, make_train
from lopt.search.program import Program


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
