"""Distribution-based evolution strategies of evosax as estimators of the meta-gradient."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lopt import tree
from lopt.meta.es import in_packs, loss_summary
from lopt.meta.population import (
    PopulationUnroll,
    ages,
    choose_survivor,
    init_learners,
    repeat_learners,
    take_candidates,
    unroll_population,
)
from lopt.protocols import Lifetime
from lopt.types import EstimatorMetrics, EstimatorState, Key, Level, Theta


@dataclass(frozen=True, eq=False, kw_only=True)
class EvosaxES:
    """A distribution-based strategy of evosax: all P candidates are evaluated on all N levels; gradient = theta - mean.

    The strategy minimises the candidates' mean meta-losses (evosax minimises, so no sign turns). `mean` is its mean
    after the update: with `optax.sgd(1.0)` as the meta-optimizer theta equals the mean, and the strategy's own
    optimizer or covariance sets the step. Non-finite losses are treated as in `mean_losses`. A level whose lifetime
    goes on keeps the learner state of one candidate, drawn as in `ES`.

    Attributes:
        lifetime: the inner problem.
        algorithm: a distribution-based algorithm of `evosax.algorithms`, built with `solution=theta`.
        num_updates: K, inner updates per estimate; at least the longest lifetime for unrolls without truncation.
        params: the algorithm's parameters; None for its defaults.
        common_noise: the candidates of a level use the same keys (common random numbers).
        pack: number of levels unrolled side by side (each with all candidates), a divisor of N; None for all of them.

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
        """Initial learners `[N]`; the shared state is the strategy's, with theta as its mean."""
        size = sum(leaf.size for leaf in jax.tree.leaves(theta))
        if size != self.algorithm.num_dims:
            raise ValueError(
                f"EvosaxES: theta has {size} numbers, the algorithm was built for {self.algorithm.num_dims}; "
                "build it with solution=theta"
            )
        key_strategy, key_init = jax.random.split(key)
        learners = init_learners(self.lifetime, key_init, theta, levels)
        strategy = self.algorithm.init(key_strategy, theta, self._params)
        return EstimatorState(per_lifetime=learners, shared=tree.canonical(strategy))

    def learners(self, state: EstimatorState) -> Any:
        """The learner states that the levels have kept, leaves `[N, ...]`."""
        return state.per_lifetime

    def age(self, state: EstimatorState) -> Int[Array, " N"]:
        """Number of inner updates that each lifetime has made."""
        return ages(self.lifetime, state.per_lifetime)

    def estimate(
        self, key: Key, theta: Theta, levels: Level, state: EstimatorState
    ) -> tuple[Theta, EstimatorState, EstimatorMetrics]:
        """theta minus the strategy's new mean, the learner states after up to K updates, and metrics."""
        num, size = levels.num_updates.shape[0], self.algorithm.population_size
        pack = self.pack or num
        if num % pack:
            raise ValueError(f"EvosaxES: pack must divide the number of levels (got {pack} and {num})")
        key_ask, key_tell, key_lifetimes, key_survivors = jax.random.split(key, 4)
        with jax.numpy_rank_promotion("allow"):  # evosax relies on it
            population, strategy = self.algorithm.ask(key_ask, state.shared, self._params)
        lifetime_keys = jax.random.split(key_lifetimes, (num, 1 if self.common_noise else size))
        left = levels.remaining(self.age(state))

        def unroll_pack(xs):
            keys, levels, learners = xs
            return unroll_population(
                self.lifetime, keys, population, levels, repeat_learners(learners, size), self.num_updates, shared=True
            )

        rows = (jnp.broadcast_to(lifetime_keys, (num, size)), levels, state.per_lifetime)
        unrolled: PopulationUnroll = in_packs(unroll_pack, rows, left, pack)
        loss = mean_losses(unrolled.loss)
        with jax.numpy_rank_promotion("allow"):
            strategy, _ = self.algorithm.tell(key_tell, population, loss, strategy, self._params)
        strategy = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), strategy, state.shared)
        mean = self.algorithm.get_mean(strategy)
        ended = left <= self.num_updates
        survivor_keys = jax.random.split(key_survivors, num)
        candidate = jax.vmap(choose_survivor, (0, None, 0))(survivor_keys, loss, ended)
        learners, loss_metrics, steps = take_candidates(unrolled, candidate)
        meta = loss_summary(unrolled.loss, unrolled.computed, left, self.num_updates) | loss_metrics
        gradient = jax.tree.map(lambda t, m: (t - m).astype(t.dtype), theta, mean)
        metrics = EstimatorMetrics(meta=meta, steps=steps, finite=jnp.isfinite(unrolled.loss).any(-1))
        return gradient, EstimatorState(learners, strategy), metrics

    @property
    def _params(self) -> Any:
        return self.algorithm.default_params if self.params is None else self.params


def mean_losses(losses: Float[Array, "N P"]) -> Float[Array, " P"]:
    """Each candidate's mean loss over the levels on which any candidate has a finite loss; always finite.

    A non-finite loss on one of these levels is replaced by the worst finite loss of that level, and the mean of its
    candidate is at least the worst mean of the candidates that are finite on all of these levels.
    """
    finite = jnp.isfinite(losses)
    valid = finite.any(1)
    worst = jnp.where(finite, losses, -jnp.inf).max(1, keepdims=True)
    filled = jnp.where(finite, losses, jnp.where(valid[:, None], worst, 0.0))
    mean = filled.sum(0) / jnp.maximum(valid.sum(), 1)
    complete = (finite | ~valid[:, None]).all(0)
    return jnp.where(complete, mean, jnp.maximum(mean, jnp.where(complete, mean, -jnp.inf).max()))
