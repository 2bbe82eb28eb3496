"""Programs, their statements, the types of their variables, and their interpretation on the host."""

import difflib
import itertools
import keyword
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lopt.search.functions import FUNCTIONS, INFIX, SHORT, Function, Type

SIGNS = {name: sign for sign, name in INFIX.items()}
"""Infix operators by function name."""
_SHORT = {name: short for short, name in SHORT.items()}


@dataclass(frozen=True, slots=True)
class Statement:
    """`target = function(*args)`; an argument is a variable's name or a constant, which is a scalar."""

    target: str
    function: str
    args: tuple[str | float, ...]

    def text(self) -> str:
        """The statement in the published form: infix arithmetic, and `interp` and `clip` abbreviated."""
        args = [arg if isinstance(arg, str) else repr(float(arg)) for arg in self.args]
        return f"{self.target} = {call_text(self.function, args)}"


@dataclass(frozen=True, slots=True)
class Program:
    """The update rule of an optimizer as a sequence of statements.

    At each step the training loop computes the gradient g and the schedule's value lr, runs the program and subtracts
    the update from w. The text form is `def train(w, g, m, v, lr): ... return update, m, v`. All variables, inputs
    included, may be reassigned. The constructor does not check the program: `types_of` does, and `parse` calls it.

    Attributes:
        extras: names of the extra variables: trees like w that start at zero and carry over from step to step.
        statements: the statements, in order of execution.
        outputs: names of the update and of the new value of each extra variable, all of type T.
        inputs: names of the trees that are given at each step: w and g.
        rate: name of the learning-rate schedule's value, a scalar.

    Paper: arXiv 2302.06675.
    """

    extras: tuple[str, ...]
    statements: tuple[Statement, ...]
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ("w", "g")
    rate: str = "lr"

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names bound before the first statement: inputs, extra variables and the learning rate, in this order."""
        return (*self.inputs, *self.extras, self.rate)

    def with_statements(self, statements: tuple[Statement, ...]) -> "Program":
        """The program with its statements replaced."""
        return Program(self.extras, statements, self.outputs, self.inputs, self.rate)

    def with_argument(self, i: int, j: int, new: str | float) -> "Program":
        """The program with argument `j` of statement `i` replaced."""
        old = self.statements[i]
        changed = Statement(old.target, old.function, (*old.args[:j], new, *old.args[j + 1 :]))
        return self.with_statements((*self.statements[:i], changed, *self.statements[i + 1 :]))

    @property
    def constants(self) -> tuple[float, ...]:
        """The constants among the arguments, in the order of the text."""
        return tuple([arg for statement in self.statements for arg in statement.args if not isinstance(arg, str)])

    def with_constants(self, new: Iterable[str | float]) -> "Program":
        """The program with its constants replaced, in the order of `constants`; names may replace constants.

        Raises:
            ValueError: a number of values other than that of the constants.
        """
        given = tuple(new)
        if len(given) != len(self.constants):
            raise ValueError(f"with_constants: expected {len(self.constants)} values (got {len(given)})")
        values = iter(given)
        return self.with_statements(
            tuple(
                [
                    Statement(s.target, s.function, tuple([a if isinstance(a, str) else next(values) for a in s.args]))
                    for s in self.statements
                ]
            )
        )

    def text(self) -> str:
        """The program's source; `parse` of it is an equal program."""
        lines = [f"def train({', '.join(self.parameters)}):"]
        lines += [f"    {statement.text()}" for statement in self.statements]
        return "\n".join([*lines, f"    return {', '.join(self.outputs)}", ""])

    def __str__(self) -> str:
        return self.text()


def call_text(function: str, args: Sequence[str]) -> str:
    """The text of a call, given the texts of its arguments, in the published form."""
    if function in SIGNS:
        return f" {SIGNS[function]} ".join(args)
    return f"{_SHORT.get(function, function)}({', '.join(args)})"


_RESULTS = {name: function.signatures for name, function in FUNCTIONS.items()}


def types_of(program: Program, functions: Mapping[str, Function] = FUNCTIONS) -> tuple[Type, ...]:
    """The type of each statement's value, after a check of the whole program.

    Raises:
        ValueError: an unknown function or variable, arguments of a type or number that the function does not admit, a
            constant that is not finite, an output that is not of type T, or a number of outputs other than that of the
            update and the extra variables.
    """
    bound = parameter_types(program)
    types = []
    for i, statement in enumerate(program.statements):
        try:
            args = [type_of(arg, bound) for arg in statement.args]
            bound[_name(statement.target)] = result_type(statement.function, args, functions)
        except ValueError as error:
            raise ValueError(f"statement {i}, {statement.text()!r}: {error}") from error
        types.append(bound[statement.target])
    check_outputs(program.outputs, bound, len(program.extras))
    return tuple(types)


def parameter_types(program: Program) -> dict[str, Type]:
    """The types of the parameters by name.

    Raises:
        ValueError: two parameters of one name, or a name that is not an identifier.
    """
    names = program.parameters
    if len(set(names)) < len(names):
        raise ValueError(f"parameters must have different names (got {', '.join(names)})")
    return {_name(name): Type.S if name == program.rate else Type.T for name in names}


def types_before(program: Program, position: int) -> dict[str, Type]:
    """The types of the variables bound before a statement of a valid program; faster than `types_of`.

    Raises:
        KeyError: the program is not valid up to this position.
    """
    bound = dict.fromkeys(program.parameters, Type.T)
    bound[program.rate] = Type.S
    for statement in program.statements[:position]:
        types = tuple([bound[arg] if type(arg) is str else Type.S for arg in statement.args])
        bound[statement.target] = _RESULTS[statement.function][types]
    return bound


def type_of(arg: str | float, bound: Mapping[str, Type]) -> Type:
    """The type of an argument, given the types of the bound variables.

    Raises:
        ValueError: an unbound name, or a constant that is not finite.
    """
    if isinstance(arg, str):
        if arg not in bound:
            raise ValueError(f"{arg!r} is not bound here{suggestion(arg, bound)}")
        return bound[arg]
    if not math.isfinite(arg):
        raise ValueError(f"constants must be finite (got {arg})")
    return Type.S


def result_type(name: str, args: Sequence[Type], functions: Mapping[str, Function] = FUNCTIONS) -> Type:
    """The type of a call's value, given the types of its arguments.

    Raises:
        ValueError: an unknown function, or one that does not admit these arguments.
    """
    if name not in functions:
        raise ValueError(f"there is no function {name!r}{suggestion(name, functions)}")
    function = functions[name]
    if len(args) != function.arity:
        raise ValueError(f"{name} takes {function.arity} argument{'s' * (function.arity != 1)} (got {len(args)})")
    if tuple(args) not in function.signatures:
        expected = ", ".join("".join(types) for types in _names(function)) or "none: it is defined for integers only"
        got = "".join(arg.name for arg in args)
        raise ValueError(
            f"{name} does not take arguments of the types {got} (expected {expected}; T is a tree like the weights, "
            "S a scalar, L one scalar per leaf)"
        )
    return function.signatures[tuple(args)]


def check_outputs(outputs: Sequence[str], bound: Mapping[str, Type], num_extras: int) -> None:
    """Check the number and types of a program's outputs.

    Raises:
        ValueError: a number of outputs other than 1 + `num_extras`, or an output that is not of type T.
    """
    if len(outputs) != 1 + num_extras:
        raise ValueError(f"return must give the update and {num_extras} extra variables (got {len(outputs)} values)")
    for name in outputs:
        if type_of(name, bound) != Type.T:
            raise ValueError(f"return: {name} must be a tree like the weights, T (got {bound[name].name})")


def suggestion(name: str, names: Collection[str]) -> str:
    """The end of an error message that suggests near matches of `name`; empty if there are none.

    Of more than 300 names the first are compared.
    """
    matches = difflib.get_close_matches(name, itertools.islice(names, 300), n=3)
    return f"; did you mean {' or '.join(map(repr, matches))}?" if matches else ""


def _names(function: Function) -> list[list[str]]:
    return [[type.name for type in types] for types in function.signatures]


def _name(name: str) -> str:
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"{name!r} is not a name")
    return name


Leaves = Sequence[Any]
"""The leaves of a tree like the weights."""


def evaluator(xp: Any, program: Program) -> Callable[[dict[str, Any]], list[Any]]:
    """The program as a function from its parameters' values, by name, to its list of outputs.

    Args:
        xp: numpy, jax.numpy, or a library with the same functions.
        program: a valid program. Trees are tuples of leaves and scalars are arrays, as in `Function.evaluate`.
    """
    calls = [
        (
            statement.target,
            FUNCTIONS[statement.function].evaluate,
            [(None, arg) if isinstance(arg, str) else (xp.asarray(arg), "") for arg in statement.args],
        )
        for statement in program.statements
    ]

    def evaluate(bound: dict[str, Any]) -> list[Any]:
        values = dict(bound)
        for target, function, args in calls:
            values[target] = function(xp, *[values[name] if name else constant for constant, name in args])
        return [values[name] for name in program.outputs]

    return evaluate


def interpret(
    program: Program, w: Leaves, g: Leaves, extras: Sequence[Leaves], lr: Any
) -> tuple[tuple[np.ndarray, ...], tuple[tuple[np.ndarray, ...], ...]]:
    """One step of a program in numpy, in float64.

    Args:
        program: a valid program.
        w: leaves of the weights.
        g: leaves of the gradient.
        extras: leaves of each extra variable.
        lr: value of the learning-rate schedule.

    Returns:
        The leaves of the update, and those of each extra variable's new value.

    Raises:
        ValueError: another number of extra variables than the program has.
    """
    if len(extras) != len(program.extras):
        raise ValueError(f"interpret: the program has {len(program.extras)} extra variables (got {len(extras)})")

    def tree(leaves: Leaves) -> tuple[np.ndarray, ...]:
        return tuple(np.asarray(leaf, np.float64) for leaf in leaves)

    trees = [tree(leaves) for leaves in (w, g, *extras)]
    bound = dict(zip(program.parameters, [*trees, np.asarray(lr, np.float64)], strict=True))
    with np.errstate(all="ignore"):
        update, *after = evaluator(np, program)(bound)
    return tree(update), tuple(tree(leaves) for leaves in after)
