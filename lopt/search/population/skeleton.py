"""A compiled interpreter of one program's structure, with its constants as inputs."""

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lopt.search.population.code import Code, Layout
from lopt.search.program import FUNCTIONS, Program, evaluator


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
