"""Persistent evolution strategies: unbiased gradients from truncated unrolls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lopt import tree
from lopt.meta.es import Raw, Shaping, in_packs, loss_summary, noise
from lopt.meta.population import PopulationUnroll, ages, init_learners, repeat_learners, unroll_population
from lopt.protocols import Lifetime
from lopt.types import EstimatorMetrics, EstimatorState, Key, Level, Progress, Theta


class Pair(struct.PyTreeNode):
    """State of N antithetic pairs, each on one level under opposite perturbations of theta.

    Attributes:
        learners: learner states of both members, leaves `[N, 2, ...]`.
        xi: sum over the windows so far of eps / sigma, a tree like theta with leaves `[N, ...]`.
        better: index of the member with the lower loss.
        nonfinite: whether a loss of the pair has been non-finite in this lifetime.
    """

    learners: Any
    xi: Theta
    better: Int[Array, " N"]
    nonfinite: Bool[Array, " N"]


@dataclass(frozen=True, kw_only=True)
class PES:
    """Persistent evolution strategies: gradient = - sum_n (w_n+ - w_n-) xi_n / (2 N), xi_n = sum_windows eps_n / sigma.

    Pair n is trained on level n, one member under theta + sigma eps_n and the other under theta - sigma eps_n, in
    windows of K updates. Every window draws a new eps_n; each member continues from its own learner state, and xi_n
    accumulates the perturbations. Summed over a lifetime the estimates are an unbiased gradient, of the smoothed
    objective, of the sum of the meta-losses at the ends of the windows, however short the windows are. (Truncated ES
    omits the effect of theta in earlier windows on later losses.) The variance grows with the number of windows in a
    lifetime.

    With `reuse` a pair keeps the eps_n of its first window, so that xi_n = eps_n / sigma: noise-reuse ES, which has the
    lowest variance of this family for losses that are smooth in theta. With windows as long as the lifetimes both
    equal `ES`.

    The lifetimes should have different ages, so that one estimate covers all parts of a lifetime:
    `MetaLearner(stagger=True)`. A pair with a non-finite loss contributes nothing from then on; its `age` becomes
    larger than every lifetime, so that the meta-learner replaces it.

    Attributes:
        lifetime: the inner problem.
        num_updates: K, inner updates per window, and thus per estimate.
        std: sigma, or a schedule from the number of estimates made so far to sigma.
        reuse: whether a pair keeps one perturbation for its whole lifetime.
        shaping: fitness shaping; `Raw` is unbiased, `PairSign` is invariant to the scale of a level's losses.
        weight: weight of a window as a function of the progress at its end, which multiplies the shaped fitness; a
            weight of the meta-loss itself has no effect under `PairSign`. None for equal weights.
        pack: number of levels unrolled side by side, a divisor of N; None for all of them.

    Raises:
        ValueError: `num_updates` or `pack` below one; a `std` that is not positive; a pack that does not divide N (in
            `estimate`).

    Paper: arXiv 2112.13835, algorithm 1; noise reuse: arXiv 2304.12180, algorithm 2.
    """

    lifetime: Lifetime
    num_updates: int
    std: float | Callable[[Int[Array, ""]], Float[Array, ""]] = 0.01
    reuse: bool = False
    shaping: Shaping = Raw()
    weight: Callable[[Progress], Float[Array, ""]] | None = None
    pack: int | None = None

    def __post_init__(self) -> None:
        if self.num_updates < 1:
            raise ValueError(f"PES: num_updates must be at least 1 (got {self.num_updates})")
        if not callable(self.std) and not self.std > 0:
            raise ValueError(f"PES: std must be positive (got {self.std})")
        if self.pack is not None and self.pack < 1:
            raise ValueError(f"PES: pack must be at least 1 or None (got {self.pack})")

    def init(self, key: Key, theta: Theta, levels: Level) -> EstimatorState:
        """N pairs of equal initial learners with xi = 0; the shared state is the number of estimates made so far."""
        num = levels.num_updates.shape[0]
        learners = init_learners(self.lifetime, key, theta, levels)
        pairs = Pair(
            learners=repeat_learners(learners, 2),
            xi=jax.tree.map(lambda t: jnp.zeros((num, *t.shape), t.dtype), theta),
            better=jnp.zeros(num, jnp.int32),
            nonfinite=jnp.zeros(num, bool),
        )
        return EstimatorState(per_lifetime=pairs, shared=jnp.zeros((), jnp.int32))

    def learners(self, state: EstimatorState) -> Any:
        """The learner state of each pair's better member, leaves `[N, ...]`."""
        pairs: Pair = state.per_lifetime
        return tree.take(pairs.learners, (jnp.arange(pairs.better.shape[0]), pairs.better))

    def age(self, state: EstimatorState) -> Int[Array, " N"]:
        """Number of inner updates of each lifetime; the largest integer for pairs with a non-finite loss."""
        age = ages(self.lifetime, tree.take(state.per_lifetime.learners, (slice(None), 0)))
        return jnp.where(state.per_lifetime.nonfinite, jnp.iinfo(age.dtype).max, age)

    def estimate(
        self, key: Key, theta: Theta, levels: Level, state: EstimatorState
    ) -> tuple[Theta, EstimatorState, EstimatorMetrics]:
        """The PES gradient of this window, the pairs after K more updates, and metrics.

        The metrics of the meta-loss and of the updates are those of the better member of each pair.
        """
        num = levels.num_updates.shape[0]
        pack = self.pack or num
        if num % pack:
            raise ValueError(f"PES: pack must divide the number of levels (got {pack} and {num})")
        key_noise, key_lifetimes = jax.random.split(key)
        std = self.std(state.shared) if callable(self.std) else self.std
        before: Pair = state.per_lifetime
        age = ages(self.lifetime, tree.take(before.learners, (slice(None), 0)))
        eps, xi = self._perturb(jax.random.split(key_noise, num), theta, before.xi, age == 0, std)
        keys = jnp.broadcast_to(jax.random.split(key_lifetimes, (num, 1)), (num, 2))
        left = levels.remaining(age)
        rows = (keys, eps, levels, before.learners)

        def unroll_pack(xs):
            keys, eps, levels, learners = xs
            thetas = jax.tree.map(lambda t, e: jnp.stack([t[None] + std * e, t[None] - std * e], 1), theta, eps)
            return unroll_population(self.lifetime, keys, thetas, levels, learners, self.num_updates, shared=False)

        unrolled: PopulationUnroll = in_packs(unroll_pack, rows, left, pack)
        # fitness is minus the loss: the one place where the sign turns
        weights = self.shaping(-unrolled.loss)
        weights = jnp.where(before.nonfinite[:, None], 0.0, weights)
        if self.weight is not None:
            reached = ages(self.lifetime, tree.take(unrolled.learners, (slice(None), 0)))
            weights = weights * jax.vmap(self.weight)(Progress(reached, levels.num_updates))[:, None]
        scale = -(weights[:, 0] - weights[:, 1]) / (2 * num)
        gradient = jax.tree.map(lambda x: jnp.tensordot(scale.astype(x.dtype), x, 1), xi)
        better = jnp.argmin(jnp.where(jnp.isnan(unrolled.loss), jnp.inf, unrolled.loss), -1).astype(jnp.int32)
        nonfinite = before.nonfinite | ~jnp.isfinite(unrolled.loss).all(-1)
        loss_metrics, steps = tree.take((unrolled.metrics, unrolled.steps), (jnp.arange(num), better))
        meta = loss_summary(unrolled.loss, unrolled.computed, left, self.num_updates) | loss_metrics
        after = EstimatorState(Pair(unrolled.learners, xi, better, nonfinite), state.shared + 1)
        return gradient, after, EstimatorMetrics(meta=meta, steps=steps, finite=~nonfinite)

    def _perturb(self, keys: Key, theta: Theta, xi: Theta, first: Bool[Array, " N"], std: Any):
        """eps of this window and xi including it; `first` marks the lifetimes that are in their first window."""
        drawn = jax.vmap(noise, (0, None))(keys, theta)
        if not self.reuse:
            return drawn, jax.tree.map(lambda x, e: x + e / std, xi, drawn)
        xi = tree.where(first, jax.tree.map(lambda e: e / std, drawn), xi)
        return jax.tree.map(lambda x: x * std, xi), xi
