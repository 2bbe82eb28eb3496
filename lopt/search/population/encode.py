"""Encoding of programs as integer arrays."""

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
    """A valid program as numpy arrays.

    All statements are encoded, dead ones included; prune the program first. Extra variables of the layout that the
    program does not have stay zero.

    Raises:
        ValueError: a number of inputs other than two, more extra variables than the layout's, or more statements or
            constants than its capacity.
    """
    if len(program.inputs) != 2 or len(program.extras) > layout.extras:
        raise ValueError(
            f"encode: expected two inputs and at most {layout.extras} extra variables (got {len(program.inputs)} and "
            f"{len(program.extras)})"
        )
    if len(program.statements) > layout.capacity:
        raise ValueError(f"encode: expected at most {layout.capacity} statements (got {len(program.statements)})")
    return _Encoder(layout, program).code()


def empty_code(layout: Layout) -> Code:
    """The code of a program without statements."""
    m = layout.capacity
    outputs = np.zeros(1 + layout.extras, np.int32)
    return Code(np.zeros(m, np.int32), np.zeros((m, 3), np.int32), np.int32(0), np.zeros(m), outputs)


class _Encoder:
    """Assigns rows to variables and constants while it encodes the statements in order."""

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
            raise ValueError(f"encode: expected at most {capacity} constants (got {len(self.constants)})")
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
            # a function without arguments is encoded as a constant
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
    """Codes stacked along a new first axis, padded with empty programs to length `number` if it is given.

    Raises:
        ValueError: no codes, or more than `number`.
    """
    if not 1 <= len(codes) <= (number or len(codes)):
        raise ValueError(f"stack: expected between 1 and {number} codes (got {len(codes)})")
    padding = (number or len(codes)) - len(codes)
    lanes = [*codes, *[jax.tree.map(np.zeros_like, codes[0])] * padding]
    stacked = jax.tree.map(lambda *x: np.stack(x), *lanes)
    with np.errstate(over="ignore"):  # constants too large for float32 become infinite
        return stacked.replace(constants=stacked.constants.astype(jnp.result_type(float)))
