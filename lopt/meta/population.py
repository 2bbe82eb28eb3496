"""Unrolls of many lifetimes side by side, which stop when the longest of them has ended."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lopt import tree
from lopt.protocols import Lifetime
from lopt.types import Key, Level, Metrics, Theta, UpdateInfo

LARGEST_LOSS = 1e15
"""A loss of at least this magnitude counts as non-finite: squares and sums of gradients of such losses overflow."""


class PopulationUnroll(struct.PyTreeNode):
    """Result of unrolling C candidates on each of N levels.

    Attributes:
        learners: learner states after the unroll, leaves `[N, C, ...]`.
        loss: meta-losses; NaN in the place of those that count as non-finite.
        metrics: metrics of the meta-losses, `[N, C, ...]`.
        steps: metrics of the inner updates, `[N, C, K, ...]`; NaN for updates that were not computed.
        computed: inner updates computed per candidate of a level, including those after the end of its lifetime.
    """

    learners: Any
    loss: Float[Array, "N C"]
    metrics: Metrics
    steps: UpdateInfo
    computed: Int[Array, " N"]


def unroll_population(
    lifetime: Lifetime, keys: Key, thetas: Theta, levels: Level, learners: Any, num_updates: int, *, shared: bool
) -> PopulationUnroll:
    """Unroll every candidate on every level for up to `num_updates` inner updates, then measure the meta-loss.

    The loop runs until the longest remaining lifetime has ended, at most `num_updates` times.

    Args:
        lifetime: the inner problem.
        keys: PRNG keys `[N, C]`.
        thetas: meta-parameters of the candidates, leaves `[C, ...]` if `shared`, else `[N, C, ...]`.
        levels: leaves `[N, ...]`.
        learners: learner states `[N, C, ...]`; those of one level have the same age.
        num_updates: K, the largest number of inner updates.
        shared: whether all levels have the same candidates.

    Returns:
        The final learner states, their meta-losses and all metrics.
    """
    num_levels, num_candidates = keys.shape
    axes = (0, 0, None, 0), (0, None if shared else 0, 0, 0)
    step = jax.vmap(jax.vmap(lifetime.step, axes[0]), axes[1])
    measure = jax.vmap(jax.vmap(lifetime.meta_loss, axes[0]), axes[1])
    split = jax.vmap(jax.vmap(jax.random.split))(keys)
    key_updates, key_loss = split[..., 0], split[..., 1]
    left = levels.remaining(jax.vmap(lifetime.age)(tree.take(learners, (slice(None), 0))))
    needed = jnp.clip(left.max(), 0, num_updates)

    def body(carry):
        i, learners, steps = carry
        key = jax.vmap(jax.vmap(jax.random.fold_in, (0, None)), (0, None))(key_updates, i)
        learners, metrics = step(key, thetas, levels, learners)
        return i + 1, learners, jax.tree.map(lambda all, x: all.at[:, :, i].set(x.astype(all.dtype)), steps, metrics)

    shapes = jax.eval_shape(step, key_updates, thetas, levels, learners)[1]
    steps = jax.tree.map(
        lambda x: jnp.full((num_levels, num_candidates, num_updates, *x.shape[2:]), jnp.nan, jnp.float32), shapes
    )
    initial = (jnp.zeros((), needed.dtype), learners, steps)
    _, learners, steps = jax.lax.while_loop(lambda carry: carry[0] < needed, body, initial)
    loss, learners, metrics = measure(key_loss, thetas, levels, learners)
    loss = jnp.where(is_finite_loss(loss), loss, jnp.nan)
    return PopulationUnroll(learners, loss, metrics, steps, jnp.full(num_levels, needed))


def is_finite_loss(loss: Float[Array, "*n"]) -> Bool[Array, "*n"]:
    """Whether losses are finite and below `LARGEST_LOSS` in magnitude."""
    return jnp.abs(loss) < LARGEST_LOSS


def init_learners(lifetime: Lifetime, key: Key, theta: Theta, levels: Level) -> Any:
    """Initial learner states, one for each of the N levels, leaves `[N, ...]`."""
    keys = jax.random.split(key, levels.num_updates.shape[0])
    return jax.vmap(lifetime.init, (0, None, 0))(keys, theta, levels)


def ages(lifetime: Lifetime, learners: Any) -> Int[Array, " N"]:
    """Number of inner updates that each of the learners `[N]` has made."""
    return jax.vmap(lifetime.age)(learners)


def repeat_learners(learners: Any, num: int) -> Any:
    """`num` copies of each learner state, leaves `[N, num, ...]`, one for each candidate of a level."""
    return jax.tree.map(lambda x: jnp.repeat(x[:, None], num, 1), learners)


def choose_survivor(key: Key, losses: Float[Array, " C"], ended: Bool[Array, ""]) -> Int[Array, ""]:
    """Index of the candidate whose learner state a lifetime keeps.

    It is the candidate with the lowest loss if the lifetime has `ended`, else one drawn uniformly among those with a
    finite loss. Keeping the best of every window would select for noise: the learner states would become better than
    any theta reaches.
    """
    comparable = jnp.where(jnp.isnan(losses), jnp.inf, losses)
    priority = jnp.where(jnp.isfinite(losses), jax.random.uniform(key, losses.shape), -1.0)
    return jnp.where(ended, jnp.argmin(comparable), jnp.argmax(priority))


def take_candidates(unrolled: PopulationUnroll, index: Int[Array, " N"]) -> tuple[Any, Metrics, UpdateInfo]:
    """Learner state, metrics of the meta-loss and metrics of the updates of candidate `index[n]` on each level n."""
    rows = jnp.arange(index.shape[0])
    return tree.take((unrolled.learners, unrolled.metrics, unrolled.steps), (rows, index))
