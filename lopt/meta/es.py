"""Evolution strategies with antithetic pairs: one pair of rules on each level."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from lopt import tree
from lopt.meta.lives import Lives, ages, chosen, copies, newborns, play, survivor
from lopt.meta.shaping import PairSign, Shaping
from lopt.protocols import Lifetime
from lopt.types import EstimatorMetrics, EstimatorState, Key, Level, Metrics, Theta


@dataclass(frozen=True)
class ES:
    """Antithetic evolution strategy: gradient = - sum_n (w_n+ - w_n-) eps_n / (2 N sigma).

    Pair n, theta +- sigma eps_n with eps_n ~ N(0, I), lives on level n: from the same newborn learner, and with
    `common_noise` by the same keys, so that what the pair differs by is theta. The fitness is minus the lifetime's
    meta-loss at the end; `shaping` turns it into the weights w. Any optax optimizer does the rest: with Adam this is
    OpenES around theta as it was initialised. eps is drawn again where it is needed and never stored.

    Lives may differ in length. They are sorted by what is left of them and played in packs of `pack` levels, each pack
    no longer than its longest life; the metrics tell which part of the updates that saves (`saved`, against all lives
    as long as the longest) and which part was still computed in vain (`masked`).

    With `num_updates` below the lifetime this is truncated ES, biased by the truncation (`PES` is not). Of a pair whose
    life goes on, one learner does, drawn blindly unless the other is lost: the better one would have been selected by
    its own noise, window after window, and the estimates would be of lives that no rule leads. Of a life that is over
    the better one stays.

    Attributes:
        lifetime: what is learned by the rule.
        num_updates: K, inner updates per estimate; the longest lifetime for whole lives.
        std: sigma, or a schedule from the number of estimates done to sigma.
        shaping: from fitness to weights.
        common_noise: both of a pair get the same keys.
        pack: levels played side by side, a divisor of N; None for all of them.

    Raises:
        ValueError: `num_updates` or `pack` below one; a `std` that is not positive; a pack that does not divide N (in
            `estimate`).

    Paper: arXiv 1703.03864; antithetic task sampling arXiv 2402.05828, section 4. Differs: official codes start at
        zero instead of at the network's initialisation, and give the two of a pair different keys.
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
        """Newborn learners `[N]`; shared: how many estimates there were."""
        learners = newborns(self.lifetime, key, theta, levels)
        return EstimatorState(lives=learners, shared=jnp.zeros((), jnp.int32))

    def learners(self, state: EstimatorState) -> Any:
        """One learner of each pair: the better one if its life is over."""
        return state.lives

    def age(self, state: EstimatorState) -> Int[Array, " N"]:
        """Inner updates each has done."""
        return ages(self.lifetime, state.lives)

    def estimate(
        self, key: Key, theta: Theta, levels: Level, state: EstimatorState
    ) -> tuple[Theta, EstimatorState, EstimatorMetrics]:
        """Gradient, the learners that go on, and metrics."""
        num = levels.lifetime.shape[0]
        pack = self.pack or num
        if num % pack:
            raise ValueError(f"ES: pack must divide the number of levels (got {pack} and {num})")
        key_noise, key_lives, key_survivors = jax.random.split(key, 3)
        noise_keys = jax.random.split(key_noise, num)
        std = self.std(state.shared) if callable(self.std) else self.std

        def group(xs):
            keys, draws, *where = xs
            eps = jax.vmap(noise, (0, None))(keys, theta)
            pair = jax.tree.map(lambda t, e: jnp.stack([t[None] + std * e, t[None] - std * e], 1), theta, eps)
            return self._pair(draws, pair, *where)

        own = jax.random.split(key_lives, (num, 1 if self.common_noise else 2))
        left = levels.lifetime - self.age(state)
        draws = jax.random.split(key_survivors, num)
        rows = (noise_keys, draws, jnp.broadcast_to(own, (num, 2)), levels, state.lives)
        learners, (losses, told, steps, computed) = in_packs(group, rows, left, pack)
        # fitness is minus the loss: the one place where the sign turns
        weights = self.shaping(-losses)
        gradient = self._combine(noise_keys, theta, weights[:, 0] - weights[:, 1], pack, -1 / (2 * num * std))
        meta = summary(losses, computed, left, self.num_updates) | told
        metrics = EstimatorMetrics(meta=meta, steps=steps, finite=jnp.isfinite(losses).any(-1))
        return gradient, EstimatorState(learners, state.shared + 1), metrics

    def _pair(self, draws: Key, pair: Theta, keys: Key, levels: Level, learners: Any):
        """The lives of some pairs, and of each the learner that goes on."""
        lives: Lives = play(self.lifetime, keys, pair, levels, copies(learners, 2), self.num_updates, shared=False)
        over = ages(self.lifetime, tree.take(lives.learners, (slice(None), 0))) >= levels.lifetime
        which = jax.vmap(survivor)(draws, lives.loss, over)
        learners, told, steps = chosen(lives, which)
        return learners, (lives.loss, told, steps, lives.computed)

    def _combine(self, keys: Key, theta: Theta, weights: Float[Array, " N"], pack: int, scale: Any) -> Theta:
        """scale sum_n weights_n eps_n, some at a time."""

        def add(total, xs):
            keys, weights = xs
            eps = jax.vmap(noise, (0, None))(keys, theta)
            return jax.tree.map(lambda t, e: t + jnp.tensordot(scale * weights, e, 1), total, eps), None

        groups = jax.tree.map(lambda x: x.reshape(-1, pack, *x.shape[1:]), (keys, weights))
        return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, theta), groups)[0]


def noise(key: Key, theta: Theta) -> Theta:
    """eps ~ N(0, I) in the form of theta."""
    return optax.tree.random_like(key, theta, jax.random.normal)


def in_packs(f: Callable[[Any], Any], rows: Any, left: Int[Array, " N"], pack: int) -> Any:
    """`f` over packs of rows `[pack, ...]` that have about as much `left`, one pack after the other."""
    order = jnp.argsort(left)
    packs = jax.tree.map(lambda x: x.reshape(-1, pack, *x.shape[1:]), tree.take(rows, order))
    out = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.lax.map(f, packs))
    return tree.take(out, jnp.argsort(order))


def summary(losses: Array, computed: Int[Array, " N"], left: Int[Array, " N"], num_updates: int) -> Metrics:
    """The mean loss of the candidates whose loss is finite, how many others there were, and what packing saved."""
    finite = jnp.isfinite(losses)
    needed = jnp.clip(left, 0, num_updates)
    return {
        "meta_loss": jnp.where(finite, losses, 0.0).sum() / finite.sum(),
        "best_loss": jnp.where(finite, losses, jnp.inf).min(-1),
        "frac_nonfinite": (~finite).mean(),
        "saved": 1 - computed.sum() / jnp.maximum(needed.max() * needed.size, 1),
        "masked": 1 - needed.sum() / jnp.maximum(computed.sum(), 1),
    }
