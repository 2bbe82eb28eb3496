"""Truncated meta-gradients: differentiate through K inner updates."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from lopt import tree
from lopt.meta.population import ages, init_learners, is_finite_loss
from lopt.protocols import Lifetime
from lopt.types import EstimatorMetrics, EstimatorState, Key, Level, Theta
from lopt.unroll import unroll


@dataclass(frozen=True, kw_only=True)
class MetaGradient:
    """Truncated meta-gradient: d/dtheta of mean_n[ meta_loss after K updates + penalty(metrics of these updates) ].

    The mean over the lifetimes is differentiated, not each lifetime: theta is shared, so every product with its
    weights runs over all lifetimes at once and one gradient is accumulated. `chunk_size` bounds the memory by
    differentiating so many lifetimes at a time, without more arithmetic; `remat` bounds it to one inner update, for one
    more forward pass. With `lifetime_norm` each lifetime is differentiated on its own, which stores as many gradients
    as a chunk has lifetimes; the metric `clipped` is then 1 for the lifetimes whose gradient was scaled down.

    Lifetimes with a non-finite loss or gradient are left out of the mean; `frac_nonfinite` is their fraction. (A
    gradient is non-finite if its norm is.) Without `lifetime_norm` they are located by computing the gradient again for
    subsets of the lifetimes. That costs a few passes in the step where it happens, after which the meta-learner
    replaces them.

    Attributes:
        lifetime: the inner problem, differentiable in theta.
        num_updates: K, inner updates per estimate.
        chunk_size: lifetimes per chunk, a divisor of N; None for all at once.
        remat: recompute the inner updates (all but the rollouts) in the backward pass.
        lifetime_norm: norm to which one lifetime's gradient is clipped before the mean is taken. Gradients through K
            Jacobians are heavy-tailed: without a bound the gradient of a single lifetime was measured at three thousand
            times the next largest. None for the exact gradient of the mean.

    Raises:
        ValueError: `num_updates` or `chunk_size` below one; `lifetime_norm` not positive; a chunk size that does not
            divide N (in `estimate`).

    Paper: arXiv 2007.08794, eq. 4-5.
    """

    lifetime: Lifetime
    num_updates: int = 5
    chunk_size: int | None = None
    remat: bool = True
    lifetime_norm: float | None = None

    def __post_init__(self) -> None:
        if self.num_updates < 1:
            raise ValueError(f"MetaGradient: num_updates must be at least 1 (got {self.num_updates})")
        if self.chunk_size is not None and self.chunk_size < 1:
            raise ValueError(f"MetaGradient: chunk_size must be at least 1 or None (got {self.chunk_size})")
        if self.lifetime_norm is not None and not self.lifetime_norm > 0:
            raise ValueError(f"MetaGradient: lifetime_norm must be positive or None (got {self.lifetime_norm})")

    def init(self, key: Key, theta: Theta, levels: Level) -> EstimatorState:
        """Initial learners `[N]`; there is no shared state."""
        return EstimatorState(per_lifetime=init_learners(self.lifetime, key, theta, levels), shared=())

    def learners(self, state: EstimatorState) -> Any:
        """The learner states, leaves `[N, ...]`."""
        return state.per_lifetime

    def age(self, state: EstimatorState) -> Int[Array, " N"]:
        """Number of inner updates that each lifetime has made."""
        return ages(self.lifetime, state.per_lifetime)

    def estimate(
        self, key: Key, theta: Theta, levels: Level, state: EstimatorState
    ) -> tuple[Theta, EstimatorState, EstimatorMetrics]:
        """The meta-gradient, the learner states after K more updates, and metrics.

        The metrics of the meta-loss are `[N]`, those of the updates `[N, K]`, NaN after the end of a lifetime.
        """
        num = levels.num_updates.shape[0]
        size = self.chunk_size or num
        if num % size:
            raise ValueError(f"MetaGradient: chunk_size must divide the number of lifetimes (got {size} and {num})")
        keys = jax.random.split(key, num)

        gradient = self._gradient if self.lifetime_norm is None else partial(self._bounded_gradient, self.lifetime_norm)

        def chunk(total, xs):
            grads, aux = gradient(theta, *xs)
            return jax.tree.map(jnp.add, total, grads), aux

        def split(x):
            return x.reshape(num // size, size, *x.shape[1:])

        def join(x):
            return x.reshape(num, *x.shape[2:])

        rows = (keys, levels, state.per_lifetime)
        if size == num:
            grads, (learners, metrics) = gradient(theta, *rows)
        else:
            grads, aux = jax.lax.scan(chunk, jax.tree.map(jnp.zeros_like, theta), jax.tree.map(split, rows))
            learners, metrics = jax.tree.map(join, aux)
        count = metrics.finite.sum()
        grads = jax.tree.map(lambda g: g / jnp.maximum(count, 1).astype(g.dtype), grads)
        meta = metrics.meta | {"frac_nonfinite": (num - count) / num}
        return grads, state.replace(per_lifetime=learners), metrics.replace(meta=meta)

    def _gradient(self, theta: Theta, keys: Key, levels: Level, state: Any):
        """Sum over the given lifetimes of the gradients that are finite, each pass being one backward pass.

        One program computes the sum over any block of lifetimes. It first runs for all of them, which suffices if the
        sum is finite. Otherwise it runs again without the lifetimes whose loss is not finite, for blocks that are
        halved where their sum is not finite and doubled where it is: about 2 log2(N) passes for each lifetime with a
        non-finite gradient.
        """
        num = levels.num_updates.shape[0]
        index = jnp.arange(num)

        def block_gradient(include):
            # excluded lifetimes are replaced by an included one, with weight zero; every pass draws the same numbers
            rows = tree.take((jax.random.clone(keys), levels, state), jnp.where(include, index, jnp.argmax(include)))

            def total(theta):
                losses, aux = jax.vmap(self._loss, (0, None, 0, 0))(rows[0], theta, *rows[1:])
                return jnp.where(include, losses, 0.0).sum(), aux

            return jax.grad(total, has_aux=True)(theta)

        def body(carry):
            first, start, width, total, finite, aux = carry
            include = (index >= start) & (index < start + width) & (first | aux[1].finite)
            grads, measured = block_gradient(include)
            aux = tree.where(first, measured, aux)
            # the norm, because an optimizer squares the gradient
            usable = jnp.isfinite(optax.tree.norm(grads)) & (~include | measured[1].finite).all()
            good = ~include.any() | usable
            total = jax.tree.map(lambda t, g: t + jnp.where(good & include.any(), g, 0.0), total, grads)
            halved = jnp.where(first & ~aux[1].finite.all(), width, jnp.maximum(width // 2, 1))
            start = jnp.where(good | (~first & (width == 1)), start + width, start)
            return jnp.array(False), start, jnp.where(good, 2 * width, halved), total, finite | (include & good), aux

        # the loss alone is quicker to trace than its gradient
        shapes = jax.eval_shape(jax.vmap(self._loss, (0, None, 0, 0)), keys, theta, levels, state)[1][1]
        zeros, metrics = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (theta, shapes))
        carry = (jnp.array(True), jnp.int32(0), jnp.int32(num), zeros, jnp.zeros(num, bool), (state, metrics))
        *_, grads, finite, (state, metrics) = jax.lax.while_loop(lambda carry: carry[1] < num, body, carry)
        return grads, (state, metrics.replace(finite=finite))

    def _bounded_gradient(self, bound: float, theta: Theta, keys: Key, levels: Level, state: Any):
        """Sum over the given lifetimes of their gradients, each clipped to the norm `bound`; non-finite ones are left
        out."""
        one = jax.grad(self._loss, argnums=1, has_aux=True)
        grads, (state, metrics) = jax.vmap(one, (0, None, 0, 0))(keys, theta, levels, state)
        norm = jax.vmap(optax.tree.norm)(grads)
        scale = bound / jnp.maximum(norm, bound)
        finite = metrics.finite & jnp.isfinite(norm)

        def bounded_sum(g):
            expand = (...,) + (None,) * (g.ndim - 1)
            return jnp.where(finite[expand], g * scale[expand], 0.0).sum(0)

        meta = metrics.meta | {"clipped": jnp.where(finite, (norm > bound).astype(jnp.float32), jnp.nan)}
        return jax.tree.map(bounded_sum, grads), (state, metrics.replace(meta=meta, finite=finite))

    def _loss(self, key: Key, theta: Theta, level: Level, state: Any):
        """One lifetime's meta-loss with its auxiliary loss after K updates, and `(state, metrics)`."""
        key_updates, key_loss = jax.random.split(key)

        def step(key, state):
            active = level.active(self.lifetime.age(state))
            state, info = self.lifetime.step(key, theta, level, state)
            return state, (info, active)

        state, (steps, active) = unroll(step, key_updates, state, self.num_updates, remat=self.remat)
        objective, state, loss_metrics = self.lifetime.meta_loss(key_loss, theta, level, state)
        aux_loss = jnp.where(active, steps.aux_loss, 0.0).sum() / jnp.maximum(active.sum(), 1)
        loss = objective + aux_loss
        meta = {"meta_loss": loss, "objective": objective, "aux_loss": aux_loss} | loss_metrics
        # updates after the end of the lifetime are not measured
        steps = jax.tree.map(lambda x: jnp.where(active, x, jnp.nan), steps)
        metrics = EstimatorMetrics(meta=meta, steps=steps, finite=is_finite_loss(loss))
        return loss, jax.lax.stop_gradient((state, metrics))
