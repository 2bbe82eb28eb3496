"""Many lives at once, each to its own end, without work for those that are over."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lopt import tree
from lopt.protocols import Lifetime
from lopt.types import Key, Level, Metrics, Theta


class Lives(struct.PyTreeNode):
    """What became of C candidates on each of N levels; leaves are `[N, C, ...]`.

    `steps` are `[N, C, K, ...]`, NaN for updates that nobody needed; `computed` counts the updates a level's lives were
    carried through, their own or their neighbours'.
    """

    learners: Any
    loss: Float[Array, "N C"]
    told: Metrics
    steps: Metrics
    computed: Int[Array, " N"]


def play(
    lifetime: Lifetime, keys: Key, thetas: Theta, levels: Level, learners: Any, num_updates: int, *, shared: bool
) -> Lives:
    """Up to `num_updates` updates of every candidate on every level side by side, then the meta-loss.

    The loop ends with the last life. `keys` and `learners` are `[N, C]`, `levels` `[N]`; the learners of a level are of
    one age. `thetas` are `[C, ...]` if `shared` by the levels, else `[N, C, ...]`.
    """
    num_levels, num_candidates = keys.shape
    axes = (0, 0, None, 0), (0, None if shared else 0, 0, 0)
    step = jax.vmap(jax.vmap(lifetime.step, axes[0]), axes[1])
    measure = jax.vmap(jax.vmap(lifetime.meta_loss, axes[0]), axes[1])
    split = jax.vmap(jax.vmap(jax.random.split))(keys)
    key_updates, key_loss = split[..., 0], split[..., 1]
    left = levels.lifetime - jax.vmap(lifetime.age)(tree.take(learners, (slice(None), 0)))
    needed = jnp.clip(left.max(), 0, num_updates)

    def body(carry):
        i, learners, steps = carry
        key = jax.vmap(jax.vmap(jax.random.fold_in, (0, None)), (0, None))(key_updates, i)
        learners, told = step(key, thetas, levels, learners)
        return i + 1, learners, jax.tree.map(lambda all, x: all.at[:, :, i].set(x.astype(all.dtype)), steps, told)

    told = jax.eval_shape(step, key_updates, thetas, levels, learners)[1]
    steps = jax.tree.map(
        lambda x: jnp.full((num_levels, num_candidates, num_updates, *x.shape[2:]), jnp.nan, jnp.float32), told
    )
    start = (jnp.zeros((), needed.dtype), learners, steps)
    _, learners, steps = jax.lax.while_loop(lambda carry: carry[0] < needed, body, start)
    loss, learners, told = measure(key_loss, thetas, levels, learners)
    return Lives(learners, loss, told, steps, jnp.full(num_levels, needed))


def newborns(lifetime: Lifetime, key: Key, theta: Theta, levels: Level) -> Any:
    """A newborn learner on every level, `[N]`."""
    keys = jax.random.split(key, levels.lifetime.shape[0])
    return jax.vmap(lifetime.init, (0, None, 0))(keys, theta, levels)


def ages(lifetime: Lifetime, learners: Any) -> Int[Array, " N"]:
    """Inner updates that learners `[N]` have done."""
    return jax.vmap(lifetime.age)(learners)


def copies(learners: Any, num: int) -> Any:
    """`num` of each learner, `[N, num]`: all candidates of a level start as the same one."""
    return jax.tree.map(lambda x: jnp.repeat(x[:, None], num, 1), learners)


def survivor(key: Key, losses: Float[Array, " C"], over: Bool[Array, ""]) -> Int[Array, ""]:
    """Which candidate's learner goes on: the best if the life is over, else one drawn blindly among those not lost.

    The best of every window would be a learner that no rule makes: selected window after window, it shows the rules
    states that are better than any of them would reach.
    """
    comparable = jnp.where(jnp.isnan(losses), jnp.inf, losses)
    lots = jnp.where(jnp.isfinite(losses), jax.random.uniform(key, losses.shape), -1.0)
    return jnp.where(over, jnp.argmin(comparable), jnp.argmax(lots))


def chosen(lives: Lives, which: Int[Array, " N"]) -> tuple[Any, Metrics, Metrics]:
    """Learner, what its meta-loss told and its updates' metrics, of candidate `which` on every level."""
    rows = jnp.arange(which.shape[0])
    return tree.take((lives.learners, lives.told, lives.steps), (rows, which))
