"""Interpreters of a population of programs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from lopt.search.functions import FUNCTIONS
from lopt.search.population.code import Code, Layout, branches
from lopt.search.program import Program, evaluator


@dataclass(frozen=True)
class Skeleton:
    """An `Interpreter` of programs that differ from one program in their constants only.

    The program's statements are traced into the training loop and compiled with it. This is faster than interpretation
    for long lifetimes or for many constants of one structure. Only `Code.constants` of the codes is read.

    Attributes:
        program: a valid program.
    """

    program: Program

    def __call__(
        self,
        layout: Layout,
        codes: Code,
        w: Float[Array, "N P"],
        g: Float[Array, "N P"],
        extras: Float[Array, "N E P"],
        lr: Float[Array, ""],
    ) -> tuple[Float[Array, "N P"], Float[Array, "N E P"]]:
        """Updates `[N, P]` and new extra variables `[N, E, P]`."""
        program, names = self._with_named_constants
        run, used = evaluator(jnp, program), len(program.extras)
        cuts = np.cumsum(layout.sizes)[:-1].tolist()

        def lane(constants: Array, w: Array, g: Array, extras: Array) -> tuple[Array, Array]:
            trees = [tuple(jnp.split(row, cuts)) for row in (w, g, *extras[:used])]
            numbers = {name: constants[i].astype(w.dtype) for name, i in names.items()}
            values = dict(zip(program.parameters, [*trees, lr], strict=True)) | numbers
            update, *after = [jnp.concatenate(leaves) for leaves in run(values)]
            return update, jnp.stack([*after, *extras[used:]]) if layout.extras else extras

        return jax.vmap(lane)(jnp.asarray(codes.constants), w, g, extras)

    @cached_property
    def _with_named_constants(self) -> tuple[Program, dict[str, int]]:
        """The program with its constants replaced by names, and the names' indices in `Code.constants`."""
        program, names, number = self.program, {}, 0
        for i, statement in enumerate(program.statements):
            number += FUNCTIONS[statement.function].arity == 0  # the encoder stores these as constants
            for j, arg in enumerate(statement.args):
                if not isinstance(arg, str):
                    names[f" c{number}"] = number
                    program = program.with_argument(i, j, f" c{number}")
                    number += 1
        return program, names


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
