"""Interpreters of encoded programs: one step of a program for one learner, and for a population of learners."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lopt.search.population.code import Code, Layout
from lopt.search.population.operations import branches

Interpreter = Callable[..., tuple[Float[Array, "N P"], Float[Array, "N E P"]]]
"""`(layout, codes, w, g, extras, lr) -> (updates, extras)` for N learners with one program each: weights and gradients
`[N, P]`, extra variables `[N, E, P]`, learning rate `[]`."""


def run(
    layout: Layout,
    code: Code,
    registers: Float[Array, "rows P"],
    w: Float[Array, " P"],
    g: Float[Array, " P"],
    extras: Float[Array, "E P"],
    lr: Float[Array, ""],
) -> Float[Array, "rows P"]:
    """The register file after one step of a program; its previous content does not affect the result."""
    registers = lax.dynamic_update_slice(registers, jnp.concatenate([w[None], g[None], extras]), (0, 0))
    numbers = jnp.concatenate([lr[None], code.constants.astype(lr.dtype)])
    numbers = jnp.broadcast_to(numbers[:, None], (numbers.size, layout.leaves))
    registers = lax.dynamic_update_slice(registers, numbers, (layout.learning_rate, 0))
    table = branches(layout)

    def statement(i: Any, registers: Array) -> Array:
        value = lax.switch(code.operations[i], table, registers, code.operands[i])
        return lax.dynamic_update_index_in_dim(registers, value, layout.first_statement + i, 0)

    return lax.fori_loop(0, code.length, statement, registers)


def interpret_sequential(
    layout: Layout,
    codes: Code,
    w: Float[Array, "N P"],
    g: Float[Array, "N P"],
    extras: Float[Array, "N E P"],
    lr: Float[Array, ""],
) -> tuple[Float[Array, "N P"], Float[Array, "N E P"]]:
    """An `Interpreter` for CPUs: a scan over the learners, in which each statement executes its own operation only.

    All learners share one register file, which stays in the processor's cache.
    """

    def lane(registers: Array, x: Any) -> tuple[Array, Array]:
        code, w, g, extras = x
        registers = run(layout, code, registers, w, g, extras, lr)
        return registers, registers[code.outputs]

    registers = jnp.zeros((layout.rows, layout.width), w.dtype)
    _, out = lax.scan(lane, registers, (codes, w, g, extras))
    return out[:, 0], out[:, 1:]


def interpret_vectorised(
    layout: Layout,
    codes: Code,
    w: Float[Array, "N P"],
    g: Float[Array, "N P"],
    extras: Float[Array, "N E P"],
    lr: Float[Array, ""],
) -> tuple[Float[Array, "N P"], Float[Array, "N E P"]]:
    """An `Interpreter` for accelerators: a vmap over the learners, in which each statement executes all operations and
    selects its own.
    """

    def lane(code: Code, w: Array, g: Array, extras: Array) -> Array:
        registers = jnp.zeros((layout.rows, layout.width), w.dtype)
        return run(layout, code, registers, w, g, extras, lr)[code.outputs]

    out = jax.vmap(lane)(codes, w, g, extras)
    return out[:, 0], out[:, 1:]
