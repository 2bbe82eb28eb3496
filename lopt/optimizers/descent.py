"""An optimizer from a direction: its learning rate and decoupled weight decay."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from lopt.optimizers.arguments import check_rate, untrained
from lopt.types import Params, PyTree


def descend(
    owner: str,
    direction: optax.GradientTransformation,
    learning_rate: ArrayLike | optax.Schedule,
    weight_decay: ArrayLike | optax.Schedule,
    mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """x <- x - learning_rate (direction + weight_decay x), with updates in the gradient's type.

    Args:
        owner: name of the optimizer for error messages.
        direction: a transformation whose updates are to be subtracted.
        learning_rate: a number, an array or a schedule (a function of the count).
        weight_decay: likewise. With the number 0 it does not need the parameters.
        mask: which leaves decay: a tree of booleans, a prefix of one, or a function from parameters to it.

    Raises:
        ValueError: a learning rate that is not positive or a negative weight decay (the values of arrays and schedules
            are not checked), or one that is no number, array or schedule.
    """
    check_rate(owner, "learning_rate", learning_rate, above=0)
    check_rate(owner, "weight_decay", weight_decay, least=0)
    no_decay = isinstance(weight_decay, (int, float)) and weight_decay == 0
    inner = optax.chain(
        direction,
        optax.identity() if no_decay else optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )

    def update(updates: PyTree, state: Any, params: Params | None = None, **extra_args: Any) -> tuple[PyTree, Any]:
        new, state = inner.update(updates, state, params, **extra_args)
        return jax.tree.map(like_gradient, updates, new), state

    return optax.GradientTransformationExtraArgs(inner.init, update)


def like_gradient(gradient: Any, update: Any) -> Any:
    """The update in the gradient's type; False, which adds nothing to a number of any type, where there is no
    gradient."""
    if untrained(gradient):
        return jnp.zeros(jnp.shape(gradient), bool)
    return update.astype(jnp.result_type(gradient))
