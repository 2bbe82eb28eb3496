"""What is checked of an optimizer's arguments: numbers when it is made, trees when it is used."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lopt.protocols import Kernel
from lopt.types import PyTree


def check_number(
    owner: str, name: str, value: Any, *, above: float = -np.inf, least: float = -np.inf, most: float = np.inf
) -> None:
    """Check a number the caller wrote down; of an array or a traced value only that it is one of numbers.

    Raises:
        ValueError: no number; not finite, not > `above`, not >= `least`, or not <= `most`.
    """
    _check_kind(owner, name, value, "a number or an array")
    if not isinstance(value, (int, float, np.number)):
        return
    if np.isfinite(value) and value > above and least <= value <= most:
        return
    if above > -np.inf:
        wanted = f"above {above:g}"
    else:
        wanted = f"in [{least:g}, {most:g}]" if most < np.inf else f"at least {least:g}"
    raise ValueError(f"{owner}: {name} must be finite and {wanted} (got {value!r})")


def check_rate(owner: str, name: str, value: Any, **limits: float) -> None:
    """Check a number, an array, or a schedule: of the last only that it makes a number of the count, not which.

    Raises:
        ValueError: none of them, and what `check_number` raises with these limits.
    """
    if not callable(value):
        _check_kind(owner, name, value, "a number, an array or a schedule")
        check_number(owner, name, value, **limits)
        return
    try:
        made = value(jnp.zeros((), jnp.int32))
    except TypeError as error:
        raise ValueError(f"{owner}: {name} must be a schedule, a function of the count (got {value!r})") from error
    if not _numeric(made) or jnp.shape(made):
        raise ValueError(
            f"{owner}: {name} must be a schedule, a function from the count to a number (got {value!r}, which gives a "
            f"{type(made).__name__})"
        )


def _check_kind(owner: str, name: str, value: Any, wanted: str) -> None:
    if not _numeric(value):
        raise ValueError(f"{owner}: {name} must be {wanted} (got {value!r})")


def _numeric(value: Any) -> bool:
    if isinstance(value, (jax.Array, np.ndarray)):
        return jnp.issubdtype(value.dtype, jnp.number)
    return isinstance(value, (int, float, np.number))


def check_kernel(owner: str, kernel: Any) -> None:
    """Check that a kernel of Lion-K is one.

    Raises:
        ValueError: a class in the place of its instance, or something else.
    """
    if isinstance(kernel, type):
        raise ValueError(f"{owner}: kernel must be an instance, such as {kernel.__name__}() (got the class)")
    if not isinstance(kernel, Kernel):
        raise ValueError(
            f"{owner}: kernel must have map, value, conjugate and distance, as L1() and Nuclear(polar=NewtonSchulz()) "
            f"have (got {kernel!r})"
        )


def untrained(gradient: Any) -> bool:
    """Whether JAX says that there is no gradient (float0, for a leaf of integers)."""
    return jnp.result_type(gradient) == jax.dtypes.float0


def check_like(owner: str, tree: PyTree, expected: PyTree) -> None:
    """Check that gradients have the structure and shapes of the parameters an optimizer was initialised with.

    Raises:
        ValueError: another structure, or a leaf of another shape.
    """
    got: Any = jax.tree.structure(tree)
    wanted: Any = jax.tree.structure(expected)
    if got != wanted:
        raise ValueError(
            f"{owner}: gradients must have the structure of the params given to init (got {got}, expected {wanted})"
        )
    for (path, x), y in zip(jax.tree.leaves_with_path(tree), jax.tree.leaves(expected), strict=True):
        if jnp.shape(x) != jnp.shape(y):
            where, shapes = jax.tree_util.keystr(path), (jnp.shape(x), jnp.shape(y))
            raise ValueError(
                f"{owner}: gradient {where} must have its parameter's shape (got {shapes[0]}, expected {shapes[1]})"
            )
