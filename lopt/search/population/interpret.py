"""The interpreter: one step of any program, for one learner; and two ways to do it for many."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lopt.search.population.code import Code, Layout
from lopt.search.population.operations import branches

Interpreter = Callable[..., tuple[Float[Array, "N P"], Float[Array, "N E P"]]]
"""From layout, codes, weights `[N, P]`, gradients `[N, P]`, extra variables `[N, E, P]` and a learning rate to updates
and new extra variables, for N learners with a program each."""


def run(
    layout: Layout,
    code: Code,
    file: Float[Array, "rows P"],
    w: Float[Array, " P"],
    g: Float[Array, " P"],
    extras: Float[Array, "E P"],
    lr: Float[Array, ""],
) -> Float[Array, "rows P"]:
    """The file after one step of a program; what the file held before does not matter."""
    file = lax.dynamic_update_slice(file, jnp.concatenate([w[None], g[None], extras]), (0, 0))
    numbers = jnp.concatenate([lr[None], code.constants.astype(lr.dtype)])
    numbers = jnp.broadcast_to(numbers[:, None], (numbers.size, layout.leaves))
    file = lax.dynamic_update_slice(file, numbers, (layout.learning_rate, 0))
    table = branches(layout)

    def statement(i: Any, file: Array) -> Array:
        value = lax.switch(code.operations[i], table, file, code.operands[i])
        return lax.dynamic_update_index_in_dim(file, value, layout.first_statement + i, 0)

    return lax.fori_loop(0, code.length, statement, file)


def one_by_one(
    layout: Layout,
    codes: Code,
    w: Float[Array, "N P"],
    g: Float[Array, "N P"],
    extras: Float[Array, "N E P"],
    lr: Float[Array, ""],
) -> tuple[Float[Array, "N P"], Float[Array, "N E P"]]:
    """An `Interpreter` for processors: lane after lane, so that each statement branches to the one operation it needs.

    All lanes share one file, which stays in the processor's cache.
    """

    def lane(file: Array, x: Any) -> tuple[Array, Array]:
        code, w, g, extras = x
        file = run(layout, code, file, w, g, extras, lr)
        return file, file[code.outputs]

    file = jnp.zeros((layout.rows, layout.width), w.dtype)
    _, out = lax.scan(lane, file, (codes, w, g, extras))
    return out[:, 0], out[:, 1:]


def side_by_side(
    layout: Layout,
    codes: Code,
    w: Float[Array, "N P"],
    g: Float[Array, "N P"],
    extras: Float[Array, "N E P"],
    lr: Float[Array, ""],
) -> tuple[Float[Array, "N P"], Float[Array, "N E P"]]:
    """An `Interpreter` for accelerators: all lanes at once, each computing every operation and keeping the one it
    needs.
    """

    def lane(code: Code, w: Array, g: Array, extras: Array) -> Array:
        file = jnp.zeros((layout.rows, layout.width), w.dtype)
        return run(layout, code, file, w, g, extras, lr)[code.outputs]

    out = jax.vmap(lane)(codes, w, g, extras)
    return out[:, 0], out[:, 1:]
