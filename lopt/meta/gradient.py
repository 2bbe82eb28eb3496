"""Truncated meta-gradients: differentiate through K inner updates."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lopt.protocols import Lifetime
from lopt.types import EstimatorMetrics, Key, Level, Metrics, Theta
from lopt.unroll import unroll


def no_penalty(steps: Metrics) -> Float[Array, ""]:
    """Nothing is penalised."""
    return jnp.zeros(())


@dataclass(frozen=True)
class MetaGradient:
    """The gradient in theta of mean_n[ meta_loss after K updates + penalty(metrics of the K updates) ].

    The mean over the lifetimes is differentiated, not each lifetime: theta is shared, so every product with its
    weights runs over all lifetimes at once and one gradient is accumulated. `chunk_size` lifetimes at a time bound
    the memory without more arithmetic; `remat` bounds it to one inner update for one more forward pass.

    Attributes:
        lifetime: what is learned by the rule.
        num_updates: K.
        penalty: from one lifetime's step metrics `[K]` to a scalar that is added to its loss.
        chunk_size: lifetimes per chunk, a divisor of N; None for all at once.
        remat: recompute the inner updates (all but the rollouts) in the backward pass.

    Raises:
        ValueError: `num_updates` or `chunk_size` below one; a chunk size that does not divide N (in `estimate`).

    Paper: arXiv 2007.08794, eq. 4-5.
    """

    lifetime: Lifetime
    num_updates: int = 5
    penalty: Callable[[Metrics], Float[Array, ""]] = no_penalty
    chunk_size: int | None = None
    remat: bool = True

    def __post_init__(self) -> None:
        if self.num_updates < 1:
            raise ValueError(f"MetaGradient: num_updates must be at least 1 (got {self.num_updates})")
        if self.chunk_size is not None and self.chunk_size < 1:
            raise ValueError(f"MetaGradient: chunk_size must be at least 1 or None (got {self.chunk_size})")

    def init(self, key: Key, theta: Theta, levels: Level) -> Any:
        """Newborn learners `[N]`."""
        keys = jax.random.split(key, levels.lifetime.shape[0])
        return jax.vmap(self.lifetime.init, (0, None, 0))(keys, theta, levels)

    def learners(self, state: Any) -> Any:
        """The state is the learners."""
        return state

    def age(self, state: Any) -> Int[Array, " N"]:
        """Inner updates each has done."""
        return jax.vmap(self.lifetime.age)(state)

    def estimate(self, key: Key, theta: Theta, levels: Level, state: Any) -> tuple[Theta, Any, EstimatorMetrics]:
        """Gradient, learners K updates older, and metrics `[N]` and `[N, K]`."""
        num = levels.lifetime.shape[0]
        size = self.chunk_size or num
        if num % size:
            raise ValueError(f"MetaGradient: chunk_size must divide the number of lifetimes (got {size} and {num})")
        keys = jax.random.split(key, num)

        def mean_loss(theta, keys, levels, state):
            losses, aux = jax.vmap(self._loss, (0, None, 0, 0))(keys, theta, levels, state)
            return losses.sum() / num, aux

        gradient = jax.grad(mean_loss, has_aux=True)
        if size == num:
            grads, (state, metrics) = gradient(theta, keys, levels, state)
            return grads, state, metrics

        def chunk(total, xs):
            grads, aux = gradient(theta, *xs)
            return jax.tree.map(jnp.add, total, grads), aux

        def split(x):
            return x.reshape(num // size, size, *x.shape[1:])

        def join(x):
            return x.reshape(num, *x.shape[2:])

        chunks = jax.tree.map(split, (keys, levels, state))
        grads, aux = jax.lax.scan(chunk, jax.tree.map(jnp.zeros_like, theta), chunks)
        state, metrics = jax.tree.map(join, aux)
        return grads, state, metrics

    def _loss(self, key: Key, theta: Theta, level: Level, state: Any):
        """One lifetime's loss after K updates."""
        key_updates, key_loss = jax.random.split(key)

        def step(key, state):
            return self.lifetime.step(key, theta, level, state)

        state, steps = unroll(step, key_updates, state, self.num_updates, remat=self.remat)
        loss, state, told = self.lifetime.meta_loss(key_loss, theta, level, state)
        penalty = self.penalty(steps)
        meta = {"meta_loss": loss + penalty, "objective": loss, "penalty": penalty} | told
        aux = jax.lax.stop_gradient((state, EstimatorMetrics(meta=meta, steps=steps)))
        return loss + penalty, aux
