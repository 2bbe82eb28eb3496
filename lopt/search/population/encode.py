"""From programs to numbers."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from lopt.search.population.code import Code, Layout
from lopt.search.population.operations import OPERATIONS, operation
from lopt.search.program import FUNCTIONS, Program, Type
from lopt.search.program.types import result_type

_INDEX = {known: i for i, known in enumerate(OPERATIONS)}


def encode(program: Program, layout: Layout) -> Code:
    """A valid program as numbers, in numpy.

    Statements are encoded as they stand, dead ones too: prune first. Extra variables that the program lacks stay zero.

    Raises:
        ValueError: other inputs, more extra variables than the layout's, or more statements or constants than it has
            room for.
    """
    if len(program.inputs) != 2 or len(program.extras) > layout.extras:
        raise ValueError(
            f"encode: expected two inputs and at most {layout.extras} extra variables (got {len(program.inputs)} and "
            f"{len(program.extras)})"
        )
    if len(program.statements) > layout.capacity:
        raise ValueError(f"encode: there is room for {layout.capacity} statements (got {len(program.statements)})")
    return _Encoder(layout, program).code()


def idle(layout: Layout) -> Code:
    """A program of no statement, for lanes that are left over."""
    m = layout.capacity
    outputs = np.zeros(1 + layout.extras, np.int32)
    return Code(np.zeros(m, np.int32), np.zeros((m, 3), np.int32), np.int32(0), np.zeros(m), outputs)


class _Encoder:
    """Where every variable lies, while statements are read in order."""

    def __init__(self, layout: Layout, program: Program):
        self.layout, self.program = layout, program
        self.rows = {name: i for i, name in enumerate((*program.inputs, *program.extras))}
        self.types = dict.fromkeys(self.rows, Type.T) | {program.rate: Type.S}
        self.rows[program.rate] = layout.learning_rate
        self.constants: list[float] = []
        self.statements: list[tuple[int, list[int]]] = []

    def code(self) -> Code:
        for statement in self.program.statements:
            self.add(statement.target, statement.function, statement.args)
        capacity = self.layout.capacity
        if len(self.constants) > capacity:
            raise ValueError(f"encode: there is room for {capacity} constants (got {len(self.constants)})")
        operations, operands = np.zeros(capacity, np.int32), np.zeros((capacity, 3), np.int32)
        for i, (index, rows) in enumerate(self.statements):
            operations[i] = index
            operands[i, : len(rows)] = rows
        constants = np.zeros(capacity)
        constants[: len(self.constants)] = self.constants
        unused = range(2 + len(self.program.extras), 2 + self.layout.extras)
        outputs = np.array([*(self.rows[name] for name in self.program.outputs), *unused], np.int32)
        return Code(operations, operands, np.int32(len(self.statements)), constants, outputs)

    def add(self, target: str, function: str, args: Sequence[str | float]) -> None:
        if not args:
            # a function of nothing is a constant, in its turn
            row, type_ = self.constant(float(FUNCTIONS[function].evaluate(np))), Type.S
        else:
            types = tuple(self.types[arg] if isinstance(arg, str) else Type.S for arg in args)
            rows = [self.rows[arg] if isinstance(arg, str) else self.constant(arg) for arg in args]
            type_ = result_type(function, types)
            row = self.layout.first_statement + len(self.statements)
            self.statements.append((_INDEX[operation(function, types)], rows))
        self.rows[target], self.types[target] = row, type_

    def constant(self, value: float) -> int:
        self.constants.append(value)
        return self.layout.learning_rate + len(self.constants)


def stack(codes: Sequence[Code], number: int | None = None) -> Code:
    """Codes side by side; with `number`, that many lanes, of which those beyond the codes do nothing.

    Raises:
        ValueError: no codes, or more than `number`.
    """
    if not 1 <= len(codes) <= (number or len(codes)):
        raise ValueError(f"stack: expected between 1 and {number} codes (got {len(codes)})")
    surplus = (number or len(codes)) - len(codes)
    lanes = [*codes, *[jax.tree.map(np.zeros_like, codes[0])] * surplus]
    stacked = jax.tree.map(lambda *x: np.stack(x), *lanes)
    with np.errstate(over="ignore"):  # what is too large for float32 is infinite there
        return stacked.replace(constants=stacked.constants.astype(jnp.result_type(float)))
