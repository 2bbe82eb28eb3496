"""What an optimizer is worth: newborn learners, trained for one life, by it and by tuned hand-made ones."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common.compiling import often, once
from experiments.learned_optimizer.config import StudyConfig
from experiments.learned_optimizer.names import BASELINES, TASKS
from lopt.optimizers import Designed
from lopt.protocols import LearnedOptimizer, Task
from lopt.tasks import SupervisedLifetime, Variations
from lopt.types import Key, Level, Theta
from lopt.unroll import unroll

CURVE, TUNING, TABLE = 1, 2, 3
"""Which newborns: those of the learning curve, those that judge learning rates, those of the table."""
BATCHES = 16
"""Held-out batches that measure a learner."""
LOST = 10.0
"""No learner counts as worse than this many times its loss at birth."""


@dataclass(frozen=True, eq=False)
class Gauge:
    """Trains `at_once` newborns of a task side by side; all optimizers get the same newborns and the same minibatches.

    Attributes:
        task: what they learn.
        lifetime: updates of a life.
        at_once: learners per call.
    """

    task: Task
    lifetime: int
    at_once: int

    @cached_property
    def newborns(self) -> Callable[[Key], Level]:
        """A jitted `key -> levels [at_once]`."""
        sample = jax.vmap(Variations(self.task, self.lifetime))
        return once(lambda key: sample(jax.random.split(key, self.at_once)))

    def lives(self, optimizer: LearnedOptimizer) -> Callable[[Theta, int, int], tuple[np.ndarray, np.ndarray]]:
        """`(theta, which, number) -> (held-out losses [number] at the end, training losses [number, lifetime])`."""
        life = SupervisedLifetime(self.task, optimizer)

        def one(theta: Theta, key: Key, level: Level):
            key_life, key_loss = jax.random.split(key)
            batches = jax.random.split(key_loss, BATCHES)

            def loss(student: Any):
                return jax.vmap(lambda key: life.meta_loss(key, theta, level, student)[0])(batches).mean()

            born = life.init(key, theta, level)
            grown, told = unroll(lambda k, s: life.step(k, theta, level, s), key_life, born, self.lifetime)
            worst = LOST * loss(born)
            final = loss(grown)
            return jnp.where(final < worst, final, worst), told["loss"]

        many = often(lambda theta, keys, levels: jax.vmap(one, (None, 0, 0))(theta, keys, levels))

        def run(theta: Theta, which: int, number: int) -> tuple[np.ndarray, np.ndarray]:
            finals, curves = [], []
            for part in range(number // self.at_once):
                key_levels, key_lives = jax.random.split(jax.random.fold_in(jax.random.key(which), part))
                out = many(theta, jax.random.split(key_lives, self.at_once), self.newborns(key_levels))
                finals.append(np.asarray(out[0]))
                curves.append(np.asarray(out[1]))
            return np.concatenate(finals), np.concatenate(curves)

        return run


@dataclass(frozen=True)
class Measured:
    """Held-out losses `[seeds]` at the end of life, the mean training loss `[lifetime]`, and the tuned rate, if any."""

    losses: np.ndarray
    curve: np.ndarray
    rate: float | None = None


def compare(config: StudyConfig, rule: LearnedOptimizer, thetas: dict[str, Theta], name: str) -> dict[str, Measured]:
    """Every member of `thetas`, as it is, and every baseline, tuned, on the task `name`."""
    sizes = config.eval
    gauge = Gauge(TASKS[name](), config.training.lifetime, sizes.tuning_seeds)
    ruled = gauge.lives(rule)
    results = {who: _measured(ruled(theta, TABLE, sizes.seeds)) for who, theta in thetas.items()}
    for who, make in BASELINES.items():
        taught = gauge.lives(Designed(partial(_by_rate, make)))
        rates = np.geomspace(sizes.smallest_rate, sizes.largest_rate, sizes.rates).astype(np.float32)
        judged = [taught(rate, TUNING, sizes.tuning_seeds)[0].mean() for rate in rates]
        best = rates[int(np.argmin(judged))]
        results[who] = _measured(taught(best, TABLE, sizes.seeds), float(best))
    return results


def _by_rate(make: Any, theta: Any) -> Any:
    return make(theta)


def _measured(out: tuple[np.ndarray, np.ndarray], rate: float | None = None) -> Measured:
    losses, curves = out
    return Measured(losses, np.nanmean(curves, 0), rate)
