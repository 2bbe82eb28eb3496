"""Programs: update rules of optimizers as straight-line code."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lopt.search.program.functions import INFIX, SHORT

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
