"""A program of the search: an optimizer's update rule as straight-line code."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lopt.search.program.functions import INFIX, SHORT

SIGNS = {name: sign for sign, name in INFIX.items()}
"""Of the functions that are written between their arguments."""
_SHORT = {name: short for short, name in SHORT.items()}


@dataclass(frozen=True, slots=True)
class Statement:
    """`target = function(*args)`; arguments are names of variables, or constants (which are scalars)."""

    target: str
    function: str
    args: tuple[str | float, ...]

    def text(self) -> str:
        """As it is published: arithmetic between its arguments, `interp` and `clip` by their short names."""
        args = [arg if isinstance(arg, str) else repr(float(arg)) for arg in self.args]
        return f"{self.target} = {call_text(self.function, args)}"


@dataclass(frozen=True, slots=True)
class Program:
    """An update rule: the loop computes lr by its schedule and g from a batch, runs this, and subtracts the update.

    As text it is `def train(w, g, m, v, lr): ... return update, m, v`. Variables may be overwritten, inputs too.
    Building one checks nothing: `types_of` does, and `parse` has done it.

    Attributes:
        extras: the extra variables, trees like w that begin as zeros and last from step to step.
        statements: run in order.
        outputs: the names that hold the update and then the new value of every extra variable, all of them trees.
        inputs: the names of the trees that are given at every step: w and g.
        rate: the name of the schedule's value, a scalar.

    Paper: arXiv 2302.06675.
    """

    extras: tuple[str, ...]
    statements: tuple[Statement, ...]
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ("w", "g")
    rate: str = "lr"

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names that are bound before the first statement, in the order of the text."""
        return (*self.inputs, *self.extras, self.rate)

    def with_statements(self, statements: tuple[Statement, ...]) -> "Program":
        """The same with other statements."""
        return Program(self.extras, statements, self.outputs, self.inputs, self.rate)

    def with_argument(self, i: int, j: int, new: str | float) -> "Program":
        """The same with another argument j of statement i."""
        old = self.statements[i]
        changed = Statement(old.target, old.function, (*old.args[:j], new, *old.args[j + 1 :]))
        return self.with_statements((*self.statements[:i], changed, *self.statements[i + 1 :]))

    @property
    def constants(self) -> tuple[float, ...]:
        """All numbers among the arguments, in the order in which they are written."""
        return tuple([arg for statement in self.statements for arg in statement.args if not isinstance(arg, str)])

    def with_constants(self, new: Iterable[str | float]) -> "Program":
        """The same with these in the place of its constants, in their order.

        Raises:
            ValueError: not one for each.
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
        """The source, which `parse` reads back to an equal program."""
        lines = [f"def train({', '.join(self.parameters)}):"]
        lines += [f"    {statement.text()}" for statement in self.statements]
        return "\n".join([*lines, f"    return {', '.join(self.outputs)}", ""])

    def __str__(self) -> str:
        return self.text()


def call_text(function: str, args: Sequence[str]) -> str:
    """A function of arguments that are text, as it is published."""
    if function in SIGNS:
        return f" {SIGNS[function]} ".join(args)
    return f"{_SHORT.get(function, function)}({', '.join(args)})"
