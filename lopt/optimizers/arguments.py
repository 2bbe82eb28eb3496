"""What is checked of an optimizer's arguments: numbers when it is made, trees when it is used."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lopt.types import PyTree


def check_number(
    owner: str, name: str, value: Any, *, above: float = -np.inf, least: float = -np.inf, most: float = np.inf
) -> None:
    """Check a number the caller wrote down; arrays, traced values and schedules pass, for their values are not known.

    Raises:
        ValueError: not finite, not > `above`, not >= `least`, or not <= `most`.
    """
    if not isinstance(value, (int, float, np.number)):
        return
    if np.isfinite(value) and value > above and least <= value <= most:
        return
    if above > -np.inf:
        wanted = f"above {above:g}"
    else:
        wanted = f"in [{least:g}, {most:g}]" if most < np.inf else f"at least {least:g}"
    raise ValueError(f"{owner}: {name} must be finite and {wanted} (got {value!r})")


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
