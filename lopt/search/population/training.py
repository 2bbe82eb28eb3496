"""Learners that are trained side by side, each by a program of its own."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from lopt import tree
from lopt.search.population.code import Code, Layout
from lopt.search.population.interpret import Interpreter
from lopt.search.population.proxy import Proxy
from lopt.types import Key


class Learners(struct.PyTreeNode):
    """Weights `[N, P]`, extra variables `[N, E, P]`, whether a learner is not lost, and its first loss."""

    w: Float[Array, "N P"]
    extras: Float[Array, "N E P"]
    alive: Bool[Array, " N"]
    first: Float[Array, " N"]


def newborns(proxy: Proxy, layout: Layout, key: Key, number: int) -> Learners:
    """The same newborn `number` times."""
    w, _ = ravel_pytree(proxy.init(key))
    return Learners(
        w=jnp.tile(w[None], (number, 1)),
        extras=jnp.zeros((number, layout.extras, layout.width), w.dtype),
        alive=jnp.ones(number, bool),
        first=jnp.full(number, jnp.inf, w.dtype),
    )


def training(
    proxy: Proxy, layout: Layout, interpreter: Interpreter
) -> Callable[[Key, Code, Learners, Int[Array, ""], Int[Array, ""]], tuple[Learners, Float[Array, " N"]]]:
    """A pure `(key, codes, learners, start, stop) -> (learners, scores)` that trains from one step to another.

    The minibatch of step i depends on the key and on i alone: all lanes see the same ones, whoever their companions
    are. A lane whose loss is not finite or exploded is lost: it costs no more interpretation, and its score is minus
    infinity.
    """
    template = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(proxy.init, jax.random.key(0)))
    _, unravel = ravel_pytree(template)

    def loss(w: Array, batch: Any) -> Array:
        return proxy.loss(unravel(w), batch)

    def step(key: Key, codes: Code, i: Array, learners: Learners) -> Learners:
        batch = proxy.batch(jax.random.fold_in(key, i))
        losses, g = jax.vmap(jax.value_and_grad(loss), (0, None))(learners.w, batch)
        first = jnp.where(i == 0, losses, learners.first)
        alive = learners.alive & (losses <= proxy.explosion * first)
        awake = codes.replace(length=jnp.where(alive, codes.length, 0))
        lr = proxy.schedule(i, proxy.steps).astype(g.dtype)
        update, extras = interpreter(layout, awake, learners.w, g, learners.extras, lr)
        moved = learners.replace(w=learners.w - update, extras=extras)
        return tree.where(alive, moved, learners).replace(alive=alive, first=first)

    def train(key: Key, codes: Code, learners: Learners, start: Array, stop: Array) -> tuple[Learners, Array]:
        learners = jax.lax.fori_loop(start, stop, lambda i, x: step(key, codes, i, x), learners)
        scores = jax.vmap(lambda w: proxy.score(unravel(w)))(learners.w)
        return learners, jnp.where(learners.alive & jnp.isfinite(scores), scores, -jnp.inf)

    return train
