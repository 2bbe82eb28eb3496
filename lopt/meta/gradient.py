"""Truncated meta-gradients: differentiate through K inner updates."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from lopt.meta.lives import ages, newborns
from lopt.protocols import Lifetime
from lopt.types import EstimatorMetrics, EstimatorState, Key, Level, Metrics, Theta
from lopt.unroll import unroll


def no_penalty(steps: Metrics) -> Float[Array, ""]:
    """Nothing is penalised."""
    return jnp.zeros(())


@dataclass(frozen=True)
class MetaGradient:
    """The gradient in theta of mean_n[ meta_loss after K updates + penalty(metrics of the K updates) ].

    The mean over the lifetimes is differentiated, not each lifetime: theta is shared, so every product with its
    weights runs over all lifetimes at once and one gradient is accumulated. `chunk_size` lifetimes at a time bound
    the memory without more arithmetic; `remat` bounds it to one inner update for one more forward pass. With
    `lifetime_norm` each lifetime is differentiated, at the price of as many gradients as lifetimes in a chunk; the
    metrics then tell which were `clipped`.

    Attributes:
        lifetime: what is learned by the rule.
        num_updates: K.
        penalty: from one lifetime's step metrics `[K]` to a scalar that is added to its loss.
        chunk_size: lifetimes per chunk, a divisor of N; None for all at once.
        remat: recompute the inner updates (all but the rollouts) in the backward pass.
        lifetime_norm: one lifetime's gradient is scaled down to this norm before the mean is taken, and is left out if
            it is not finite. A product of K Jacobians has heavy tails: without a bound a single lifetime was
            seen to be three thousand times the next largest. None for the exact gradient of the mean.

    Raises:
        ValueError: `num_updates` or `chunk_size` below one; `lifetime_norm` not positive; a chunk size that does not
            divide N (in `estimate`).

    Paper: arXiv 2007.08794, eq. 4-5.
    """

    lifetime: Lifetime
    num_updates: int = 5
    penalty: Callable[[Metrics], Float[Array, ""]] = no_penalty
    chunk_size: int | None = None
    remat: bool = True
    lifetime_norm: float | None = None

    def __post_init__(self) -> None:
        if self.num_updates < 1:
            raise ValueError(f"MetaGradient: num_updates must be at least 1 (got {self.num_updates})")
        if self.chunk_size is not None and self.chunk_size < 1:
            raise ValueError(f"MetaGradient: chunk_size must be at least 1 or None (got {self.chunk_size})")
        if self.lifetime_norm is not None and self.lifetime_norm <= 0:
            raise ValueError(f"MetaGradient: lifetime_norm must be positive or None (got {self.lifetime_norm})")

    def init(self, key: Key, theta: Theta, levels: Level) -> EstimatorState:
        """Newborn learners `[N]`; nothing is shared."""
        return EstimatorState(lives=newborns(self.lifetime, key, theta, levels), shared=())

    def learners(self, state: EstimatorState) -> Any:
        """The learners."""
        return state.lives

    def age(self, state: EstimatorState) -> Int[Array, " N"]:
        """Inner updates each has done."""
        return ages(self.lifetime, state.lives)

    def estimate(
        self, key: Key, theta: Theta, levels: Level, state: EstimatorState
    ) -> tuple[Theta, EstimatorState, EstimatorMetrics]:
        """Gradient, learners K updates older, and metrics `[N]` and `[N, K]`."""
        num = levels.lifetime.shape[0]
        size = self.chunk_size or num
        if num % size:
            raise ValueError(f"MetaGradient: chunk_size must divide the number of lifetimes (got {size} and {num})")
        keys = jax.random.split(key, num)

        gradient = self._gradient if self.lifetime_norm is None else partial(self._bounded_gradient, self.lifetime_norm)
        if size == num:
            grads, (lives, metrics) = gradient(theta, keys, levels, state.lives)
            return jax.tree.map(lambda g: g / num, grads), state.replace(lives=lives), metrics

        def chunk(total, xs):
            grads, aux = gradient(theta, *xs)
            return jax.tree.map(lambda t, g: t + g / num, total, grads), aux

        def split(x):
            return x.reshape(num // size, size, *x.shape[1:])

        def join(x):
            return x.reshape(num, *x.shape[2:])

        chunks = jax.tree.map(split, (keys, levels, state.lives))
        grads, aux = jax.lax.scan(chunk, jax.tree.map(jnp.zeros_like, theta), chunks)
        lives, metrics = jax.tree.map(join, aux)
        return grads, state.replace(lives=lives), metrics

    def _gradient(self, theta: Theta, keys: Key, levels: Level, state: Any):
        """The sum of the gradients of some lifetimes, as one backward pass."""

        def total(theta):
            losses, aux = jax.vmap(self._loss, (0, None, 0, 0))(keys, theta, levels, state)
            return losses.sum(), aux

        return jax.grad(total, has_aux=True)(theta)

    def _bounded_gradient(self, bound: float, theta: Theta, keys: Key, levels: Level, state: Any):
        """The sum of the gradients of some lifetimes, each scaled down to the norm `bound`."""
        one = jax.grad(self._loss, argnums=1, has_aux=True)
        grads, (state, metrics) = jax.vmap(one, (0, None, 0, 0))(keys, theta, levels, state)
        norm = jax.vmap(optax.tree.norm)(grads)
        scale = bound / jnp.maximum(norm, bound)

        def bounded_sum(g):
            wide = (...,) + (None,) * (g.ndim - 1)
            return jnp.where(jnp.isfinite(norm)[wide], g * scale[wide], 0.0).sum(0)

        told = metrics.meta | {"clipped": 1.0 - (norm <= bound)}
        return jax.tree.map(bounded_sum, grads), (state, metrics.replace(meta=told))

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
