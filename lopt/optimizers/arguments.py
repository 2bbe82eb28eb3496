"""Checks and casts of the arguments of optimizers, and the step from a direction: learning rate and weight decay."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array

from lopt.protocols import Kernel
from lopt.types import Params, PyTree


def check_number(
    owner: str, name: str, value: Any, *, above: float = -np.inf, least: float = -np.inf, most: float = np.inf
) -> None:
    """Check a hyper-parameter; of an array or a traced value only that its type is numeric.

    Raises:
        ValueError: not a number; a number that is not finite, not > `above`, not >= `least`, or not <= `most`.
    """
    _check_kind(owner, name, value, "a number or an array")
    if not isinstance(value, (int, float, np.number)):
        return
    if np.isfinite(value) and value > above and least <= value <= most:
        return
    if above > -np.inf:
        expected = f"above {above:g}"
    else:
        expected = f"in [{least:g}, {most:g}]" if most < np.inf else f"at least {least:g}"
    raise ValueError(f"{owner}: {name} must be finite and {expected} (got {value!r})")


def check_rate(owner: str, name: str, value: Any, **limits: float) -> None:
    """Check a hyper-parameter that may be a schedule; of a schedule only that it maps a count to a scalar number.

    Raises:
        ValueError: neither a number, an array nor a schedule, and what `check_number` raises with these limits.
    """
    if not callable(value):
        _check_kind(owner, name, value, "a number, an array or a schedule")
        check_number(owner, name, value, **limits)
        return
    try:
        result = value(jnp.zeros((), jnp.int32))
    except TypeError as error:
        raise ValueError(f"{owner}: {name} must be a schedule, a function of the count (got {value!r})") from error
    if not _numeric(result) or jnp.shape(result):
        raise ValueError(
            f"{owner}: {name} must be a schedule, a function from the count to a number (got {value!r}, which gives a "
            f"{type(result).__name__})"
        )


def _check_kind(owner: str, name: str, value: Any, expected: str) -> None:
    if not _numeric(value):
        raise ValueError(f"{owner}: {name} must be {expected} (got {value!r})")


def _numeric(value: Any) -> bool:
    if isinstance(value, (jax.Array, np.ndarray)):
        return jnp.issubdtype(value.dtype, jnp.number)
    return isinstance(value, (int, float, np.number))


def check_widths(owner: str, hidden: tuple[int, ...]) -> None:
    """Check that all layer widths are at least one.

    Raises:
        ValueError: one of them is below one.
    """
    if not all(width >= 1 for width in hidden):
        raise ValueError(f"{owner}: widths must be at least 1 (got {hidden})")


def check_kernel(owner: str, kernel: Any) -> None:
    """Check that `kernel` implements `lopt.protocols.Kernel`.

    Raises:
        ValueError: a class instead of an instance, or an object without the methods.
    """
    if isinstance(kernel, type):
        raise ValueError(f"{owner}: kernel must be an instance, such as {kernel.__name__}() (got the class)")
    if not isinstance(kernel, Kernel):
        raise ValueError(
            f"{owner}: kernel must have map, value, conjugate and distance, as L1() and Nuclear(polar=NewtonSchulz()) "
            f"have (got {kernel!r})"
        )


def untrained(gradient: Any) -> bool:
    """Whether a leaf has no gradient: JAX gives the type float0 to the gradient of an integer leaf."""
    return jnp.result_type(gradient) == jax.dtypes.float0


def at_least_float32(x: ArrayLike) -> Array:
    """x in float32, or in its own type if that is wider."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def check_like(owner: str, tree: PyTree, expected: PyTree) -> None:
    """Check that gradients have the structure and shapes of the parameters that the optimizer was initialised with.

    Raises:
        ValueError: another structure, or a leaf of another shape.
    """
    got: Any = jax.tree.structure(tree)
    structure: Any = jax.tree.structure(expected)
    if got != structure:
        raise ValueError(
            f"{owner}: gradients must have the structure of the params given to init (got {got}, expected {structure})"
        )
    for (path, x), y in zip(jax.tree.leaves_with_path(tree), jax.tree.leaves(expected), strict=True):
        if jnp.shape(x) != jnp.shape(y):
            name, shapes = jax.tree_util.keystr(path), (jnp.shape(x), jnp.shape(y))
            raise ValueError(
                f"{owner}: gradient {name} must have its parameter's shape (got {shapes[0]}, expected {shapes[1]})"
            )


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
