"""One program, compiled, with its constants as inputs."""

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
    """An `Interpreter` of programs that differ from this one in their constants alone.

    It is traced into the training loop, statement by statement, and compiled with it: worth it where a life is long,
    or where many constants are tried. What codes say but for their constants is not looked at.

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
        """Updates and new extra variables."""
        program, names = self._open
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
    def _open(self) -> tuple[Program, dict[str, int]]:
        """The program with names in the place of constants, and where `Code.constants` has them."""
        program, names, number = self.program, {}, 0
        for i, statement in enumerate(program.statements):
            number += FUNCTIONS[statement.function].arity == 0  # these the encoder counts as constants too
            for j, arg in enumerate(statement.args):
                if not isinstance(arg, str):
                    names[f" c{number}"] = number
                    program = program.with_argument(i, j, f" c{number}")
                    number += 1
        return program, names
