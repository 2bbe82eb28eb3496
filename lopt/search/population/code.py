"""Programs of a population as arrays of instructions, and their interpreters."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int

from lopt.search.functions import FUNCTIONS, Type
from lopt.search.program import Program, evaluator, result_type
from lopt.types import Params

Operation = tuple[str, tuple[Type, ...]]
"""A function's name and the types of its arguments."""


T, S, L = Type.T, Type.S, Type.L


REDUCTIONS = ("norm", "global_norm", "dot", "cosine_sim", "clip_by_global_norm")


def operation(function: str, types: tuple[Type, ...]) -> Operation:
    """The operation of a call.

    If no argument is a tree and the function is not a reduction, scalars are treated as one scalar per leaf (L), which
    saves operations.
    """
    per_leaf = T not in types and function not in REDUCTIONS
    return function, (L,) * len(types) if per_leaf else types


OPERATIONS: tuple[Operation, ...] = tuple(
    dict.fromkeys(operation(name, types) for name, f in FUNCTIONS.items() if f.arity for types in f.signatures)
)
"""All operations; `Code.operations` holds indices into this tuple."""


@dataclass(frozen=True)
class Layout:
    """Layout of the register file: `rows` rows of P numbers, P the number of a learner's parameters.

    The rows are, in this order: w, g, the extra variables, lr, the constants, and one row per statement. A tree fills
    its row. Per-leaf scalars, and a scalar repeated for each leaf, fill the first `leaves` entries.

    Attributes:
        sizes: number of elements of each leaf of w, in the order of `jax.tree.leaves`.
        extras: number of extra variables.
        capacity: maximum number of statements, and of constants, of a program.

    Raises:
        ValueError: no leaves, an empty leaf, negative `extras`, or `capacity` below one.
    """

    sizes: tuple[int, ...]
    extras: int
    capacity: int = 32

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1:
            raise ValueError(f"Layout: expected leaves of at least one element (got sizes {self.sizes})")
        if self.extras < 0 or self.capacity < 1:
            raise ValueError(f"Layout: expected extras >= 0 and capacity >= 1 (got {self.extras} and {self.capacity})")

    @property
    def width(self) -> int:
        """P, the length of a row: the number of parameters."""
        return sum(self.sizes)

    @property
    def leaves(self) -> int:
        """Number of leaves of w."""
        return len(self.sizes)

    @property
    def learning_rate(self) -> int:
        """Row of lr; the rows of the constants follow it."""
        return NUM_INPUTS + self.extras

    @property
    def first_statement(self) -> int:
        """Row of the first statement's value."""
        return self.learning_rate + NUM_RATES + self.capacity

    @property
    def rows(self) -> int:
        """Number of rows of the register file."""
        return self.first_statement + self.capacity

    @property
    def leaf_of(self) -> np.ndarray:
        """Index of the leaf of each element, `[P]`."""
        return np.repeat(np.arange(self.leaves), self.sizes)


@functools.cache
def branches(layout: Layout) -> tuple[Callable[[Array, Array], Array], ...]:
    """For each operation, a function `(registers [rows, P], operands [3]) -> value [P]`."""
    return tuple(functools.partial(_value, layout, *known) for known in OPERATIONS)


def _value(layout: Layout, name: str, types: tuple[Type, ...], registers: Array, operands: Array) -> Array:
    args = [_load(layout, name, types, registers, operands[i], type_) for i, type_ in enumerate(types)]
    value = FUNCTIONS[name].evaluate(jnp, *args)
    if type(value) is tuple:
        value = value[0] if len(value) == 1 else jnp.stack(value)
    if value.shape == (layout.width,) and T in types and name != "norm":
        return value
    value = jnp.broadcast_to(value, (layout.leaves,))
    return lax.pad(value, jnp.zeros((), value.dtype), [(0, layout.width - layout.leaves, 0)])


def _load(layout: Layout, name: str, types: tuple[Type, ...], registers: Array, row: Array, type_: Type) -> Any:
    """An argument of `Function.evaluate`; a tree is passed as one leaf (the whole row), except to `norm`."""
    if type_ == T:
        tree = registers[row]
        if name != "norm":
            return (tree,)
        starts = [sum(layout.sizes[:i]) for i in range(layout.leaves)]
        return tuple(tree[start : start + size] for start, size in zip(starts, layout.sizes, strict=True))
    if type_ == S:
        return registers[row, 0]
    leaves = lax.dynamic_slice(registers, (row, jnp.zeros_like(row)), (1, layout.leaves))[0]
    if T in types:
        return (leaves[layout.leaf_of],)
    return (leaves,) if name in REDUCTIONS else leaves


NUM_INPUTS, NUM_RATES = 2, 1
"""Number of rows of w and g, and of lr."""


class Code(struct.PyTreeNode):
    """An encoded program over a register file, in which each statement writes its own row (see `Layout`).

    Axes: n programs (optional), M = capacity statements, C = capacity constants, E1 = 1 + number of extra variables.

    Attributes:
        operations: index of each statement's operation in `operations.OPERATIONS`.
        operands: rows that each statement reads; zero beyond its arity.
        length: number of statements; later entries are not executed.
        constants: constants of the program, in the order of its text.
        outputs: rows of the update and of the new extra variables.
    """

    operations: Int[Array | np.ndarray, "*n M"]
    operands: Int[Array | np.ndarray, "*n M 3"]
    length: Int[Array | np.ndarray | np.int32, "*n"]
    constants: Float[Array | np.ndarray, "*n C"]
    outputs: Int[Array | np.ndarray, "*n E1"]


def layout_of(params: Params, extras: int, capacity: int = 32) -> Layout:
    """The layout for learners with parameters of these shapes; see `Layout` for `extras` and `capacity`."""
    return Layout(tuple(int(x.size) for x in jax.tree.leaves(params)), extras, capacity)


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
