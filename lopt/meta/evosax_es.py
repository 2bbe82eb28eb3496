"""Any distribution-based strategy of evosax as an estimator."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lopt import tree
from lopt.meta.es import in_packs, summary
from lopt.meta.lives import Lives, ages, chosen, copies, newborns, play, survivor
from lopt.protocols import Lifetime
from lopt.types import EstimatorMetrics, EstimatorState, Key, Level, Theta


@dataclass(frozen=True, eq=False)
class EvosaxES:
    """Every candidate of a population lives on every level; the strategy is told the candidates' mean losses.

    evosax minimises, and so does a meta-loss: no sign turns. The "gradient" is the step back from the strategy's new
    mean, theta - mean; with `optax.sgd(1.0)` as the meta-optimizer theta is the mean, and the strategy's own optimizer
    or covariance decides how far it moves. A level on which no candidate's loss is finite does not count; a candidate
    whose loss is not finite on one of the others counts as the worst of those that are finite on all of them.

    Attributes:
        lifetime: what is learned by the rule.
        algorithm: a distribution-based algorithm of `evosax.algorithms`, built with a solution of theta's form.
        num_updates: K, inner updates per estimate; the longest lifetime for whole lives.
        params: the algorithm's parameters; None for its defaults.
        common_noise: the candidates of a level get the same keys.
        pack: levels played side by side (by all candidates), a divisor of N; None for all of them.

    Raises:
        ValueError: `num_updates` or `pack` below one, an algorithm without a mean or with several; a theta of another
            size than the algorithm's solution (in `init`); a pack that does not divide N (in `estimate`).
    """

    lifetime: Lifetime
    algorithm: Any
    num_updates: int
    params: Any = None
    common_noise: bool = True
    pack: int | None = None

    def __post_init__(self) -> None:
        if self.num_updates < 1:
            raise ValueError(f"EvosaxES: num_updates must be at least 1 (got {self.num_updates})")
        if self.pack is not None and self.pack < 1:
            raise ValueError(f"EvosaxES: pack must be at least 1 or None (got {self.pack})")
        if not callable(getattr(self.algorithm, "get_mean", None)):
            raise ValueError(
                "EvosaxES: expected a distribution-based algorithm of evosax, one with get_mean "
                f"(got {type(self.algorithm).__name__})"
            )
        if getattr(self.algorithm, "num_populations", None) is not None:
            raise ValueError(
                "EvosaxES: theta is one mean, and a Stein variational algorithm moves several "
                f"(got {type(self.algorithm).__name__} with num_populations={self.algorithm.num_populations})"
            )

    def init(self, key: Key, theta: Theta, levels: Level) -> EstimatorState:
        """Newborn learners `[N]`; shared: the strategy's state, around theta."""
        size = sum(leaf.size for leaf in jax.tree.leaves(theta))
        if size != self.algorithm.num_dims:
            raise ValueError(
                f"EvosaxES: theta has {size} numbers, the algorithm was built for {self.algorithm.num_dims}; "
                "build it with solution=theta"
            )
        key_strategy, key_births = jax.random.split(key)
        learners = newborns(self.lifetime, key_births, theta, levels)
        strategy = self.algorithm.init(key_strategy, theta, self._params)
        return EstimatorState(lives=learners, shared=tree.canonical(strategy))

    def learners(self, state: EstimatorState) -> Any:
        """One learner of each level: the best candidate's if its life is over, else a blindly drawn one's."""
        return state.lives

    def age(self, state: EstimatorState) -> Int[Array, " N"]:
        """Inner updates each has done."""
        return ages(self.lifetime, state.lives)

    def estimate(
        self, key: Key, theta: Theta, levels: Level, state: EstimatorState
    ) -> tuple[Theta, EstimatorState, EstimatorMetrics]:
        """The step back from the new mean, the learners that go on, and metrics."""
        num, size = levels.lifetime.shape[0], self.algorithm.population_size
        pack = self.pack or num
        if num % pack:
            raise ValueError(f"EvosaxES: pack must divide the number of levels (got {pack} and {num})")
        key_ask, key_tell, key_lives, key_survivors = jax.random.split(key, 4)
        with jax.numpy_rank_promotion("allow"):  # evosax relies on it
            population, strategy = self.algorithm.ask(key_ask, state.shared, self._params)
        own = jax.random.split(key_lives, (num, 1 if self.common_noise else size))
        left = levels.lifetime - self.age(state)

        def group(xs):
            keys, levels, learners = xs
            return play(self.lifetime, keys, population, levels, copies(learners, size), self.num_updates, shared=True)

        rows = (jnp.broadcast_to(own, (num, size)), levels, state.lives)
        lives: Lives = in_packs(group, rows, left, pack)
        loss = comparable(lives.loss)
        with jax.numpy_rank_promotion("allow"):
            strategy, _ = self.algorithm.tell(key_tell, population, loss, strategy, self._params)
        strategy = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), strategy, state.shared)
        mean = self.algorithm.get_mean(strategy)
        over = left <= self.num_updates
        draws = jax.random.split(key_survivors, num)
        which = jax.vmap(survivor, (0, None, 0))(draws, loss, over)
        learners, told, steps = chosen(lives, which)
        meta = summary(lives.loss, lives.computed, left, self.num_updates) | told
        gradient = jax.tree.map(lambda t, m: (t - m).astype(t.dtype), theta, mean)
        metrics = EstimatorMetrics(meta=meta, steps=steps, finite=jnp.isfinite(lives.loss).any(-1))
        return gradient, EstimatorState(learners, strategy), metrics

    @property
    def _params(self) -> Any:
        return self.algorithm.default_params if self.params is None else self.params


def comparable(losses: Float[Array, "N P"]) -> Float[Array, " P"]:
    """The candidates' mean losses over the levels on which any of them is finite; all of them finite.

    A candidate that is not finite on one of these levels gets the worst mean of those that are finite on all of them,
    or, if none is, the mean with the worst finite loss of a level in the place of its own.
    """
    finite = jnp.isfinite(losses)
    counts = finite.any(1)
    worst = jnp.where(finite, losses, -jnp.inf).max(1, keepdims=True)
    filled = jnp.where(finite, losses, jnp.where(counts[:, None], worst, 0.0))
    mean = filled.sum(0) / jnp.maximum(counts.sum(), 1)
    whole = (finite | ~counts[:, None]).all(0)
    return jnp.where(whole, mean, jnp.maximum(mean, jnp.where(whole, mean, -jnp.inf).max()))
