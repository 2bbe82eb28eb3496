"""Training by the programs of a population, on a proxy task."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from lopt import tree
from lopt.search.population.code import Code, Layout
from lopt.search.population.interpret import Interpreter
from lopt.types import Key, Params


def cosine(step: Int[Array, ""], steps: int) -> Float[Array, ""]:
    """The cosine schedule (1 + cos(pi step / steps)) / 2 from 1 to 0; the peak rate is a constant of the program."""
    return 0.5 * (1.0 + jnp.cos(jnp.pi * step / steps))


@dataclass(frozen=True, eq=False, kw_only=True)
class Proxy:
    """A proxy task: a small task on which a program trains a learner from its initial weights.

    Attributes:
        init: `key -> params`, the initial weights.
        batch: `key -> minibatch` of a step.
        loss: `(params, minibatch) -> scalar`, which is differentiated.
        score: `params -> scalar` of trained weights, on held-out data; larger is better.
        steps: number of updates of a lifetime.
        schedule: `(step, steps) -> lr`, in [0, 1].
        max_loss_ratio: a learner whose loss exceeds this many times its first loss counts as diverged.

    Raises:
        ValueError: `steps` below one, or a `max_loss_ratio` of one or less.
    """

    init: Callable[[Key], Params]
    batch: Callable[[Key], Any]
    loss: Callable[[Params, Any], Float[Array, ""]]
    score: Callable[[Params], Float[Array, ""]]
    steps: int
    schedule: Callable[[Int[Array, ""], int], Float[Array, ""]] = cosine
    max_loss_ratio: float = 3.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.max_loss_ratio > 1:
            raise ValueError(
                f"Proxy: expected steps >= 1 and max_loss_ratio > 1 (got {self.steps} and {self.max_loss_ratio})"
            )


class Learners(struct.PyTreeNode):
    """States of N learners with P parameters and E extra variables.

    Attributes:
        w: weights.
        extras: extra variables of the programs.
        active: whether a learner has not diverged.
        first_loss: loss at the first step, infinity before.
    """

    w: Float[Array, "N P"]
    extras: Float[Array, "N E P"]
    active: Bool[Array, " N"]
    first_loss: Float[Array, " N"]


def init_learners(proxy: Proxy, layout: Layout, key: Key, number: int) -> Learners:
    """`number` copies of one initial learner."""
    w, _ = ravel_pytree(proxy.init(key))
    return Learners(
        w=jnp.tile(w[None], (number, 1)),
        extras=jnp.zeros((number, layout.extras, layout.width), w.dtype),
        active=jnp.ones(number, bool),
        first_loss=jnp.full(number, jnp.inf, w.dtype),
    )


def make_train(
    proxy: Proxy, layout: Layout, interpreter: Interpreter
) -> Callable[[Key, Code, Learners, Int[Array, ""], Int[Array, ""]], tuple[Learners, Float[Array, " N"]]]:
    """A pure function `(key, codes, learners, start, stop) -> (learners, scores)` that makes updates `start` to `stop`.

    The minibatch of step i depends on the key and i only, so all learners get the same minibatches in every batch of
    programs. A learner diverges if its loss is not finite or exceeds `proxy.max_loss_ratio` times its first loss. Its
    program is then no longer executed, and its score is minus infinity.
    """
    template = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(proxy.init, jax.random.key(0)))
    _, unravel = ravel_pytree(template)

    def loss(w: Array, batch: Any) -> Array:
        return proxy.loss(unravel(w), batch)

    def step(key: Key, codes: Code, i: Array, learners: Learners) -> Learners:
        batch = proxy.batch(jax.random.fold_in(key, i))
        losses, g = jax.vmap(jax.value_and_grad(loss), (0, None))(learners.w, batch)
        first_loss = jnp.where(i == 0, losses, learners.first_loss)
        active = learners.active & (losses <= proxy.max_loss_ratio * first_loss)
        masked = codes.replace(length=jnp.where(active, codes.length, 0))
        lr = proxy.schedule(i, proxy.steps).astype(g.dtype)
        update, extras = interpreter(layout, masked, learners.w, g, learners.extras, lr)
        updated = learners.replace(w=learners.w - update, extras=extras)
        return tree.where(active, updated, learners).replace(active=active, first_loss=first_loss)

    def train(key: Key, codes: Code, learners: Learners, start: Array, stop: Array) -> tuple[Learners, Array]:
        learners = jax.lax.fori_loop(start, stop, lambda i, x: step(key, codes, i, x), learners)
        scores = jax.vmap(lambda w: proxy.score(unravel(w)))(learners.w)
        return learners, jnp.where(learners.active & jnp.isfinite(scores), scores, -jnp.inf)

    return train
