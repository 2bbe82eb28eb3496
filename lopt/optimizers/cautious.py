"""Cautious optimizers: updates are masked where they disagree in sign with the gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from lopt.optimizers.arguments import untrained
from lopt.types import Params, PyTree


def cautious(
    inner: optax.GradientTransformation, *, direction: bool = False, rescale: bool = True
) -> optax.GradientTransformationExtraArgs:
    """Mask the updates of `inner` to the elements that descend along the gradient that was passed in; the rest is zero.

    With u the update (to be added) and g the gradient, per leaf of n elements: u 1[-u g > 0] n / (sum 1[-u g > 0] + 1).
    The state is that of `inner`.

    The mask applies to the whole update of `inner`, weight decay included. To mask the direction alone, as the paper's
    code does: `optax.chain(lopt.cautious(lopt.scale_by_lion(), direction=True), optax.add_decayed_weights(1.0),
    optax.scale_by_learning_rate(1e-4))`. The rescaling multiplies the radius of Lion-K's constraint set by up to n.

    Args:
        inner: any optax transformation.
        direction: whether `inner` gives a direction to be subtracted later (`scale_by_lion`), not an update to be
            added.
        rescale: whether to multiply by the factor n / (sum + 1) above.

    Raises:
        ValueError: an `inner` that is no optax transformation.

    Paper: arXiv 2411.16085.
    Differs: the mask can apply to complete updates, decay included; in the paper's code it applies to the direction
        alone.
    """
    if not isinstance(inner, optax.GradientTransformation):
        raise ValueError(
            f"cautious: inner must be an optax transformation, such as lopt.lion() or optax.adam(1e-3) (got {inner!r})"
        )
    inner = optax.with_extra_args_support(inner)

    def mask(g, u):
        if untrained(g):
            return u
        descends = (u * g > 0) if direction else (u * g < 0)
        scale = descends.size / (jnp.sum(descends) + 1.0) if rescale else 1.0
        return jnp.where(descends, u * jnp.asarray(scale, u.dtype), jnp.zeros_like(u))

    def update(updates: PyTree, state: Any, params: Params | None = None, **extra_args: Any) -> tuple[PyTree, Any]:
        new, state = inner.update(updates, state, params, **extra_args)
        return jax.tree.map(mask, updates, new), state

    return optax.GradientTransformationExtraArgs(inner.init, update)
