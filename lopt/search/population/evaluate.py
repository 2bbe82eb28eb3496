"""What programs are worth: many of them trained at once, the worse ones for a shorter time."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lopt.search.population.code import Code, Layout, layout_of
from lopt.search.population.encode import encode, idle, stack
from lopt.search.population.interpret import Interpreter, one_by_one
from lopt.search.population.proxy import Proxy
from lopt.search.population.training import Learners, newborns, training
from lopt.search.program import Program


@dataclass(frozen=True)
class Rung:
    """A pause after `step` updates: the better `keep` of the candidates go on, and all that score at least `bar`."""

    step: int
    keep: float = 0.5
    bar: float = float("inf")


@dataclass(frozen=True)
class Evaluation:
    """Fitness `[n]` (larger is better, minus infinity for a program that cannot be run or is lost), whether a program
    was trained to the end `[n]`, the updates of learners that were done for all of them, and the score of every learner
    `[n, seeds]` of the finished (NaN of the others).
    """

    fitness: np.ndarray
    finished: np.ndarray
    updates: int
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class Evaluator:
    """Trains learners by candidate programs; every program gets the same newborns and the same minibatches.

    Fitness is the mean score of the learners at the end of life. A program that is stopped at a rung, in the life of
    its first learner, is worth what that learner scored there. Nothing is compiled but one computation of `lanes`
    learners, whatever the programs.

    Attributes:
        proxy: what is learned.
        extras: extra variables of the programs.
        seeds: one learner for each.
        rungs: where candidates are stopped.
        lanes: learners side by side in a thread.
        capacity: statements that a program may have; one that is longer is worth minus infinity.
        threads: computations at a time; None for the number of processors.
        interpreter: `one_by_one` or `side_by_side`.
        compile: how the computation is compiled.

    Raises:
        ValueError: no seeds, no lanes, or rungs that do not rise within a life.

    Paper: arXiv 2302.06675, section 2; successive halving: arXiv 1502.07943.
    """

    proxy: Proxy
    extras: int = 2
    seeds: tuple[int, ...] = (0,)
    rungs: tuple[Rung, ...] = ()
    lanes: int = 64
    capacity: int = 32
    threads: int | None = None
    interpreter: Interpreter = one_by_one
    compile: Callable[..., Any] = field(default=jax.jit)

    def __post_init__(self) -> None:
        if not self.seeds or self.lanes < 1:
            raise ValueError(f"Evaluator: expected seeds and lanes >= 1 (got {self.seeds} and {self.lanes})")
        steps = [0, *(rung.step for rung in self.rungs), self.proxy.steps]
        if steps != sorted(set(steps)):
            raise ValueError(f"Evaluator: rungs must rise within 0 and {self.proxy.steps} (got {steps[1:-1]})")

    def __call__(self, programs: Sequence[Program]) -> Evaluation:
        """Train learners by each of them."""
        fitness, finished = np.full(len(programs), -np.inf), np.zeros(len(programs), bool)
        scores = np.full((len(programs), len(self.seeds)), np.nan)
        codes = {i: code for i, p in enumerate(programs) if (code := self._encode(p)) is not None}
        if not codes:
            return Evaluation(fitness, finished, 0, scores)
        left, updates = self._first_life(codes, fitness)
        if not len(left):
            return Evaluation(fitness, finished, updates, scores)
        scores[left, 0] = fitness[left]
        for i, seed in enumerate(self.seeds[1:], 1):
            _, scores[left, i] = self._train(seed, [codes[one] for one in left], None, 0, self.proxy.steps)
            updates += len(left) * self.proxy.steps
        fitness[left] = scores[left].mean(1)
        finished[left] = True
        return Evaluation(fitness, finished, updates, scores)

    def _encode(self, program: Program) -> Code | None:
        try:
            return encode(program, self.layout)
        except ValueError:
            return None

    def _first_life(self, codes: dict[int, Code], fitness: np.ndarray) -> tuple[np.ndarray, int]:
        """Write fitness at every rung and at the end; who got there, and how many updates it took."""
        left, learners, start, updates = np.array(list(codes)), None, 0, 0
        for rung in (*self.rungs, Rung(self.proxy.steps, keep=1.0)):
            learners, scores = self._train(self.seeds[0], [codes[i] for i in left], learners, start, rung.step)
            updates += len(left) * (rung.step - start)
            fitness[left] = scores
            chosen = survivors(scores, rung)
            left, start = left[chosen], rung.step
            learners = jax.tree.map(lambda x, chosen=chosen: x[chosen], learners)
            if not len(left):
                break
        return left, updates

    def _train(
        self, seed: int, codes: Sequence[Code], learners: Learners | None, start: int, stop: int
    ) -> tuple[Learners, np.ndarray]:
        """Learners, as they are or newborn, trained in packs of `lanes`."""
        parts = [slice(i, i + self.lanes) for i in range(0, len(codes), self.lanes)]
        born, advance = self._compiled
        key_birth, key_life = jax.random.split(jax.random.key(seed))
        newborn = born(key_birth) if learners is None else None

        def run(part: slice) -> tuple[Learners, np.ndarray]:
            number = len(codes[part])
            # surplus lanes repeat the last learner, and have no program
            row = np.minimum(np.arange(part.start, part.start + self.lanes), len(codes) - 1)
            lanes = newborn if learners is None else jax.tree.map(lambda x: x[row], learners)
            out = advance(key_life, stack(codes[part], self.lanes), lanes, jnp.int32(start), jnp.int32(stop))
            return jax.tree.map(lambda x: np.asarray(x)[:number], out)

        with ThreadPoolExecutor(self.threads or os.cpu_count() or 1) as pool:
            results = list(pool.map(run, parts))
        grown = jax.tree.map(lambda *x: np.concatenate(x), *[learners for learners, _ in results])
        return grown, np.concatenate([scores for _, scores in results])

    @cached_property
    def layout(self) -> Layout:
        """Of the programs' values."""
        return layout_of(jax.eval_shape(self.proxy.init, jax.random.key(0)), self.extras, self.capacity)

    @cached_property
    def _compiled(self) -> tuple[Any, Any]:
        """Giving birth, and training; compiled once, before threads ask for them."""
        key, step = jax.random.key(0), jnp.int32(0)
        codes = stack([idle(self.layout)], self.lanes)
        born = self.compile(lambda key: newborns(self.proxy, self.layout, key, self.lanes)).lower(key)
        advance = self.compile(training(self.proxy, self.layout, self.interpreter))
        return born.compile(), advance.lower(key, codes, born.out_info, step, step).compile()


def survivors(scores: np.ndarray, rung: Rung) -> np.ndarray:
    """Who goes on: indices in rising order. The lost never do."""
    better = np.argsort(-scores, kind="stable")[: int(np.ceil(rung.keep * len(scores)))]
    chosen = (scores >= rung.bar) | np.isin(np.arange(len(scores)), better)
    return np.flatnonzero(chosen & (scores > -np.inf))
