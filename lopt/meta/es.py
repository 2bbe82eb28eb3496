"""Antithetic evolution strategies: one pair of perturbed thetas on each level, and the shaping of their fitness.

A shaping maps fitness `[N, 2]` (higher is better) to weights `[N, 2]`. The members of a tied pair get equal weights, so
that the pair contributes nothing. A NaN fitness counts as the worst and never becomes a weight.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from lopt import tree
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
from lopt.types import EstimatorMetrics, EstimatorState, Key, Level, Metrics, Theta

Shaping = Callable[[Float[Array, "N 2"]], Float[Array, "N 2"]]
"""Function from fitness `[N, 2]` to weights `[N, 2]`."""


@dataclass(frozen=True)
class PairSign:
    """Weight 1/2 for the better member of a pair, -1/2 for the other, 0 for a tie; invariant to each level's scale.

    Paper: arXiv 2402.05828, antithetic task sampling. Differs: its code counts a tie as a win of the second member,
    which adds noise on levels where both members get the same fitness.
    """

    def __call__(self, fitness: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
        """Weights `[N, 2]` of the candidates with this fitness."""
        fitness = _nan_to_worst(fitness)
        first, second = fitness[:, 0], fitness[:, 1]
        sign = (first > second).astype(jnp.float32) - (first < second).astype(jnp.float32)
        return 0.5 * jnp.stack([sign, -sign], -1)


@dataclass(frozen=True)
class CentredRank:
    """Ranks among all 2 N candidates, scaled to [-1/2, 1/2]; tied candidates share their mean rank.

    It compares candidates across levels, so the levels should have fitness of the same scale.

    Paper: arXiv 1703.03864, section 2.1. Differs: the authors' code breaks ties by position.
    """

    def __call__(self, fitness: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
        """Weights `[N, 2]` of the candidates with this fitness."""
        values = _nan_to_worst(fitness).ravel()
        ranks = jax.scipy.stats.rankdata(values) - 1
        return (ranks / (values.size - 1) - 0.5).reshape(fitness.shape).astype(jnp.float32)


@dataclass(frozen=True)
class ZScore:
    """(F - mean F) / std F over all 2 N candidates; 0 if all are equal.

    A non-finite fitness is first replaced by the lowest finite one.
    """

    def __call__(self, fitness: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
        """Weights `[N, 2]` of the candidates with this fitness."""
        finite = jnp.isfinite(fitness)
        worst = jnp.where(finite, fitness, jnp.inf).min()
        fitness = jnp.where(finite, fitness, jnp.where(finite.any(), worst, 0.0))
        centred = fitness - fitness.mean()
        std = fitness.std()
        # rounding in the mean must not become a direction
        tied = fitness.max() == fitness.min()
        return jnp.where(tied, 0.0, centred / jnp.where(tied, 1.0, std))


@dataclass(frozen=True)
class Raw:
    """The fitness itself, which gives the unbiased gradient of the smoothed objective.

    Both weights of a pair with a non-finite fitness are 0.
    """

    def __call__(self, fitness: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
        """Weights `[N, 2]` of the candidates with this fitness."""
        return jnp.where(jnp.isfinite(fitness).all(-1, keepdims=True), fitness, 0.0)


def _nan_to_worst(fitness: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
    """The fitness with minus infinity in the place of NaN."""
    return jnp.where(jnp.isnan(fitness), -jnp.inf, fitness)


@dataclass(frozen=True, kw_only=True)
class ES:
    """Antithetic evolution strategy: gradient = - sum_n (w_n+ - w_n-) eps_n / (2 N sigma).

    Pair n is theta +- sigma eps_n with eps_n ~ N(0, I), evaluated on level n. Both members start from the same initial
    learner and, with `common_noise`, use the same keys, so that they differ in theta alone. The fitness is minus the
    meta-loss after the unroll; `shaping` maps it to the weights w. The gradient goes to any optax optimizer: with Adam
    this is OpenES whose mean starts at the initial theta. eps_n is drawn again from its key where it is needed and
    never stored.

    Lifetimes may differ in length. They are sorted by the number of updates left and unrolled in packs of `pack`
    levels, each pack until the longest lifetime in it has ended. Two metrics measure the effect:
    `frac_updates_skipped`, the fraction of updates saved relative to unrolling all lifetimes as far as the longest, and
    `frac_updates_wasted`, the fraction of the computed updates that came after the end of a lifetime.

    With `num_updates` below the lifetime this is truncated ES, whose gradient the truncation biases (that of `PES` is
    unbiased). A pair whose lifetime goes on keeps the learner state of one member, drawn uniformly among those with a
    finite loss. Keeping the better one would select for noise in every window, and the learner states would become
    better than any theta reaches. A pair whose lifetime has ended keeps the better member's.

    Attributes:
        lifetime: the inner problem.
        num_updates: K, inner updates per estimate; at least the longest lifetime for ES without truncation.
        std: sigma, or a schedule from the number of estimates made so far to sigma.
        shaping: fitness shaping, from fitness `[N, 2]` to weights `[N, 2]`.
        common_noise: both members of a pair use the same keys (common random numbers).
        pack: number of levels unrolled side by side, a divisor of N; None for all of them.

    Raises:
        ValueError: `num_updates` or `pack` below one; a `std` that is not positive; a pack that does not divide N (in
            `estimate`).

    Paper: arXiv 1703.03864; antithetic task sampling arXiv 2402.05828, section 4. Differs: the official codes start at
        theta = 0 instead of at the network's initialisation, and give the two members of a pair different keys.
    """

    lifetime: Lifetime
    num_updates: int
    std: float | Callable[[Int[Array, ""]], Float[Array, ""]] = 0.1
    shaping: Shaping = PairSign()
    common_noise: bool = True
    pack: int | None = None

    def __post_init__(self) -> None:
        if self.num_updates < 1:
            raise ValueError(f"ES: num_updates must be at least 1 (got {self.num_updates})")
        if not callable(self.std) and not self.std > 0:
            raise ValueError(f"ES: std must be positive (got {self.std})")
        if self.pack is not None and self.pack < 1:
            raise ValueError(f"ES: pack must be at least 1 or None (got {self.pack})")

    def init(self, key: Key, theta: Theta, levels: Level) -> EstimatorState:
        """Initial learners `[N]`; the shared state is the number of estimates made so far."""
        learners = init_learners(self.lifetime, key, theta, levels)
        return EstimatorState(per_lifetime=learners, shared=jnp.zeros((), jnp.int32))

    def learners(self, state: EstimatorState) -> Any:
        """The learner states that the pairs have kept, leaves `[N, ...]`."""
        return state.per_lifetime

    def age(self, state: EstimatorState) -> Int[Array, " N"]:
        """Number of inner updates that each lifetime has made."""
        return ages(self.lifetime, state.per_lifetime)

    def estimate(
        self, key: Key, theta: Theta, levels: Level, state: EstimatorState
    ) -> tuple[Theta, EstimatorState, EstimatorMetrics]:
        """The ES gradient, the learner states after up to K updates, and metrics.

        The metrics of the meta-loss and of the updates are those of the member of each pair that was kept.
        """
        num = levels.num_updates.shape[0]
        pack = self.pack or num
        if num % pack:
            raise ValueError(f"ES: pack must divide the number of levels (got {pack} and {num})")
        key_noise, key_lifetimes, key_survivors = jax.random.split(key, 3)
        noise_keys = jax.random.split(key_noise, num)
        std = self.std(state.shared) if callable(self.std) else self.std

        def unroll_pack(xs):
            keys, survivor_keys, *inputs = xs
            eps = jax.vmap(noise, (0, None))(keys, theta)
            pair = jax.tree.map(lambda t, e: jnp.stack([t[None] + std * e, t[None] - std * e], 1), theta, eps)
            return self._unroll_pairs(survivor_keys, pair, *inputs)

        lifetime_keys = jax.random.split(key_lifetimes, (num, 1 if self.common_noise else 2))
        left = levels.remaining(self.age(state))
        survivor_keys = jax.random.split(key_survivors, num)
        rows = (noise_keys, survivor_keys, jnp.broadcast_to(lifetime_keys, (num, 2)), levels, state.per_lifetime)
        learners, (losses, loss_metrics, steps, computed) = in_packs(unroll_pack, rows, left, pack)
        # fitness is minus the loss: the one place where the sign turns
        weights = self.shaping(-losses)
        gradient = self._combine(noise_keys, theta, weights[:, 0] - weights[:, 1], pack, -1 / (2 * num * std))
        meta = loss_summary(losses, computed, left, self.num_updates) | loss_metrics
        metrics = EstimatorMetrics(meta=meta, steps=steps, finite=jnp.isfinite(losses).any(-1))
        return gradient, EstimatorState(learners, state.shared + 1), metrics

    def _unroll_pairs(self, survivor_keys: Key, pair: Theta, keys: Key, levels: Level, learners: Any):
        """The learner state that each of some pairs keeps, and their losses and metrics."""
        unrolled: PopulationUnroll = unroll_population(
            self.lifetime, keys, pair, levels, repeat_learners(learners, 2), self.num_updates, shared=False
        )
        ended = ~levels.active(ages(self.lifetime, tree.take(unrolled.learners, (slice(None), 0))))
        member = jax.vmap(choose_survivor)(survivor_keys, unrolled.loss, ended)
        learners, loss_metrics, steps = take_candidates(unrolled, member)
        return learners, (unrolled.loss, loss_metrics, steps, unrolled.computed)

    def _combine(self, keys: Key, theta: Theta, weights: Float[Array, " N"], pack: int, scale: Any) -> Theta:
        """scale sum_n weights_n eps_n, computed for `pack` values of n at a time."""

        def add(total, xs):
            keys, weights = xs
            eps = jax.vmap(noise, (0, None))(keys, theta)
            return jax.tree.map(lambda t, e: t + jnp.tensordot(scale * weights, e, 1), total, eps), None

        packs = jax.tree.map(lambda x: x.reshape(-1, pack, *x.shape[1:]), (keys, weights))
        return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, theta), packs)[0]


def noise(key: Key, theta: Theta) -> Theta:
    """eps ~ N(0, I), a tree like theta."""
    return optax.tree.random_like(key, theta, jax.random.normal)


def in_packs(f: Callable[[Any], Any], rows: Any, left: Int[Array, " N"], pack: int) -> Any:
    """Map `f` over packs of `pack` rows, sorted by `left` and taken one pack after the other; the order is restored.

    Args:
        f: from rows `[pack, ...]` to results `[pack, ...]`.
        rows: leaves `[N, ...]`.
        left: number of updates left in each lifetime.
        pack: rows per pack, a divisor of N.
    """
    order = jnp.argsort(left)
    packs = jax.tree.map(lambda x: x.reshape(-1, pack, *x.shape[1:]), tree.take(rows, order))
    out = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.lax.map(f, packs))
    return tree.take(out, jnp.argsort(order))


def loss_summary(losses: Array, computed: Int[Array, " N"], left: Int[Array, " N"], num_updates: int) -> Metrics:
    """Metrics that every evolution strategy reports.

    `meta_loss` is the mean of the finite losses `[N, C]`, `best_loss` `[N]` the lowest of each level,
    `frac_nonfinite` the fraction of losses that are not finite; `frac_updates_skipped` and `frac_updates_wasted` are
    described in `ES`.
    """
    finite = jnp.isfinite(losses)
    needed = jnp.clip(left, 0, num_updates)
    return {
        "meta_loss": jnp.where(finite, losses, 0.0).sum() / finite.sum(),
        "best_loss": jnp.where(finite, losses, jnp.inf).min(-1),
        "frac_nonfinite": (~finite).mean(),
        "frac_updates_skipped": 1 - computed.sum() / jnp.maximum(needed.max() * needed.size, 1),
        "frac_updates_wasted": 1 - needed.sum() / jnp.maximum(computed.sum(), 1),
    }
