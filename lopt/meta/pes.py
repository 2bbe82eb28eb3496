"""Persistent evolution strategies: unbiased gradients from truncated lives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lopt import tree
from lopt.meta.es import in_packs, noise, summary
from lopt.meta.lives import Lives, ages, copies, newborns, play
from lopt.meta.shaping import Raw, Shaping
from lopt.protocols import Lifetime
from lopt.types import EstimatorMetrics, EstimatorState, Key, Level, Theta


class Pair(struct.PyTreeNode):
    """Two learners that live on one level under opposite perturbations; leaves `[N, ...]`.

    `learners` are `[N, 2]`; `shift` is the sum of all perturbations so far, each divided by its sigma, in the form of
    theta; `better` says which of the two had the lower loss; `lost` that one of them is of no use any more.
    """

    learners: Any
    shift: Theta
    better: Int[Array, " N"]
    lost: Bool[Array, " N"]


@dataclass(frozen=True)
class PES:
    """Persistent evolution strategies: gradient = - sum_n (w_n+ - w_n-) xi_n / (2 N), xi_n = sum_windows eps_n / sigma.

    Pair n lives on level n, one learner by theta + sigma eps_n and the other by theta - sigma eps_n, K updates at a
    time. Every window draws a new eps_n; the learners go on, each as its own perturbations have made it, and xi_n
    remembers all of these. Summed over a life, the estimates are an unbiased gradient (of the smoothed objective) of
    the sum of the meta-losses at the ends of its windows, however short they are; truncated ES leaves out what an
    earlier theta does to a later loss. The variance grows with the number of windows in a life.

    With `reuse` a pair keeps the eps_n it was born with, which is then xi_n: noise-reuse ES. For losses that are smooth
    in theta its variance is the least of this family. With windows as long as lives both are `ES`.

    Lives should be at different ages, so that one step sees all parts of a life: `MetaLearner(stagger=True)`. A pair
    one of whose learners is lost (a loss that is not finite) says nothing from then on, so its life counts as over:
    its `age` is beyond every lifetime, and the meta-learner gives it a new level.

    Attributes:
        lifetime: what is learned by the rule.
        num_updates: K, inner updates per estimate.
        std: sigma, or a schedule from the number of estimates done to sigma.
        reuse: one perturbation for the whole life.
        shaping: from fitness to weights; `Raw` is unbiased, `PairSign` does not mind losses of different scale.
        pack: levels played side by side, a divisor of N; None for all of them.

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
    pack: int | None = None

    def __post_init__(self) -> None:
        if self.num_updates < 1:
            raise ValueError(f"PES: num_updates must be at least 1 (got {self.num_updates})")
        if not callable(self.std) and not self.std > 0:
            raise ValueError(f"PES: std must be positive (got {self.std})")
        if self.pack is not None and self.pack < 1:
            raise ValueError(f"PES: pack must be at least 1 or None (got {self.pack})")

    def init(self, key: Key, theta: Theta, levels: Level) -> EstimatorState:
        """Pairs of newborns `[N]` that nothing has perturbed yet; shared: how many estimates there were."""
        num = levels.lifetime.shape[0]
        learners = newborns(self.lifetime, key, theta, levels)
        pairs = Pair(
            learners=copies(learners, 2),
            shift=jax.tree.map(lambda t: jnp.zeros((num, *t.shape), t.dtype), theta),
            better=jnp.zeros(num, jnp.int32),
            lost=jnp.zeros(num, bool),
        )
        return EstimatorState(lives=pairs, shared=jnp.zeros((), jnp.int32))

    def learners(self, state: EstimatorState) -> Any:
        """The better learner of each pair."""
        pairs: Pair = state.lives
        return tree.take(pairs.learners, (jnp.arange(pairs.better.shape[0]), pairs.better))

    def age(self, state: EstimatorState) -> Int[Array, " N"]:
        """Inner updates each has done; the largest number there is for those that are lost."""
        age = ages(self.lifetime, tree.take(state.lives.learners, (slice(None), 0)))
        return jnp.where(state.lives.lost, jnp.iinfo(age.dtype).max, age)

    def estimate(
        self, key: Key, theta: Theta, levels: Level, state: EstimatorState
    ) -> tuple[Theta, EstimatorState, EstimatorMetrics]:
        """Gradient, the pairs K updates later, and metrics."""
        num = levels.lifetime.shape[0]
        pack = self.pack or num
        if num % pack:
            raise ValueError(f"PES: pack must divide the number of levels (got {pack} and {num})")
        key_noise, key_lives = jax.random.split(key)
        std = self.std(state.shared) if callable(self.std) else self.std
        before: Pair = state.lives
        age = ages(self.lifetime, tree.take(before.learners, (slice(None), 0)))
        eps, shift = self._perturbed(jax.random.split(key_noise, num), theta, before.shift, age == 0, std)
        keys = jnp.broadcast_to(jax.random.split(key_lives, (num, 1)), (num, 2))
        left = levels.lifetime - age
        rows = (keys, eps, levels, before.learners)

        def group(xs):
            keys, eps, levels, learners = xs
            thetas = jax.tree.map(lambda t, e: jnp.stack([t[None] + std * e, t[None] - std * e], 1), theta, eps)
            return play(self.lifetime, keys, thetas, levels, learners, self.num_updates, shared=False)

        lives: Lives = in_packs(group, rows, left, pack)
        # fitness is minus the loss: the one place where the sign turns
        weights = self.shaping(-lives.loss)
        weights = jnp.where(before.lost[:, None], 0.0, weights)
        scale = -(weights[:, 0] - weights[:, 1]) / (2 * num)
        gradient = jax.tree.map(lambda x: jnp.tensordot(scale.astype(x.dtype), x, 1), shift)
        better = jnp.argmin(jnp.where(jnp.isnan(lives.loss), jnp.inf, lives.loss), -1).astype(jnp.int32)
        lost = before.lost | ~jnp.isfinite(lives.loss).all(-1)
        told, steps = tree.take((lives.told, lives.steps), (jnp.arange(num), better))
        meta = summary(lives.loss, lives.computed, left, self.num_updates) | told
        after = EstimatorState(Pair(lives.learners, shift, better, lost), state.shared + 1)
        return gradient, after, EstimatorMetrics(meta=meta, steps=steps, finite=~lost)

    def _perturbed(self, keys: Key, theta: Theta, shift: Theta, born: Bool[Array, " N"], std: Any):
        """This window's eps, and xi with it."""
        fresh = jax.vmap(noise, (0, None))(keys, theta)
        if not self.reuse:
            return fresh, jax.tree.map(lambda xi, e: xi + e / std, shift, fresh)
        xi = tree.where(born, jax.tree.map(lambda e: e / std, fresh), shift)
        return jax.tree.map(lambda x: x * std, xi), xi
